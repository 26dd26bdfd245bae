"""Find the top level, mount it where nobody else sees it, and lock it.

The process gets a mount namespace of its own first, so the mount needs no undoing: it goes with
the process, however that ends.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from sysmut import btrfs, inroot, layout, mounts, syscalls
from sysmut.config import Config
from sysmut.errors import Busy, NotSysmut, SysmutError, UsageError
from sysmut.values import frozen

OVERLAY_LOWER = "/media/root-ro"
"""Where Alpine's initramfs puts the booted generation when `/` is an overlay (overlaytmpfs)."""

_LOCK_PATIENCE = 600.0


@frozen
class TopLevel:
    """The mounted top level of one btrfs filesystem."""

    path: str
    fd: int
    filesystem: str
    """The UUID."""
    device: str
    """The superblock's `major:minor`, as in mountinfo."""

    def at(self, path: str) -> str:
        """The absolute path, for this process, of a path from the top level."""
        return f"{self.path}/{path}"

    def inside(self, path: str) -> str:
        """The same of what that path leads to by links in it: never out of the top level. A link at its end is
        not followed. Raises OSError where there is nothing."""
        with inroot.opened(self.fd, path, os.O_PATH | os.O_NOFOLLOW) as fd:
            return os.readlink(f"/proc/self/fd/{fd}")

    def sync(self) -> None:
        """Return when everything written to the filesystem so far is on its disk."""
        syscalls.syncfs(self.fd, self.path)

    def owns(self, source: str) -> bool:
        """Whether an fstab's first field names this filesystem."""
        key, separator, value = source.partition("=")
        about = f"/sys/fs/btrfs/{self.filesystem}"
        if separator and key == "UUID":
            return value.strip('"').lower() == self.filesystem
        if separator and key == "LABEL":
            with open(f"{about}/label", encoding="utf-8", errors="surrogateescape") as file:
                return value.strip('"') == file.read().removesuffix("\n") != ""
        path = f"/dev/disk/by-{key.lower()}/{value}" if separator else source
        return os.path.basename(os.path.realpath(path)) in os.listdir(f"{about}/devices")

    def free(self) -> int:
        """Bytes that can still be written, when all that has been written is on the disk."""
        status = os.fstatvfs(self.fd)
        return max(0, status.f_bavail * status.f_frsize - self._pending())

    def size(self) -> int:
        """Bytes that the filesystem has for data."""
        status = os.fstatvfs(self.fd)
        return status.f_blocks * status.f_frsize

    def _pending(self) -> int:
        """Bytes that have been written, but have no place on the disk yet: fstatvfs(2) counts them as free."""
        for kind in ("data", "mixed"):  # the latter where data and metadata share their block groups
            with (
                contextlib.suppress(OSError),
                open(f"/sys/fs/btrfs/{self.filesystem}/allocation/{kind}/bytes_may_use", encoding="ascii") as file,
            ):
                return int(file.read())
        return 0


@contextlib.contextmanager
def opened(config: Config) -> Iterator[TopLevel]:
    """The top level that the settings name, mounted at layout.MOUNT_POINT in a new mount namespace.

    Root is needed. Raises NotSysmut where there is no btrfs. Whether the layout is there is for the
    caller to see.
    """
    with contextlib.ExitStack() as stack:
        root = os.path.realpath(config.root) if config.root else None
        if root:
            _check_root(root, config.root or root)
            device = None
        else:
            device = _device(config, stack)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
        with contextlib.suppress(FileExistsError):
            os.mkdir(layout.MOUNT_POINT, 0o700)
        if root:
            syscalls.mount(root, layout.MOUNT_POINT, None, syscalls.MS_BIND)
        else:
            _mount(device or "", config.image or device or "")
        stack.callback(_unmount)
        fd = os.open(layout.MOUNT_POINT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        mounted = mounts.mounted_at(layout.MOUNT_POINT)
        if mounted is None:
            raise SysmutError(f"{layout.MOUNT_POINT}: not in /proc/self/mountinfo after mounting it")
        yield TopLevel(layout.MOUNT_POINT, fd, btrfs.filesystem_id(fd, layout.MOUNT_POINT), mounted.device)


def _unmount() -> None:
    """Unmount at once, so that a loop device can go; the end of the process would do it, too."""
    with contextlib.suppress(OSError):
        syscalls.umount(layout.MOUNT_POINT, syscalls.MNT_DETACH)


def _check_root(path: str, given: str) -> None:
    if not os.path.isdir(path):
        raise UsageError(f"--root {given}: no such directory")
    if not btrfs.is_btrfs(path):
        raise NotSysmut(f"--root {given}: not on a btrfs filesystem")
    if btrfs.subvolume_id(path) != btrfs.FS_TREE or not btrfs.is_subvolume(path):
        raise NotSysmut(
            f"--root {given}: not the top level of a btrfs filesystem",
            hint="mount it with -o subvolid=5, or name the device with --device",
        )


def _mount(device: str, shown: str) -> None:
    options = f"subvolid={btrfs.FS_TREE}"
    try:
        try:
            syscalls.mount(device, layout.MOUNT_POINT, "btrfs", syscalls.MS_NOATIME, options)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            # A write-protected device can still be looked at.
            syscalls.mount(device, layout.MOUNT_POINT, "btrfs", syscalls.MS_RDONLY, options)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTBLK):
            hint = "for a disk image use --image" if os.path.isfile(device) else ""
            raise NotSysmut(f"{shown}: not a btrfs filesystem", hint=hint) from None
        if error.errno == errno.ENODEV:
            raise NotSysmut(
                "the kernel has no btrfs", hint="load it: modprobe btrfs, or check the running kernel"
            ) from None
        raise OSError(error.errno, error.strerror, shown) from None


def _device(config: Config, stack: contextlib.ExitStack) -> str:
    if config.image:
        from sysmut import image  # late, for few name one

        fd = image.attach(config.image)
        stack.callback(os.close, fd)
        return os.readlink(f"/proc/self/fd/{fd}")
    if config.device:
        return _named_device(config.device)
    return _device_of_root()


def _named_device(name: str) -> str:
    key, separator, value = name.partition("=")
    if separator and key in ("UUID", "LABEL", "PARTUUID", "PARTLABEL"):
        if key == "UUID" and (path := _device_of_filesystem(value.lower())):
            return path
        name = f"/dev/disk/by-{key.lower()}/{value}"
    if not os.path.exists(name):
        raise UsageError(f"--device {name}: no such device", hint="lsblk -f lists the devices")
    return name


def _device_of_root() -> str:
    """The device of the filesystem that `/` is on, or that lies below the overlay on `/`."""
    for point in ("/", OVERLAY_LOWER):
        mount = mounts.mounted_at(point)
        if mount is not None and mount.fstype == "btrfs":
            if os.path.exists(mount.source):
                return mount.source
            fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = _device_of_filesystem(btrfs.filesystem_id(fd, point))
            finally:
                os.close(fd)
            if found:
                return found
            raise NotSysmut(f"{mount.source}, the device of {point}, is not there", hint="name it with --device")
    raise NotSysmut(
        "the running system's / is not on btrfs",
        hint="name the filesystem: --device DEVICE, --image FILE, or --root DIR where it is mounted",
    )


def block_device(top: TopLevel) -> str | None:
    """A block device of the filesystem, its first where it has several."""
    return _device_of_filesystem(top.filesystem)


def _device_of_filesystem(number: str) -> str | None:
    """A device of the btrfs filesystem with this UUID, if it is mounted."""
    try:
        names = sorted(os.listdir(f"/sys/fs/btrfs/{number}/devices"))
    except FileNotFoundError:
        return None
    return f"/dev/{names[0].replace('!', '/')}" if names else None


@contextlib.contextmanager
def locked(top: TopLevel, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the one exclusive lock of the filesystem, flock(2) on `links/`, for moments only.

    `check` is called while waiting, and may raise to give up. Raises Busy after ten minutes.
    """
    try:
        fd = os.open(top.at(layout.LINKS), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotSysmut(
            f"not a sysmut system: there is no directory `{layout.LINKS}` at the top level",
            hint="make it one: sysmut init",
        ) from None
    try:
        _wait_for_lock(fd, check)
        yield
    finally:
        os.close(fd)


def _wait_for_lock(fd: int, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + _LOCK_PATIENCE
    pause = 0.001
    while not try_lock(fd):
        check()
        if time.monotonic() > deadline:
            raise Busy("another sysmut or syscln has held the lock for ten minutes", hint="see what it does: ps")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open directory if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def claimed(path: str) -> Iterator[int | None]:
    """The directory `path`, open and locked for the context; None where it could not be: a session has it open."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd if try_lock(fd) else None
    finally:
        os.close(fd)


def still_there(fd: int, path: str) -> bool:
    """Whether `path` is still the open directory `fd`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
