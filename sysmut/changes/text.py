"""How a text file differs between two roots, line by line."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence

from sysmut import inroot
from sysmut.changes.model import FileChange
from sysmut.changes.tree import Tree
from sysmut.errors import BadData

_CONTEXT = 3
_LONGEST = 2**20
"""Bytes of a file that is shown."""
_EFFORT = 100_000_000
"""Pairs of equal lines times lines: what difflib may take, about two seconds of it."""
_TYPES = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class _Unshown(Exception):
    """There are no lines to compare; why."""


def unified(before_root: str, after_root: str, path: str) -> list[str]:
    """The unified diff of one file of two roots, without line ends; empty if it holds the same in both.

    A symlink shows as its target, and none is followed; a directory has no lines. What is no text, or too large to
    compare, gives one line that says so. Control characters stay, and bytes that are not UTF-8 are surrogate escapes.
    """
    names = (f"a/{path.lstrip('/')}", f"b/{path.lstrip('/')}")
    try:
        old, new = _lines(before_root, path), _lines(after_root, path)
        if old == new:
            return []
        body = list(_hunks(old or [], new or []))
    except _Unshown as reason:
        return [f"{path}: {reason}"]
    except OSError as error:
        return [f"{path}: cannot be shown: {error.strerror}"]
    heads = [name if lines is not None else "/dev/null" for name, lines in zip(names, (old, new), strict=True)]
    return [f"--- {heads[0]}", f"+++ {heads[1]}", *body]


def _lines(root: str, path: str) -> list[str] | None:
    """The lines of a file, with their ends; None where there is none."""
    tree = Tree(root)
    inside = f"/{path.lstrip('/')}"
    status = tree.status(inside)
    if status is None or stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISLNK(status.st_mode):
        return [f"-> {os.readlink(tree.at(inside))}\n"]
    if not stat.S_ISREG(status.st_mode):
        raise _Unshown(f"is {_TYPES.get(stat.S_IFMT(status.st_mode), 'of no known type')}")
    if status.st_size > _LONGEST:
        raise _Unshown("differs (too large to show)")
    try:
        text = inroot.read_text(root, inside)
    except BadData:  # it became something else meanwhile
        raise _Unshown("cannot be shown") from None
    if "\0" in text:
        raise _Unshown("differs (not a text file)")
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _hunks(old: list[str], new: list[str]) -> Iterator[str]:
    """The parts that differ, each with the lines around it."""
    import difflib  # late: it takes longer to import than most commands take

    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    # Numbers stand for the lines around that are the same, so that they are not taken for any in between.
    above, below = range(min(head, _CONTEXT)), range(-min(tail, _CONTEXT), 0)
    before: list[str | int] = [*above, *old[head : len(old) - tail], *below]
    after: list[str | int] = [*above, *new[head : len(new) - tail], *below]
    _require_feasible(before, after)
    first = head - len(above)
    old, new = old[first:], new[first:]
    for group in difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT):
        (_, old_from, _, new_from, _), (_, _, old_to, _, new_to) = group[0], group[-1]
        yield f"@@ -{_range(first + old_from, first + old_to)} +{_range(first + new_from, first + new_to)} @@"
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from _marked(" ", old[old_from:old_to])
            else:
                yield from _marked("-", old[old_from:old_to])
                yield from _marked("+", new[new_from:new_to])


def _common(old: list[str], new: list[str]) -> int:
    """How many lines are the same at the start."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(old), len(new)))


def _require_feasible(old: list[str | int], new: list[str | int]) -> None:
    """difflib looks for the longest part in common, then for the next on both sides of it: at worst as often as there
    are lines, and each time at every pair of equal ones. It passes over those that are many in the new file."""
    counts = Counter(new)
    many = len(new) // 100 + 1 if len(new) >= 200 else len(new)
    pairs = len(old) + sum(counts[line] for line in old if counts[line] <= many)
    if pairs * min(len(old), len(new)) > _EFFORT:
        raise _Unshown("differs (too large to show)")


def _range(start: int, end: int) -> str:
    """A hunk's range as diff(1) has it: an empty one is behind the line that it names."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _marked(sign: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield f"{sign}{line.removesuffix(chr(10))}"
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def chosen(changes: Sequence[FileChange], patterns: Sequence[str]) -> list[str]:
    """Which of the changed paths are meant by these: each means a file, or a directory with all that is below;
    none mean all. What was renamed is meant by its old path, too. Those in /etc come first."""
    wanted = [_parts(pattern) for pattern in patterns] or [[]]

    def is_meant(path: str | None) -> bool:
        parts = _parts(path) if path is not None else None
        return parts is not None and any(parts[: len(each)] == each for each in wanted)

    found = [change.path for change in changes if is_meant(change.path) or is_meant(change.before)]
    return sorted(found, key=lambda path: (_parts(path)[:1] != ["etc"], path.split("/")))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
