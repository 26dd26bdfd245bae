"""The name and version in an rpm header, as rpm's databases keep one of each package.

Big endian, without the magic that a package file has: two numbers of 32 bits, how many entries and how many bytes
of data; the entries (tag, type, offset, count); the data. See format.md in rpm's docs/manual.
"""

import struct
from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""Some bytes of a header: from this offset, as many."""

NAME, VERSION, RELEASE, EPOCH = 1000, 1001, 1002, 1003
_INT32, _STRING = 4, 6
_ENTRY = struct.Struct(">4I")
_MOST_ENTRIES = 0xFFFF
_LONGEST = 1024


def package(read: Read, size: int) -> tuple[bytes, bytes]:
    """The name of the package with this header, `size` bytes long, and `[EPOCH:]VERSION-RELEASE`. Reads no more
    of it than it needs. Raises ValueError for what is no header."""
    entries, length = struct.unpack(">2I", read(0, 8)) if size >= 8 else (0, 0)
    data = 8 + entries * _ENTRY.size
    if entries > _MOST_ENTRIES or data + length > size:
        raise ValueError("a header that is cut off")
    found: dict[int, tuple[int, int]] = {}
    for tag, kind, offset, _ in _ENTRY.iter_unpack(read(8, entries * _ENTRY.size)):
        if NAME <= tag <= EPOCH:
            found.setdefault(tag, (kind, offset))

    def value(tag: int, kind: int) -> bytes:
        was, offset = found.get(tag, (None, 0))
        if was != kind or offset >= length:
            raise ValueError(f"a header without the tag {tag}")
        return read(data + offset, min(_LONGEST, length - offset))

    name, version, release = (_string(value(tag, _STRING)) for tag in (NAME, VERSION, RELEASE))
    full = b"%b-%b" % (version, release)
    if EPOCH not in found:
        return name, full
    epoch = value(EPOCH, _INT32)[:4]
    if len(epoch) < 4:
        raise ValueError("a header with an epoch that is cut off")
    return name, b"%d:%b" % (int.from_bytes(epoch, "big"), full)


def _string(raw: bytes) -> bytes:
    text, end, _ = raw.partition(b"\0")
    if not text or not end:
        raise ValueError("a header with a name or version that does not end")
    return text
