"""Disk images as they were at some moment, mounted as the kernel does it, and as the boot loader sees them."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sysmut import syscalls
from tests.lab import sh, wait_until
from tests.reliability.history import Event

_FICLONE = 0x40049409
_FORGET_DEVICES = 0x50009405  # BTRFS_IOC_FORGET_DEV


class Scratch:
    """A place for images where a copy costs nothing: btrfs in memory, for its reflinks.

    `image` is the disk so far; what is mounted writable is a copy of it, thrown away afterwards.
    """

    def __init__(self, directory: Path, top: Path, initial: Path) -> None:
        self._directory = directory
        self._top = str(top)
        sh("mount", "-t", "tmpfs", "-o", "size=3g", "scratch", directory)
        try:
            with open(directory / "disk", "wb") as file:
                file.truncate(4 * 2**30)
            sh("mkfs.btrfs", "-q", "-d", "single", "-m", "single", directory / "disk")
            (directory / "in").mkdir()
            sh("mount", "-o", "loop,nodatasum,noatime", directory / "disk", directory / "in")
        except BaseException:
            sh("umount", directory)
            raise
        self._copy = str(directory / "in/copy")
        shutil.copy(initial, directory / "in/image")
        self.image = os.open(directory / "in/image", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Give it all back."""
        os.close(self.image)
        for place in (self._directory / "in", self._directory):
            # Who looks at all loop devices has ours open for a moment, and that its file.
            wait_until(lambda p=place: subprocess.run(["umount", p], check=False, capture_output=True).returncode == 0)

    @contextlib.contextmanager
    def as_the_boot_loader_sees_it(self, *more: Event) -> Iterator[str]:
        """The image, or a copy to which these events have happened besides, mounted read-only, its log tree
        not read; the mount point."""
        with self.copied(*more) if more else contextlib.nullcontext(self.image) as image:
            yield from self._mounted(image, syscalls.MS_RDONLY, "rescue=nologreplay")

    @contextlib.contextmanager
    def as_the_kernel_mounts_it(self, *more: Event) -> Iterator[str]:
        """A copy of the image, to which these events have happened besides, mounted writable."""
        with self.copied(*more) as copy:
            yield from self._mounted(copy, 0, "")

    @contextlib.contextmanager
    def copied(self, *more: Event) -> Iterator[int]:
        """A copy of the image, open, to which these events have happened besides."""
        copy = os.open(self._copy, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.ioctl(copy, _FICLONE, self.image)
            for event in more:
                event.apply(copy)
            yield copy
        finally:
            os.close(copy)

    def _mounted(self, image: int, flags: int, options: str) -> Iterator[str]:
        forget_devices()  # else btrfs takes an older state for an old device, and refuses it
        loop = syscalls.attach_loop(image, 0, 0, "image")
        try:
            name = os.readlink(f"/proc/self/fd/{loop}")
            syscalls.mount(name, self._top, "btrfs", flags | syscalls.MS_NOATIME, f"subvolid=5,{options}".strip(","))
            try:
                yield self._top
            finally:
                syscalls.umount(self._top)
        finally:
            os.close(loop)


def forget_devices() -> None:
    """Have btrfs forget the devices that are not mounted."""
    control = os.open("/dev/btrfs-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _FORGET_DEVICES, bytearray(4096))
    finally:
        os.close(control)
