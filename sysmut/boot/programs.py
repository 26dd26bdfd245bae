"""What a program file needs to be started: read from its first bytes, as the kernel does (elf(5), execve(2))."""

import struct
from typing import BinaryIO

_LONGEST = 4096
_MOST_HEADERS = 64
_PT_INTERP = 3


def interpreter(file: BinaryIO) -> str | None:
    """The path of what starts a program: of an ELF file's loader, of a script's interpreter; empty where
    it needs none, None where it is no program."""
    start = file.read(_LONGEST)
    if start[:2] == b"#!":
        words = start.split(b"\n", 1)[0][2:].replace(b"\t", b" ").split(b" ")
        words = [word for word in words if word]  # not by \r, which the kernel takes for a letter
        return words[0].decode(errors="surrogateescape") if words else None
    if start[:4] != b"\x7fELF" or len(start) < 64 or start[4] not in (1, 2) or start[5] not in (1, 2):
        return None
    order, wide = "<>"[start[5] - 1], start[4] == 2
    table, size, count = (
        (*struct.unpack_from(f"{order}Q", start, 32), *struct.unpack_from(f"{order}HH", start, 54))
        if wide
        else (*struct.unpack_from(f"{order}I", start, 28), *struct.unpack_from(f"{order}HH", start, 42))
    )
    for number in range(min(count, _MOST_HEADERS)):
        header = _at(file, table + number * size, 56 if wide else 32)
        if len(header) < (56 if wide else 32):
            return None
        if struct.unpack_from(f"{order}I", header)[0] == _PT_INTERP:
            form, at = ("Q16xQ", 8) if wide else ("I8xI", 4)
            place, length = struct.unpack_from(order + form, header, at)
            path = _at(file, place, min(length, _LONGEST)).split(b"\0", 1)[0]
            return path.decode(errors="surrogateescape") or None
    return ""


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    """The bytes there; fewer, or none, where the file is not that long."""
    if place >= 2**62:
        return b""
    file.seek(place)
    return file.read(length)
