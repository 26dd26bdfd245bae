"""The EFI system partition: which it is, and mounted where nobody else sees it.

Needs a mount namespace of this process's own, which toplevel.opened makes.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from sysmut import disks, image, mounts, syscalls
from sysmut.errors import NotSysmut, SystemFailure, UsageError
from sysmut.gpt import Partition
from sysmut.menu.fat import Tree
from sysmut.values import frozen

ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

MOUNT_POINT = "/run/sysmut-esp"
"""Where it is mounted if it is mounted nowhere, seen by this process alone."""

_FSTYPE = "vfat"
_OPTIONS = "umask=0077"
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_NAME_IT = "name it: --esp DIRECTORY where it is mounted, or --esp DEVICE"


@frozen
class Esp(Tree):
    """The system partition, as a directory tree."""

    disk: str | None = None
    """The disk that it is on, where the firmware sees that; None for an image or a plain directory."""
    partition: Partition | None = None
    """What the disk's or image's table says of it, where that is known."""

    def refind_directories(self) -> tuple[str, ...]:
        """The directories below EFI that hold rEFInd, `EFI/refind` first, then `EFI/BOOT` (where a
        refind.conf is in it), then others by name."""
        top = self.spelled("EFI")
        ranked = []
        for name in self.names("EFI"):
            files = {file.lower() for file in self.names(f"{top}/{name}")}
            loader = any(file.startswith("refind_") and file.endswith(".efi") for file in files)
            if "refind.conf" in files or (loader and name.lower() != "boot"):
                rank = {"refind": 0, "boot": 1}.get(name.lower(), 2)
                ranked.append((rank, name.lower(), f"{top}/{name}"))
        return tuple(path for _, _, path in sorted(ranked))


@contextlib.contextmanager
def opened(given: str | None, device: str | None, image: str | None, *, writable: bool) -> Iterator[Esp]:
    """The system partition, for the context.

    `given` is a directory, as which it is mounted already, or a block device, PARTUUID=…, PARTLABEL=… or
    UUID=…. Without it, the one is taken that has the type of a system partition: in the disk image
    `image`, else on the disk of the block device `device`, else on any disk. Where it is mounted, that
    mount is used.

    Raises UsageError or NotSysmut where there is none, or not just one; SystemFailure where it is to be
    written and is mounted read-only.
    """
    with contextlib.ExitStack() as stack:
        if given is not None and os.path.isdir(given):
            found = _of_directory(os.path.realpath(given))
        elif image is not None:
            found = _in_image(given, image, stack, writable=writable)
        else:
            found = _on_disk(given, device, stack, writable=writable)
        if writable and os.statvfs(found.path).f_flag & os.ST_RDONLY:
            raise SystemFailure(f"{found.path}: mounted read-only", hint=f"mount -o remount,rw {found.path}")
        yield found


def _of_directory(path: str) -> Esp:
    """The directory, and the partition if it is one's top."""
    mount = mounts.mounted_at(path)
    device = None
    if mount is not None and mount.fstype == _FSTYPE and mount.root == "/":
        device = disks.device_of(mount.device)
    return Esp(path) if device is None else _esp(path, device)


def _esp(path: str, device: str) -> Esp:
    return Esp(path, disks.disk(device), disks.partition(device))


def _in_image(given: str | None, path: str, stack: contextlib.ExitStack, *, writable: bool) -> Esp:
    try:
        table = disks.every_in_image(path)
    except FileNotFoundError:
        raise UsageError(f"--image {path}: no such file") from None
    number, part = _only([(f"partition {part.number}", part) for part in table], given, path)
    fd = image.attach_part(path, part.start, part.size)
    stack.callback(os.close, fd)
    device = os.readlink(f"/proc/self/fd/{fd}")
    return Esp(_mounted(device, f"{path}, {number}", stack, writable=writable), None, part)


def _on_disk(given: str | None, device: str | None, stack: contextlib.ExitStack, *, writable: bool) -> Esp:
    key, separator, value = (given or "").partition("=")
    if separator and key in ("UUID", "LABEL"):
        found = f"/dev/disk/by-{key.lower()}/{value}"
    elif given is not None and not separator:
        found = given
    else:
        found = _only(_near(device) if given is None else list(disks.every()), given, "the disks")[0]
    if not os.path.exists(found) or not stat.S_ISBLK(os.stat(found).st_mode):
        raise UsageError(f"--esp {given}: no such directory or block device", hint="lsblk -f lists the devices")
    return _esp(_mounted(found, found, stack, writable=writable), found)


def _near(device: str | None) -> list[tuple[str, Partition]]:
    """All partitions of the disk that `device` is on if a system partition is among them, else of all."""
    every = list(disks.every())
    disk = None if device is None else disks.disk(device)
    same = [(path, part) for path, part in every if disk is not None and disks.disk(path) == disk]
    return same if any(part.type == ESP_TYPE for _, part in same) else every


def _only(table: list[tuple[str, Partition]], given: str | None, where: str) -> tuple[str, Partition]:
    """The one partition that fits what was given, by its type if nothing was."""
    key, _, value = (given or "").partition("=")
    if given is None:
        fitting = [(path, part) for path, part in table if part.type == ESP_TYPE]
    elif key == "PARTUUID":
        fitting = [(path, part) for path, part in table if part.uuid == value.lower()]
    elif key == "PARTLABEL":
        fitting = [(path, part) for path, part in table if part.label == value]
    else:
        raise UsageError(f"--esp {given}: no such directory", hint="in an image: --esp PARTUUID=… or PARTLABEL=…")
    if len(fitting) == 1:
        return fitting[0]
    if given is not None:
        raise UsageError(f"--esp {given}: {len(fitting)} GPT partitions of {where} are that", hint=_NAME_IT)
    if not fitting:
        raise NotSysmut(f"no EFI system partition was found on {where}", hint=_NAME_IT)
    names = ", ".join(f"{path} ({part.label or part.uuid})" for path, part in fitting)
    raise UsageError(f"there are several EFI system partitions: {names}", hint=_NAME_IT)


def _mounted(device: str, shown: str, stack: contextlib.ExitStack, *, writable: bool) -> str:
    """Where the block device is mounted; it is mounted for the life of `stack` if it is not."""
    number = os.stat(device).st_rdev
    text = f"{os.major(number)}:{os.minor(number)}"
    for mount in reversed(mounts.of_self()):
        if (mount.device, mount.root) == (text, "/") and os.stat(mount.point).st_dev == number:
            return mount.point
    os.makedirs(MOUNT_POINT, 0o700, exist_ok=True)
    try:
        syscalls.mount(device, MOUNT_POINT, _FSTYPE, _FLAGS | (0 if writable else syscalls.MS_RDONLY), _OPTIONS)
    except OSError as error:
        if error.errno == errno.ENODEV:
            hint = "load it: modprobe vfat; or mount it otherwise, and name the directory: --esp DIRECTORY"
            raise NotSysmut("the kernel has no vfat, to mount the EFI system partition", hint=hint) from None
        if error.errno == errno.EINVAL:
            raise NotSysmut(f"{shown}: not a FAT filesystem", hint=_NAME_IT) from None
        raise OSError(error.errno, error.strerror, shown) from None
    stack.callback(_unmount)
    return MOUNT_POINT


def _unmount() -> None:
    """Unmount at once, so that a loop device can go; the end of the process would do it, too."""
    with contextlib.suppress(OSError):
        syscalls.umount(MOUNT_POINT, syscalls.MNT_DETACH)
