"""What is told of a path that differs, and how two files are told apart."""

import os
from collections.abc import Iterable
from typing import Literal

from sysmut import compare
from sysmut.values import frozen, replace

Kind = Literal["added", "removed", "modified", "renamed", "attributes"]


@frozen
class FileChange:
    """One path that differs. Bytes of it that are not UTF-8 are surrogate escapes."""

    path: str
    """From the generation's root: `/etc/passwd`; in a subvolume beside `@` it begins with that one's name:
    `@name/file`."""
    kind: Kind
    """`added`, `removed`; `modified`: another type, content, link target or device; `renamed`: the same file by
    another path, with the same content and attributes; `attributes`: only mode, owner or extended attributes
    differ. A path that was there and is there is never `added` or `renamed`, whatever inode it leads to."""
    before: str | None = None
    """The old path of what was renamed."""

    def to_json(self) -> dict[str, str | None]:
        """The value as JSON has it."""
        return {"path": self.path, "kind": self.kind, "before": self.before}


def in_order(changes: Iterable[FileChange]) -> list[FileChange]:
    """Sorted by path, what is in a directory right behind it."""
    return sorted(changes, key=lambda change: change.path.split("/"))


def below(name: str, changes: Iterable[FileChange]) -> list[FileChange]:
    """The changes of a subvolume beside `@`, by paths that begin with its name."""

    def moved(path: str) -> str:
        return f"{name}{path}".removesuffix("/")

    return [
        replace(change, path=moved(change.path), before=None if change.before is None else moved(change.before))
        for change in changes
    ]


def difference(
    old: str, new: str, was: os.stat_result, now: os.stat_result, *, same_content: bool
) -> Literal["modified", "attributes"] | None:
    """How two files differ, of which lstat(2) says `was` and `now`; None if not at all. With `same_content`
    it is known of files of one type and size that they hold the same, and they are not read."""
    known = same_content and _shape(was) == _shape(now)
    if not known and not compare.same_but_attributes(old, new, was, now):
        return "modified"
    return None if compare.same_attributes(old, new) else "attributes"


def _shape(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode & 0o170000, status.st_size, status.st_rdev
