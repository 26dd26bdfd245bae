"""The files that differ between two sealed subvolumes, by what btrfs sends of the difference.

The stream tells what may have changed; what has is seen by looking at those paths alone, in both.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping

from sysmut import btrfs, toplevel
from sysmut.changes.candidates import Candidates
from sysmut.changes.judging import judged, without_own_path
from sysmut.changes.model import FileChange
from sysmut.changes.tree import Tree
from sysmut.errors import Busy, SysmutError


def of_roots(before: str, after: str, old_id: str = "", new_id: str = "") -> list[FileChange]:
    """What differs between two sealed subvolumes and those nested in them, in no order. With ids, these are the
    roots of generations, whose etc/fstab names them."""
    found = Candidates(Tree(before), Tree(after))
    was, now = _places(before), _places(after)
    for place in was.keys() & now.keys():
        if was[place] != now[place]:
            found.add_pair(place)
    for place in was.keys() - now.keys():
        found.add_removed(place)
    for place in now.keys() - was.keys():
        found.add_added(place)
    return without_own_path(judged(found), before, after, old_id, new_id)


def _places(root: str) -> Mapping[str, int]:
    """Where the subvolumes are, from the root, and their ids."""
    nested = {f"/{path}": number for path, number in btrfs.subvolumes(root, 0)}
    return {"/": btrfs.subvolume_id(root), **nested}


@contextlib.contextmanager
def kept(root: str) -> Iterator[None]:
    """Raises Busy if the subvolume is removed while the context lasts: an empty one would be seen in its place."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            yield
        except (OSError, SysmutError):
            _require_there(fd, root)
            raise
        _require_there(fd, root)
    finally:
        os.close(fd)


def _require_there(fd: int, root: str) -> None:
    if not toplevel.still_there(fd, root) or not btrfs.is_sealed(root):
        raise Busy(f"{root} was removed, or unsealed, while it was compared", hint="sysmut status shows what there is")
