"""Is a file what UEFI firmware can start, for which machine, and which kernel release is it?

The formats: Microsoft's "PE Format"; for x86 the kernel's Documentation/arch/x86/boot.rst; for a unified
kernel image the UAPI group's specification of it. Numbers are little-endian.
"""

import re
import struct
from typing import BinaryIO

from sysmut.values import frozen

_EFI_APPLICATION = 10
"""The subsystem that says so, IMAGE_SUBSYSTEM_EFI_APPLICATION."""

_PE_MACHINES = {
    0x014C: "i386",
    0x8664: "x86_64",
    0x01C0: "arm",
    0x01C2: "arm",
    0x01C4: "arm",
    0xAA64: "aarch64",
    0x5032: "riscv32",
    0x5064: "riscv64",
    0x6232: "loongarch32",
    0x6264: "loongarch64",
}
_ELF_MACHINES = {
    # (e_machine, is of 64 bits)
    (3, False): "i386",
    (62, False): "x86_64",
    (62, True): "x86_64",
    (40, False): "arm",
    (183, True): "aarch64",
    (243, False): "riscv32",
    (243, True): "riscv64",
    (258, False): "loongarch32",
    (258, True): "loongarch64",
}
_RELEASE = r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}"


@frozen
class Header:
    """What the head of a kernel image tells."""

    machine: str
    """As `uname -m` has it: x86_64, aarch64, …"""
    release: str | None
    """As `uname -r` has it; None where the image does not tell (all but x86 and unified kernel images)."""


@frozen
class _Section:
    name: bytes
    start: int
    size: int


def read(file: BinaryIO, size: int) -> Header:
    """The header of an EFI program in an open file of `size` bytes.

    Raises ValueError, with words that go behind the file's name, where firmware could not start it.
    """
    if size == 0:
        raise ValueError("is empty")
    start = _at(file, 0, 1024)
    if start.startswith(b"\x1f\x8b"):
        raise ValueError("is compressed with gzip: firmware starts it only uncompressed")
    if len(start) < 64 or not start.startswith(b"MZ"):
        raise ValueError("is no EFI program (no EFI stub, or not a kernel)")
    machine, sections = _read_pe(file, int.from_bytes(start[0x3C:0x40], "little"), size)
    for section in sections:
        _check_length(section.start + section.size, size)
    release = _release_of_bzimage(file, start, size) if machine in ("i386", "x86_64") else None
    return Header(machine, release or _release_of_unified(file, sections))


def _read_pe(file: BinaryIO, offset: int, size: int) -> tuple[str, list[_Section]]:
    """The machine, and the sections that have bytes in the file."""
    coff = _need(file, offset, 24, size)
    if coff[:4] != b"PE\0\0":
        raise ValueError("is no EFI program (no EFI stub, or not a kernel)")
    machine, count, length = struct.unpack_from("<4xHH12xH", coff)
    optional = _need(file, offset + 24, length, size)
    if length < 70 or optional[:2] not in (b"\x0b\x01", b"\x0b\x02"):
        raise ValueError("is no EFI program: its header is damaged")
    if int.from_bytes(optional[68:70], "little") != _EFI_APPLICATION:
        raise ValueError("is a program for another system than EFI")
    _check_length(_end_of_signature(optional), size)
    table = struct.iter_unpack("<8s8xII16x", _need(file, offset + 24 + length, 40 * count, size))
    sections = [_Section(name, start, stored) for name, stored, start in table if stored]
    return _PE_MACHINES.get(machine, f"unknown machine {machine:#x}"), sections


def _end_of_signature(optional: bytes) -> int:
    """Where the certificate table, which lies behind all sections, ends in the file; 0 if there is none."""
    directories = 112 if optional[:2] == b"\x0b\x02" else 96  # PE32+, or PE32
    entry = optional[directories + 4 * 8 : directories + 5 * 8]
    if len(entry) < 8 or int.from_bytes(optional[directories - 4 : directories], "little") < 5:
        return 0
    start, length = struct.unpack("<II", entry)
    return int(start + length)


def _release_of_bzimage(file: BinaryIO, start: bytes, size: int) -> str | None:
    """The release that an x86 kernel tells; None for another EFI program."""
    if start[0x202:0x206] != b"HdrS":
        return None
    if start[0x1FE:0x200] != b"\x55\xaa":
        raise ValueError("is damaged: it begins like a kernel, without a kernel's boot flag")
    setup = ((start[0x1F1] or 4) + 1) * 512
    _check_length(setup + 16 * int.from_bytes(start[0x1F4:0x1F8], "little"), size)
    pointer = int.from_bytes(start[0x20E:0x210], "little")
    return _first_word(_at(file, 0x200 + pointer, 256))  # with pointer 0 there is no word that can be one


def _release_of_unified(file: BinaryIO, sections: list[_Section]) -> str | None:
    for section in sections:
        if section.name == b".uname\0\0":
            return _first_word(_at(file, section.start, min(section.size, 256)))
    return None


def _first_word(text: bytes) -> str | None:
    words = text.split(b"\0")[0].split()
    word = words[0].decode(errors="replace") if words else ""
    return word if is_release(word) else None


def is_release(text: str) -> bool:
    """Whether the text can be a kernel's release, and so the name of a directory in lib/modules."""
    return re.fullmatch(_RELEASE, text) is not None


def machine_of_elf(header: bytes) -> str | None:
    """The machine of an ELF program that begins so (20 bytes are enough), in the words of Header; None
    if it is none, or is for one that has no UEFI."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return _ELF_MACHINES.get((number, header[4] == 2))


def _check_length(promised: int, size: int) -> None:
    if promised > size:
        raise ValueError(f"is cut off: its header promises {promised} bytes, it has {size}")


def _need(file: BinaryIO, offset: int, length: int, size: int) -> bytes:
    _check_length(offset + length, size)
    found = _at(file, offset, length)
    if len(found) < length:  # the file has become shorter meanwhile
        raise ValueError(f"is cut off: at {offset + len(found)} bytes")
    return found


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
