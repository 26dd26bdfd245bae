"""The files that differ between two directories, found by walking through both."""

import errno
import os
import stat

from sysmut import mounts
from sysmut.changes.model import FileChange, Kind, difference, in_order
from sysmut.changes.tree import Tree


def of_directories(before: str, after: str, start: str = "/") -> list[FileChange]:
    """What differs between two directories, which may be on different filesystems; sorted by path, which begins
    with a slash: `/` is the directory itself. Nothing counts as renamed. With `start`, that path alone and what is
    below it is looked at.

    A file whose size, mode and modification time are the same is not read: its content counts as the same. No link
    is followed, and what something is mounted on, in either, is left out with all below it. What goes away while
    this looks counts as not there, and what lies deeper than a path can be long as modified.
    """
    old, new = Tree(before), Tree(after)
    hidden = _mounted_on(before) | _mounted_on(after)
    changes = []
    pending = [start]  # no recursion: a tree may be deeper than Python's stack
    while pending:
        path = pending.pop()
        kind = _kind(old, new, path)
        if kind is not None:
            changes.append(FileChange(path, kind))
        names = {name for tree in (old, new) for name, _ in tree.entries(path)}
        inner = (f"{path.removesuffix('/')}/{name}" for name in names)
        pending += [path for path in inner if path not in hidden]
    return in_order(changes)


def _kind(old: Tree, new: Tree, path: str) -> Kind | None:
    try:
        was, now = old.status(path), new.status(path)
        if was is None or now is None:
            return "removed" if was else "added" if now else None
        untouched = (was.st_mtime_ns, was.st_size, was.st_mode) == (now.st_mtime_ns, now.st_size, now.st_mode)
        same_content = untouched and stat.S_ISREG(now.st_mode)
        return difference(old.at(path), new.at(path), was, now, same_content=same_content)
    except FileNotFoundError:  # meanwhile
        return "removed" if old.status(path) else "added" if new.status(path) else None
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL):
            raise
        return "modified"  # a path too long, or, meanwhile, a link or a socket instead of a file


def _mounted_on(root: str) -> set[str]:
    """The paths below `root` that something is mounted on."""
    place = os.path.realpath(root).removesuffix("/")
    return {mount.point[len(place) :] for mount in mounts.of_self() if mount.point.startswith(f"{place}/")}
