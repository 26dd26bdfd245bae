"""What differs between a generation and the running system's root, as it is now."""

import errno

from sysmut import btrfs, generations, layout, mounts, toplevel
from sysmut.changes import judging
from sysmut.changes.model import FileChange, in_order
from sysmut.changes.roots import of_roots
from sysmut.changes.walk import of_directories
from sysmut.generations import Draft
from sysmut.toplevel import TopLevel


def of_running(top: TopLevel, before: str) -> list[FileChange]:
    """What differs between a sealed generation's `@` and `/`, without what is mounted below it; sorted by path.

    A root that can be written to is compared by a snapshot, which goes again; so the lock must not be held. One
    that is not a subvolume of this filesystem (such as an overlay) is walked through, see of_directories, which
    takes time that grows with it. Root is needed. Raises BadData for a generation that is not sealed.
    """
    generations.require_sealed(top, before)
    old = top.at(layout.root(before))
    running = _root(top)
    booted = generations.booted(top) or ""
    if running is None:
        return _walked(old, before, booted)
    if btrfs.subvolume_id(old) == btrfs.subvolume_id(running):
        return []
    if btrfs.is_sealed(running):
        return in_order(of_roots(old, running, before, booted))
    try:
        return _by_snapshot(top, old, running, before, booted)
    except OSError as error:
        if error.errno not in (errno.ETXTBSY, errno.EROFS):  # a swap file is in it; the disk is write-protected
            raise
        return _walked(old, before, booted)


def _root(top: TopLevel) -> str | None:
    """The running root, seen from the top level, with nothing mounted on it; None if it is no subvolume there."""
    mount = mounts.mounted_at("/")
    if mount is None or mount.fstype != "btrfs" or mount.device != top.device:
        return None
    path = top.at(mount.root.lstrip("/")).removesuffix("/")
    return path if btrfs.is_subvolume(path) else None


def _by_snapshot(top: TopLevel, old: str, running: str, before: str, booted: str) -> list[FileChange]:
    draft = Draft(top, layout.new_id())
    with draft:
        with toplevel.locked(top):
            draft.create()
            btrfs.snapshot(running, draft.root)
        btrfs.seal(draft.root)
        found = in_order(of_roots(old, draft.root, before, booted))
    if draft.left_behind is not None:
        raise draft.left_behind
    return found


def _walked(old: str, before: str, booted: str) -> list[FileChange]:
    return judging.without_own_path(of_directories(old, "/"), old, "/", before, booted)
