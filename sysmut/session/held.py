"""What is held open of a session's generation when its processes have ended: by the kernel itself, for loop
devices and swap files; by a process outside that was handed a file. They could go on writing into a sealed
generation, and would keep it from ever going."""

import contextlib
import os
import stat
import time

from sysmut import btrfs, fstab, syscalls
from sysmut.errors import BadData, Busy

_PATIENCE = 1.0


def swaps() -> frozenset[str]:
    """The swap space in use, by the names that the kernel gives."""
    try:
        with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
            return frozenset(fstab.decode(line.split()[0]) for line in file.readlines()[1:])
    except FileNotFoundError:  # a kernel without swap
        return frozenset()


def released(root: str, before: frozenset[str]) -> BadData | None:
    """What `release` says in the end: the kernel may take a moment to unmount what was on a loop device."""
    deadline = time.monotonic() + _PATIENCE
    problem = release(root, before)
    while problem is not None and time.monotonic() < deadline:
        time.sleep(0.01)
        problem = release(root, before)
    return problem


def release(root: str, before: frozenset[str]) -> BadData | None:
    """Detach the loop devices whose file is in the subvolume `root` or one in it, and turn off the swap
    files that were not in use `before`. Where one stays, the error that says so."""
    devices = _devices(root)
    loops = [f"/dev/{name}" for name in os.listdir("/sys/block") if os.path.exists(f"/sys/block/{name}/loop")]
    busy = [device for device in loops if _stays_attached(device, devices)]
    if busy:
        return BadData(f"the session left {busy[0]} in use", hint="let the script detach it: losetup -d")
    for path in swaps() - before:
        with contextlib.suppress(OSError):
            syscalls.swapoff(_from(root, path))
    left = [path for path in swaps() - before if _is_file_of(_from(root, path), devices)]
    if left:
        return BadData(f"the session left {left[0]} in use as swap space", hint="let the script turn it off: swapoff")
    return None


def still_held(root: str) -> Busy:
    """The error for a generation that somebody can go on writing to."""
    devices = _devices(root)
    found = (process for process in os.listdir("/proc") if process.isdigit() and _has_file_of(process, devices))
    return Busy(
        f"a file of the new generation is open for writing, {_shown(next(found, None))}: it would change when sealed",
        hint="let the script hand no file of its own to a process outside, or end that one, and run the session again",
    )


def _shown(process: str | None) -> str:
    with contextlib.suppress(OSError):
        if process is not None:
            with open(f"/proc/{process}/comm", encoding="utf-8", errors="surrogateescape") as file:
                return f"by process {process} ({file.read().strip()})"
    return "by a process outside the session"


def _has_file_of(process: str, devices: set[int]) -> bool:
    """Whether the process has a file of one of the subvolumes open, or mapped, for writing."""
    for kind in ("fd", "map_files"):
        with contextlib.suppress(OSError):  # gone meanwhile
            for name in os.listdir(f"/proc/{process}/{kind}"):
                link = f"/proc/{process}/{kind}/{name}"
                if os.lstat(link).st_mode & stat.S_IWUSR and os.stat(link).st_dev in devices:
                    return True
    return False


def _devices(root: str) -> set[int]:
    """The device numbers that files of the subvolume `root`, or of one in it, have."""
    return {os.lstat(f"{root}/{name}").st_dev for name in ("", *(path for path, _ in btrfs.subvolumes(root, 0)))}


def _from(root: str, path: str) -> str:
    """The path of a swap file. The kernel tells it from the session's own root where its mount is seen no more."""
    return path if path.startswith(f"{root}/") else f"{root}{path}"


def _stays_attached(device: str, devices: set[int]) -> bool:
    """Whether the loop device shows a file on one of the subvolumes, although it was detached."""
    return _backing(device, devices, detach=True) and _backing(device, devices, detach=False)


def _backing(device: str, devices: set[int], *, detach: bool) -> bool:
    """Whether the loop device shows a file on one of the subvolumes. To `detach` it asks the kernel,
    which does so with the last close, ours if nobody else has it open."""
    fd = syscalls.open_loop(device)
    if fd is None:
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
