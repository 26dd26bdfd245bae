"""A disk image as it was at some moment, mounted as the kernel does it, and as the boot loader sees it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sysmut import syscalls
from tests.lab import sh
from tests.reliability.history import Event
from tests.reliability.recorder import Recorder

_FORGET_DEVICES = 0x50009405  # BTRFS_IOC_FORGET_DEV


class Scratch:
    """`image` is the disk so far, in memory. It is mounted by way of a recorder, which takes back what was
    written meanwhile: a disk for each point, and none has to be copied."""

    def __init__(self, directory: Path, top: Path, initial: Path) -> None:
        self._directory = directory
        self._top = str(top)
        sh("mount", "-t", "tmpfs", "-o", "size=3g", "scratch", directory)
        try:
            sh("cp", "--sparse=always", initial, directory / "image")
            self.image = os.open(directory / "image", os.O_RDWR | os.O_CLOEXEC)
            self._disk = Recorder(directory / "image", directory / "disk", Path(os.devnull))
        except BaseException:
            sh("umount", "-l", directory)
            raise

    def close(self) -> None:
        """Give it all back."""
        os.close(self.image)
        self._disk.close()
        sh("umount", self._directory)

    @contextlib.contextmanager
    def as_the_boot_loader_sees_it(self, *more: Event) -> Iterator[str]:
        """The image, to which these events have happened besides, mounted read-only, its log tree not read; the
        mount point."""
        yield from self._mounted(more, syscalls.MS_RDONLY, "rescue=nologreplay")

    @contextlib.contextmanager
    def as_the_kernel_mounts_it(self, *more: Event) -> Iterator[str]:
        """The same mounted writable."""
        yield from self._mounted(more, 0, "")

    def _mounted(self, more: tuple[Event, ...], flags: int, options: str) -> Iterator[str]:
        forget_devices()  # else btrfs takes an older state for an old device, and refuses it
        disk = os.open(self._disk.place, os.O_RDWR | os.O_CLOEXEC)
        try:
            for event in more:
                event.apply(disk)
            loop = syscalls.attach_loop(disk, 0, 0, "image")
            try:
                name = os.readlink(f"/proc/self/fd/{loop}")
                data = f"subvolid=5,{options}".strip(",")
                syscalls.mount(name, self._top, "btrfs", flags | syscalls.MS_NOATIME, data)
                try:
                    yield self._top
                finally:
                    syscalls.umount(self._top)
            finally:
                os.close(loop)
        finally:
            os.close(disk)
            self._disk.restore()


def forget_devices() -> None:
    """Have btrfs forget the devices that are not mounted."""
    control = os.open("/dev/btrfs-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _FORGET_DEVICES, bytearray(4096))
    finally:
        os.close(control)
