"""The partitions of this machine's disks, and of disk images: sysfs and each disk's own GPT.

A partition is known by its disk's table, for that is what firmware and boot loader go by. Disks with
an MBR, whose partitions have no PARTUUID that rEFInd knows, count as having none; so do those made
by md and device-mapper, which the firmware does not see as the kernel does.
"""

import contextlib
import os
import stat

from sysmut import gpt
from sysmut.gpt import Partition

_BLOCK = "/sys/block"
_NUMBERS = "/sys/dev/block"


def partition(device: str) -> Partition | None:
    """The partition that the block device `device` (a path; links are followed) is; None for a whole
    disk, and where the disk has no GPT that says the same as the kernel. Raises OSError."""
    about = _about(device)
    disk = None if about is None else _disk_of(about)
    if about is None or disk is None:
        return None
    return _told(about, _table(disk))


def disk(device: str) -> str | None:
    """The path of the disk that the block device `device` is a partition of; None for a whole disk, or
    one that the firmware does not see."""
    about = _about(device)
    found = None if about is None else _disk_of(about)
    return None if found is None else _node(found)


def device_of(number: str) -> str | None:
    """The path of the block device `major:minor`, as mountinfo tells it; None for no block device."""
    about = os.path.realpath(f"{_NUMBERS}/{number}")
    return _node(about) if os.path.isdir(about) else None


def backing_of(device: str) -> tuple[str, int] | None:
    """The file that the loop device `device` shows, and from which byte on; None for any other device,
    and where the file's name is no longer its own. Raises OSError."""
    about = _about(device)
    try:
        with open(f"{about}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file:
            path = file.read().removesuffix("\n")
        return (path, _number(f"{about}/loop", "offset")) if os.path.isfile(path) else None
    except FileNotFoundError:
        return None


def every() -> tuple[tuple[str, Partition], ...]:
    """Each GPT partition of this machine, with the path of its block device, by disk and number. A
    disk that cannot be read is passed over, and one without partitions is not opened."""
    found: list[tuple[str, Partition]] = []
    for name in sorted(os.listdir(_BLOCK)):
        with contextlib.suppress(OSError):  # it may be gone again, too
            found += _all_of(os.path.realpath(f"{_BLOCK}/{name}"))
    return tuple(found)


def in_image(image: str, offset: int) -> Partition | None:
    """The partition of the image file that begins at `offset`, in bytes. Raises OSError."""
    return next((part for part in every_in_image(image) if part.start == offset), None)


def every_in_image(image: str) -> tuple[Partition, ...]:
    """The GPT partitions of an image file. Raises OSError."""
    return _read(image)


def _about(device: str) -> str | None:
    """The directory of sysfs that tells of a block device; None for what is not one."""
    status = os.stat(device)
    if not stat.S_ISBLK(status.st_mode):
        return None
    return os.path.realpath(f"{_NUMBERS}/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")


def _disk_of(about: str) -> str | None:
    """The directory of the disk, for that of a partition which the kernel found in a table."""
    parent = os.path.dirname(about)
    return parent if os.path.exists(f"{about}/partition") and not _is_made(parent) else None


def _is_made(about: str) -> bool:
    """Whether md or device-mapper makes this disk of others."""
    return os.path.isdir(f"{about}/md") or os.path.isdir(f"{about}/dm")


def _all_of(about: str) -> list[tuple[str, Partition]]:
    children = _children(about)
    if not children or _is_made(about):
        return []
    table = _table(about)
    told = [(_node(child), _told(child, table)) for child in children]
    return [(path, part) for path, part in told if part is not None]


def _children(about: str) -> list[str]:
    names = [name for name in os.listdir(about) if os.path.exists(f"{about}/{name}/partition")]
    return sorted((f"{about}/{name}" for name in names), key=lambda path: _number(path, "partition"))


def _told(about: str, table: tuple[Partition, ...]) -> Partition | None:
    """The entry of the table for the kernel's partition; None where number or place are not the same:
    the table has been written anew, and the kernel goes by the old one."""
    number, start = _number(about, "partition"), _number(about, "start") * 512
    return next((part for part in table if (part.number, part.start) == (number, start)), None)


def _number(about: str, name: str) -> int:
    with open(f"{about}/{name}", encoding="ascii") as file:
        return int(file.read())


def _node(about: str) -> str:
    """The device's path. sysfs has `!` where there is a `/` in a device's name."""
    return "/dev/" + os.path.basename(about).replace("!", "/")


def _table(about: str) -> tuple[Partition, ...]:
    return _read(_node(about))


def _read(path: str) -> tuple[Partition, ...]:
    # O_NONBLOCK: neither a fifo nor a drive without a medium is waited for.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return gpt.partitions(fd, path)
    finally:
        os.close(fd)
