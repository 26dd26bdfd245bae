"""One generation on disk: its subvolumes, its record and log, from making to removal."""

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from sysmut import btrfs, inroot, layout, toplevel
from sysmut.errors import BadData, Busy, SysmutError, from_oserror
from sysmut.generations import model
from sysmut.generations.use import in_use
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_LARGEST_RECORD = 4 * 2**20
"""Bytes. A command line alone can have two million."""

_TRIES = 10
"""How often a removal is begun where there is no room even for that. Three times was the most it took."""


@frozen
class Record:
    """How a generation came about; kept beside `@` as JSON, readable by root alone."""

    generation: str
    source: str | None
    slot: int | None
    """The slot that the source was taken from, where it was named so."""
    command: tuple[str, ...]
    began: str
    """As layout.timestamp writes it, as all times."""
    ended: str
    description: str = ""
    script_sha256: str | None = None
    user: str | None = None
    """Who began it, by login name."""
    kernel: str | None = None
    """The release of the kernel that it boots."""
    packages_added: int | None = None
    """How many packages it has that its source has not; None where that could not be told, as for the next two."""
    packages_removed: int | None = None
    packages_changed: int | None = None
    """How many it has in another version."""

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **vars(self)}


def subvolumes(top: TopLevel, generation: str) -> tuple[str, ...]:
    """The names of a generation's subvolumes: `@`, and any beside it. Raises BadData without `@`."""
    with os.scandir(top.at(layout.generation(generation))) as found:
        names = sorted(entry.name for entry in found if btrfs.is_subvolume(entry.path))
    if layout.ROOT not in names:
        raise BadData(
            f"generation {generation} has no subvolume {layout.ROOT}",
            hint="take another one: sysmut status shows the slots",
        )
    return tuple(names)


class Draft:
    """A generation that is being made: discarded when its context ends, unless kept.

    From the first moment it is locked, so that syscln passes over it and nobody can activate it.
    """

    def __init__(self, top: TopLevel, generation: str) -> None:
        self.top = top
        self.id = generation
        self.path = top.at(layout.generation(generation))
        self.root = top.at(layout.root(generation))
        self.kept = False
        self.left_behind: SysmutError | None = None
        """Why discarding did not work, if it did not."""
        self._fd = -1

    @property
    def created(self) -> bool:
        """Whether there is anything on disk."""
        return self._fd >= 0

    def create(self) -> None:
        """Make the directory and lock it. The filesystem's lock is held."""
        os.mkdir(self.path, 0o755)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        toplevel.try_lock(self._fd)

    def copy(self, source: str) -> None:
        """Snapshot every subvolume of the generation `source`, which must be sealed."""
        for name in subvolumes(self.top, source):
            path = f"{self.top.at(layout.generation(source))}/{name}"
            if not btrfs.is_sealed(path):
                raise BadData(
                    f"generation {source} is not sealed: it may be half made",
                    hint="take another one, or seal it if you know it to be whole: btrfs property set -ts … ro true",
                )
            btrfs.snapshot(path, f"{self.path}/{name}")

    def write(self, record: Record) -> None:
        """Write the record beside `@`, over one that is there."""
        _write(self.path, record.to_json())

    def seal(self, record: Record) -> None:
        """Write the record, and make every subvolume read-only, for good."""
        self.write(record)
        for name in subvolumes(self.top, self.id):
            btrfs.seal(f"{self.path}/{name}")

    def open_log(self) -> int:
        """The session's log beside `@`, open for writing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(f"{self.path}/{layout.LOG}", flags, 0o600)

    def still_there(self) -> bool:
        """Whether nobody else has removed it meanwhile."""
        return toplevel.still_there(self._fd, self.path)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.kept and self.created:
                self._discard()
        except OSError as problem:
            self.left_behind = from_oserror(problem)
        except SysmutError as problem:
            self.left_behind = problem
        finally:
            if self.created:
                os.close(self._fd)

    def _discard(self) -> None:
        """Delete it, unless somebody (with ln, with mount) has come to need it. Its own lock, which is
        still held, keeps it from being activated meanwhile."""
        if os.path.lexists(self.top.at(layout.CURRENT)):
            needed = model.read(self.top).references(self.id)
            if needed:
                raise Busy(f"it is needed by now: {', '.join(needed)}")
        uses = in_use(self.top)
        numbers = [btrfs.subvolume_id(self.root)] if btrfs.is_subvolume(self.root) else []
        used = [uses.subvolumes[number] for number in numbers if number in uses.subvolumes]
        if self.id in uses.names or used:
            raise Busy(f"it is in use: {uses.names.get(self.id) or used[0]}")
        remove(self.top, self.id)


def remove(top: TopLevel, generation: str, *, plain: int = -1) -> tuple[str, ...]:
    """Delete a generation: its subvolumes and those in them, and sysmut's files beside them. The
    caller has made sure that nobody needs it.

    Returns the names in its directory that are neither: they are left, and the directory too. `plain` is its
    directory, open, of one that is known to have `@` alone, in which no other subvolume lies: that is quicker.
    Where metadata is full, the kernel deletes subvolumes out of a reserve that is soon used up, and that a
    commit fills up again.
    """
    for _ in range(_TRIES - 1):
        try:
            if plain >= 0 and _remove_plain(top, generation, plain):
                return ()
            return _remove(top, generation)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            btrfs.commit(top.fd)
    return _remove(top, generation)


def _remove_plain(top: TopLevel, generation: str, directory: int) -> bool:
    """Delete `@`, sysmut's files, and the directory, without looking at what is there: whether all is gone."""
    if not btrfs.delete_plain(directory, layout.ROOT):
        return False
    for name in layout.OWN_FILES:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=directory)
    try:
        os.rmdir(top.at(layout.generation(generation)))
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _remove(top: TopLevel, generation: str) -> tuple[str, ...]:
    path = top.at(layout.generation(generation))
    others = []
    with os.scandir(path) as found:
        entries = list(found)
    names = [(entry.name, entry.path) for entry in entries]
    files = {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
    # What is cut off in the middle must not be taken for whole.
    if sum(btrfs.is_subvolume(place) for _, place in names) > 1 or _has_inner(f"{path}/{layout.ROOT}"):
        with contextlib.suppress(OSError):
            btrfs.unseal(f"{path}/{layout.ROOT}")
    for name, place in names:
        if btrfs.is_subvolume(place):
            btrfs.delete_tree(place)
        elif name in files and (name in layout.OWN_FILES or inroot.is_temporary(name)):
            os.unlink(place)
        else:
            others.append(name)
    if not others:
        os.rmdir(path)
    return tuple(others)


def _has_inner(root: str) -> bool:
    return btrfs.is_subvolume(root) and next(btrfs.subvolumes(root, 0), None) is not None


def describe(top: TopLevel, generation: str, text: str) -> None:
    """Write a description into a generation's record, durably; a record is made where there is none. The lock is
    held. Raises Busy for a generation that is open in a session, which will write a record itself."""
    path = top.at(layout.generation(generation))
    with toplevel.claimed(path) as claimed:
        if claimed is None:
            raise Busy(f"generation {generation} is open in a session", hint="wait for its end")
        record = read_record(top, generation) or {"version": 1, "generation": generation}
        _write(path, {**record, "description": text})
    top.sync()


def _write(path: str, record: Mapping[str, Any]) -> None:
    import json  # late, for syscln has no use for it

    with inroot.opened_root(path) as fd:
        inroot.replace(fd, layout.RECORD, json.dumps(record, indent=1) + "\n", 0o600)


def read_record(top: TopLevel, generation: str) -> dict[str, Any] | None:
    """The record of a generation, None where there is none that can be read (the wiki's scripts
    write none). What no record has in it, and JSON perhaps could not show again, is left out."""
    import json

    with contextlib.suppress(OSError, ValueError, RecursionError):
        value = json.loads(_content(f"{top.at(layout.generation(generation))}/{layout.RECORD}"))
        if isinstance(value, dict):
            return layout.plain(value)
    return None


def _content(path: str) -> bytes:
    """The content of a small regular file that lies beside generations, by as few calls as there can be: there may
    be thousands. Nothing, where it is too large or no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        small = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_RECORD
        return os.read(fd, status.st_size) if small else b""
    finally:
        os.close(fd)
