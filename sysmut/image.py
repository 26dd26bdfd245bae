"""A disk image's btrfs filesystem as a block device: found, and attached to a loop device."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator

from sysmut import gpt, syscalls
from sysmut.errors import NotSysmut, UsageError

_SUPER_MAGIC = b"_BHRfS_M"
_SUPER_MAGIC_OFFSET = 0x10040
"""Where a btrfs filesystem says that it is one, from its start."""


def attach(image: str) -> int:
    """A loop device over the image's btrfs, open: one that is there already, else a new one that
    detaches itself. Two over the same file would be two devices of one filesystem to the kernel."""
    with _locked(image) as fd:
        return _device(fd, image, *find_btrfs(fd, image))


def attach_part(image: str, offset: int, size: int) -> int:
    """The same over a part of the image: bytes from its start, and bytes."""
    with _locked(image) as fd:
        return _device(fd, image, offset, size)


@contextlib.contextmanager
def _locked(image: str) -> Iterator[int]:
    try:
        fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"--image {image}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"--image {image}: a directory", hint="for a mounted top level use --root") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"--image {image}: not a regular file", hint="for a disk use --device")
        fcntl.flock(fd, fcntl.LOCK_EX)  # two at once would both find nothing attached
        yield fd
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: the loop device keeps the file open
        os.close(fd)


def _device(fd: int, image: str, offset: int, size: int) -> int:
    device = _attached(fd, os.path.realpath(image), offset)
    return syscalls.attach_loop(fd, offset, size, path=image) if device is None else device


def _attached(image: int, path: str, offset: int) -> int | None:
    """The loop device, opened, that shows the open image from `offset` on. Where the image is on
    btrfs, stat's device number is not the one that the loop device tells, so its path counts too."""
    status = os.fstat(image)
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file:
                backing = file.read().removesuffix("\n")
        except OSError:  # not attached, or no longer
            continue
        fd = syscalls.open_loop(f"/dev/{name}")
        if fd is None:
            continue
        shown = syscalls.loop_backing(fd)
        same_file = shown is not None and shown[1] == status.st_ino and (shown[0] == status.st_dev or backing == path)
        if shown is not None and same_file and shown[2] == offset:
            return fd
        os.close(fd)
    return None


def find_btrfs(fd: int, name: str) -> tuple[int, int]:
    """The (offset, size) in bytes of the btrfs filesystem in an open image: the whole of it (size 0),
    or the first partition of its GPT that holds one."""
    if _has_btrfs(fd, 0):
        return 0, 0
    for partition in gpt.partitions(fd, name):
        if _has_btrfs(fd, partition.start):
            return partition.start, partition.size
    raise NotSysmut(f"{name}: no btrfs filesystem in it", hint="make one: mkfs.btrfs")


def _has_btrfs(fd: int, offset: int) -> bool:
    return os.pread(fd, 8, offset + _SUPER_MAGIC_OFFSET) == _SUPER_MAGIC
