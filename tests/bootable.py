"""Kernels and initramfs archives that are whole in every way that can be asked for, and do nothing; and
a root directory that has them."""

import gzip
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

RELEASE = "6.6.6-1-test"


def kernel_image(release: str = RELEASE, *, machine: int = 0x8664) -> bytes:
    """An x86 bzImage with an EFI header, of which firmware would believe all (boot.rst, "PE Format")."""
    payload = b"\x90" * 4096
    setup = bytearray(1024)
    setup[:2], setup[0x3C:0x40] = b"MZ", struct.pack("<I", 0x40)
    struct.pack_into("<4sHHIIIHH", setup, 0x40, b"PE\0\0", machine, 1, 0, 0, 0, 112, 0)
    setup[0x58:0x5A] = b"\x0b\x02"
    struct.pack_into("<H", setup, 0x58 + 68, 10)
    struct.pack_into("<8sIIII", setup, 0x58 + 112, b".text\0\0\0", len(payload), 1024, len(payload), 1024)
    setup[0x1F1] = 1
    struct.pack_into("<I", setup, 0x1F4, len(payload) // 16)
    setup[0x1FE:0x200], setup[0x202:0x206] = b"\x55\xaa", b"HdrS"
    text = f"{release} (builder) #1 SMP\0".encode()
    struct.pack_into("<H", setup, 0x20E, 0x300 - 0x200)
    setup[0x300 : 0x300 + len(text)] = text
    return bytes(setup) + payload


def cpio(files: Mapping[str, bytes]) -> bytes:
    """An archive of regular files in the format "newc" (buffer-format.rst)."""
    archive = b""
    for name, content in (*files.items(), ("TRAILER!!!", b"")):
        fields = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
    return archive


def initramfs_image(release: str = RELEASE, *, btrfs: bool = True, overlay: bool = False) -> bytes:
    """An initramfs for that kernel."""
    files = {"init": b"#!/bin/sh\n" + (b"# overlaytmpfs\n" if overlay else b"")}
    files[f"lib/modules/{release}/kernel/fs/ext4/ext4.ko"] = b"module"
    if btrfs:
        files[f"lib/modules/{release}/kernel/fs/btrfs/btrfs.ko"] = b"module"
    return gzip.compress(cpio(files), 1)


def add_kernel(root: Path, flavor: str = "lts", release: str = RELEASE, *, overlay: bool = False) -> None:
    """Put a kernel, named as Alpine names it, its modules and an initramfs into a root directory."""
    (root / "boot").mkdir(exist_ok=True)
    (root / f"boot/vmlinuz-{flavor}").write_bytes(kernel_image(release))
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
