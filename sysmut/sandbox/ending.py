"""The end of a session's namespaces: its processes are killed, and whoever was handed one of its files, in a
message over a socket, may not go on writing to the generation."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable

from sysmut import mounts, syscalls
from sysmut.errors import BadData, SystemFailure
from sysmut.mounts import Mount
from sysmut.syscalls import MS_BIND, MS_RDONLY, MS_REMOUNT

_PATIENCE = 1.0
"""Seconds for which the kernel may take its time to close what the killed had open."""


def kill_everybody() -> None:
    """Kill every other process of this pid namespace, of which the caller is the first, and reap them."""
    if os.getpid() != 1:  # in no namespace of its own: it would kill the whole system
        raise SystemFailure("the session is in no pid namespace of its own: nothing was killed")
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, syscalls.WALL)


def is_let_go(path: str, fd: int, release: Callable[[], object]) -> bool:
    """Make the mounts of the generation read-only, whose root is at `path`, and `fd`; whether that was possible.

    It is not while a file is open for writing, or mapped so, by way of one of them: by a process outside, or in
    a message that nobody has received; or by the kernel, for what `release` ends.
    """
    deadline = time.monotonic() + _PATIENCE
    root = f"/proc/self/fd/{fd}"  # whatever was mounted over it
    let_go = len(_own(mounts.of_self(), path)) == 1 and _made_read_only(root)
    while not let_go and time.monotonic() < deadline:
        let_go = _peeled(path) and _made_read_only(root)
        if not let_go:
            release()
            time.sleep(0.01)
    return let_go


def _own(seen: tuple[Mount, ...], path: str) -> list[Mount]:
    """The mounts of the generation, or of a part of it; its root comes first."""
    root = next((mount for mount in seen if mount.point == path), None)
    if root is None:
        raise BadData("the session unmounted its own root: whether a file is still open cannot be told")
    return [each for each in seen if each.device == root.device and f"{each.root}/".startswith(f"{root.root}/")]


def _made_read_only(point: str) -> bool:
    try:
        syscalls.mount(None, point, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EINVAL, errno.ENOENT):  # or it was moved, and is elsewhere
            raise
        return False
    return True


def _peeled(path: str) -> bool:
    """Unmount all that is mounted in the generation, the last first, for one may hide another, and what is on a
    loop device would keep that. Mounts of the generation are made read-only first; those that cannot be stay, and
    it is False then."""
    seen = mounts.of_self()
    own, busy = _own(seen, path), []
    for mount in reversed(seen):
        if mount in own and not _made_read_only(mount.point):
            busy.append(f"{mount.point}/")
        elif mount.point.startswith(f"{path}/") and not any(each.startswith(f"{mount.point}/") for each in busy):
            with contextlib.suppress(OSError):
                syscalls.umount(mount.point, syscalls.MNT_DETACH)
    return not busy
