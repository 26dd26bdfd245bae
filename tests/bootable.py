"""Kernels and initramfs archives that are whole in every way that can be asked for, and do nothing; and
a root directory that has them."""

import gzip
import shutil
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

RELEASE = "6.1.0-18-amd64"


def bzimage(release: str = RELEASE, *, machine: int = 0x8664, subsystem: int = 10, length: int = 2048) -> bytes:
    """A small but valid x86 kernel with an EFI stub, as far as its header goes."""
    image = bytearray(length)
    image[0:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, 0x40)
    struct.pack_into("<4sHH12xHH", image, 0x40, b"PE\0\0", machine, 1, 112, 0x206)
    struct.pack_into("<H66xH", image, 0x58, 0x20B, subsystem)
    struct.pack_into("<8sIIII16x", image, 0xC8, b".text", length, 0, length - 0x280, 0x280)
    image[0x1F1] = 1  # sectors of setup, beside the first
    struct.pack_into("<I", image, 0x1F4, (length - 1024) // 16)
    struct.pack_into("<H2x4s", image, 0x1FE, 0xAA55, b"HdrS")
    struct.pack_into("<H", image, 0x20E, 0x80)
    text = f"{release} (builder@host) #1 SMP".encode() + b"\0"
    image[0x280 : 0x280 + len(text)] = text
    return bytes(image)


def cpio(files: dict[str, str], kind: str = "newc") -> bytes:
    """An archive of these files and the directories that they are in; a text `-> x` is a link to x."""
    with TemporaryDirectory() as directory:
        for name, text in files.items():
            (Path(directory) / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (Path(directory) / name).mkdir()
            elif text.startswith("-> "):
                (Path(directory) / name).symlink_to(text[3:])
            else:
                (Path(directory) / name).write_text(text)
        made = sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*"))
        listing = "\n".join([".", *made]).encode()
        command = ["cpio", "-o", "--quiet", "-H", kind]
        return subprocess.run(command, input=listing, cwd=directory, check=True, capture_output=True).stdout


def initramfs_image(release: str = RELEASE, *, btrfs: bool = True, overlay: bool = False) -> bytes:
    """An initramfs for that kernel."""
    files = {"init": "#!/bin/sh\n" + ("# overlaytmpfs\n" if overlay else "")}
    files[f"lib/modules/{release}/kernel/fs/ext4/ext4.ko"] = "module"
    if btrfs:
        files[f"lib/modules/{release}/kernel/fs/btrfs/btrfs.ko"] = "module"
    return gzip.compress(cpio(files), 1)


def add_kernel(root: Path, flavor: str = "lts", release: str = RELEASE, *, overlay: bool = False) -> None:
    """Put a kernel, named as Alpine names it, its modules and an initramfs into a root directory."""
    (root / "boot").mkdir(exist_ok=True)
    (root / f"boot/vmlinuz-{flavor}").write_bytes(bzimage(release, length=8192))
    (root / f"boot/initramfs-{flavor}").write_bytes(initramfs_image(release, overlay=overlay))
    modules = root / "lib/modules" / release / "kernel/fs/btrfs"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "btrfs.ko").write_bytes(b"module")


def bootable_root(small_root: Path, directory: Path, *, overlay: bool = False) -> Path:
    """A copy of a root directory, with a kernel."""
    root = directory / "bootable"
    shutil.copytree(small_root, root, symlinks=True)
    add_kernel(root, overlay=overlay)
    return root
