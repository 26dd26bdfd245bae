"""A generation, mounted where everybody on the machine sees it."""

import contextlib
import errno
import os
from collections.abc import Iterator

from sysmut import layout, mounts, syscalls, toplevel
from sysmut.errors import Busy, SysmutError, UsageError
from sysmut.generations.store import subvolumes
from sysmut.mounts import Mount
from sysmut.syscalls import MS_NOATIME, MS_NODEV, MS_NOSUID, MS_RDONLY
from sysmut.toplevel import TopLevel


class Outside:
    """The mount namespace that the process was in when this was made: before toplevel.opened."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it for the context. Only paths by way of /proc/self/fd mean the same as before: the root and the
        working directory are the namespace's."""
        inside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(self._fd, syscalls.CLONE_NEWNS)
            yield
        finally:
            syscalls.setns(inside, syscalls.CLONE_NEWNS)
            os.close(inside)


def mount(top: TopLevel, generation: str, directory: int, outside: Outside) -> None:
    """Mount a generation's root, read-only, on the open directory, in the namespace outside. The lock is held, so
    that syscln does not delete it meanwhile; from then on the mount keeps it.

    Without set-user-id programs and devices: those of an old generation may be there for anyone to exploit.
    """
    subvolumes(top, generation)  # which raises where there is none
    device = toplevel.block_device(top)
    if device is None:
        raise SysmutError(f"{top.filesystem}: no block device of this filesystem is known")
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME
    with outside.entered():
        syscalls.mount(device, f"/proc/self/fd/{directory}", "btrfs", flags, f"subvol=/{layout.root(generation)}")


def mounted(device: str, generation: str) -> tuple[str, ...]:
    """Where this process's namespace has the generation's root mounted, apart from `/`; `device` is TopLevel's."""
    root = f"/{layout.root(generation)}"
    return tuple(m.point for m in mounts.of_self() if m.device == device and m.root == root and m.point != "/")


def unmount(point: str) -> str:
    """Unmount the generation that is mounted at `point`, and return its id. Raises UsageError where none is."""
    generation = _generation_of(mounts.mounted_at(point))
    if generation is None or point == "/":
        raise UsageError(f"{point}: no generation is mounted there", hint="findmnt -t btrfs shows what is mounted")
    try:
        syscalls.umount(point)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise Busy(f"{point}: in use", hint=f"see by whom: fuser -vm {point}") from None
    return generation


def _generation_of(found: Mount | None) -> str | None:
    if found is None or found.fstype != "btrfs":
        return None
    generation = layout.owner_of(found.root)
    return generation if generation is not None and found.root == f"/{layout.root(generation)}" else None
