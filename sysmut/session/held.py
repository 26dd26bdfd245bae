"""What the kernel itself holds open for a session's program, which ends with no process: loop devices
and swap files. They could go on writing into a sealed generation, and would keep it from ever going."""

import contextlib
import os
import stat

from sysmut import btrfs, fstab, syscalls
from sysmut.errors import BadData


def swaps() -> frozenset[str]:
    """The swap space in use, by the names that the kernel gives."""
    try:
        with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
            return frozenset(fstab.decode(line.split()[0]) for line in file.readlines()[1:])
    except FileNotFoundError:  # a kernel without swap
        return frozenset()


def release(root: str, before: frozenset[str]) -> None:
    """Detach the loop devices whose file is in the subvolume `root` or one in it, and turn off the swap
    files that were not in use `before`. Raises BadData where one stays."""
    devices = {os.lstat(f"{root}/{name}").st_dev for name in ("", *(path for path, _ in btrfs.subvolumes(root, 0)))}
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and os.path.exists(f"/sys/block/{name}/loop"):
            _detach(f"/dev/{name}", devices)
    for path in swaps() - before:
        with contextlib.suppress(OSError):
            syscalls.swapoff(f"{root}{path}")
    left = [path for path in swaps() - before if _is_file_of(f"{root}{path}", devices)]
    if left:
        raise BadData(f"the session left {left[0]} in use as swap space", hint="let the script turn it off: swapoff")


def _detach(device: str, devices: set[int]) -> None:
    if _backing(device, devices, detach=True) and _backing(device, devices, detach=False):
        raise BadData(f"the session left {device} in use", hint="let the script detach it: losetup -d")


def _backing(device: str, devices: set[int], *, detach: bool) -> bool:
    """Whether the loop device shows a file on one of the subvolumes. To `detach` it asks the kernel,
    which does so with the last close, ours if nobody else has it open."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # gone meanwhile
        return False
    try:
        backing = syscalls.loop_backing(fd)
        found = backing is not None and backing[0] in devices
        if found and detach:
            syscalls.detach_loop(fd, device)
        return found
    finally:
        os.close(fd)


def _is_file_of(path: str, devices: set[int]) -> bool:
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        return stat.S_ISREG(status.st_mode) and status.st_dev in devices
    return False
