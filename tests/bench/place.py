"""Where everything happens: a mount namespace of this process, and disk images without a name in it.

However the program ends, the kernel takes back the mounts, with them the loop devices, and with those the images.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sysmut import syscalls
from tests.lab import sh


@contextmanager
def working_directory(where: str) -> Iterator[Path]:
    """An empty directory in `where`, covered by a tmpfs of this process's own mount namespace, which is entered."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
    with tempfile.TemporaryDirectory(prefix="sysmut-bench-", dir=where) as name:
        syscalls.mount("bench", name, "tmpfs", syscalls.MS_NOATIME, "mode=700,size=90%")
        try:
            yield Path(name)
        finally:
            os.chdir("/")
            syscalls.umount(name, syscalls.MNT_DETACH)


def disk(where: str, top: Path, size: int) -> str:
    """Make a btrfs filesystem of `size` bytes in an unnamed file in the directory `where`, and mount it at `top`; its
    loop device, which goes when it is unmounted."""
    file = os.open(where, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.ftruncate(file, size)
    loop = syscalls.attach_loop(file, 0, 0, "a disk image")
    device = os.readlink(f"/proc/self/fd/{loop}")
    sh("mkfs.btrfs", "-q", device)
    top.mkdir()
    syscalls.mount(device, str(top), "btrfs", syscalls.MS_NOATIME, "subvolid=5")
    os.close(loop)
    os.close(file)
    return device


def beside(name: str) -> str | None:
    """The program of this name beside the interpreter that runs; None where there is none."""
    path = Path(sys.executable).parent / name
    return str(path) if os.access(path, os.X_OK) else None
