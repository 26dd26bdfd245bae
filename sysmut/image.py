"""A disk image's btrfs filesystem as a block device: found, and attached to a loop device."""

import fcntl
import os
import stat

from sysmut import syscalls
from sysmut.errors import NotSysmut, UsageError

_SUPER_MAGIC = b"_BHRfS_M"
_SUPER_MAGIC_OFFSET = 0x10040
"""Where a btrfs filesystem says that it is one, from its start."""

_GPT_HEADER = 512
_FARTHEST = 2**62
"""No file is as long, whatever a partition table says: offsets have 63 bits."""


def attach(image: str) -> int:
    """A loop device over the image's btrfs, open: one that is there already, else a new one that
    detaches itself. Two over the same file would be two devices of one filesystem to the kernel."""
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
        offset, size = find_btrfs(fd, image)
        device = _attached(fd, os.path.realpath(image), offset)
        return syscalls.attach_loop(fd, offset, size, path=image) if device is None else device
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: the loop device keeps the file open
        os.close(fd)


def _attached(image: int, path: str, offset: int) -> int | None:
    """The loop device, opened, that shows the open image from `offset` on. Where the image is on
    btrfs, stat's device number is not the one that the loop device tells, so its path counts too."""
    status = os.fstat(image)
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file:
                backing = file.read().removesuffix("\n")
            fd = os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # not attached, or no longer
            continue
        shown = syscalls.loop_backing(fd)
        same_file = shown is not None and shown[1] == status.st_ino and (shown[0] == status.st_dev or backing == path)
        if shown is not None and same_file and shown[2] == offset:
            return fd
        os.close(fd)
    return None


def find_btrfs(fd: int, name: str) -> tuple[int, int]:
    """The (offset, size) in bytes of the btrfs filesystem in an open image: the whole of it (size 0),
    or the first partition of its GPT that holds one. Sectors are of 512 bytes."""
    if _has_btrfs(fd, 0):
        return 0, 0
    header = os.pread(fd, 92, _GPT_HEADER)
    if header[:8] == b"EFI PART":
        table = int.from_bytes(header[72:80], "little") * 512
        count, size = (int.from_bytes(header[at : at + 4], "little") for at in (80, 84))
        for index in range(min(count, 1024)):
            place = table + index * max(size, 128)
            entry = os.pread(fd, 128, place) if place < _FARTHEST else b""
            first, last = (int.from_bytes(entry[at : at + 8], "little") for at in (32, 40))
            if 0 < first <= last < _FARTHEST // 512 and _has_btrfs(fd, first * 512):
                return first * 512, (last - first + 1) * 512
    raise NotSysmut(f"{name}: no btrfs filesystem in it", hint="make one: mkfs.btrfs")


def _has_btrfs(fd: int, offset: int) -> bool:
    return os.pread(fd, 8, offset + _SUPER_MAGIC_OFFSET) == _SUPER_MAGIC
