"""What is in use, whatever the links say: by any process, in any mount namespace."""

import errno
from collections.abc import Mapping

from sysmut import btrfs, layout, mounts
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_NOT_BTRFS = (errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES, errno.EPERM)
"""What other filesystems say when they are asked for btrfs's id."""


@frozen
class Use:
    """What keeps generations that are in use: by subvolume id, and by the directory's name."""

    subvolumes: Mapping[int, str]
    names: Mapping[str, str]


def in_use(top: TopLevel) -> Use:
    """What any process has mounted of this filesystem, or has as its root directory, or has something
    mounted in (as the wiki's script does during its session, which takes no lock)."""
    numbers: dict[int, str] = {}
    names: dict[str, str] = {}
    seen = list(mounts.of_everyone())
    tops = {m.point.rstrip("/") for m in seen if m.device == top.device and m.root == "/"}
    for mount in seen:
        if mount.device == top.device and mount.root != "/":
            reason = "booted" if mount.point == "/" else f"mounted on {mount.point}"
            if (number := mount.subvolume) is not None:
                numbers.setdefault(number, reason)
            if (owner := layout.owner_of(mount.root)) is not None:
                names.setdefault(owner, reason)
        for point in tops:
            if mount.point.startswith(f"{point}/"):
                owner = layout.owner_of(mount.point[len(point) :])
                if owner is not None:
                    names.setdefault(owner, f"{mount.point} is mounted in it")
    for fd in mounts.roots():
        if _filesystem(fd) == top.filesystem:
            numbers.setdefault(btrfs.subvolume_id(fd), "the root directory of a process")
    return Use(numbers, names)


def _filesystem(fd: int) -> str | None:
    """The filesystem that a process's root directory is on; None where that is not btrfs."""
    try:
        return btrfs.filesystem_id(fd, "the root directory of a process")
    except OSError as error:
        if error.errno not in _NOT_BTRFS:
            raise  # what cannot be told may be in use
        return None
