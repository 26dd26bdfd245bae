"""A disk's partition table, where it is a GPT: UEFI specification, part 5.3.

Reads by pread(2) only, from a file that is open already, and a bounded amount of it. A table counts
where its checksums are right and no old MBR says otherwise, as for the kernel; the copy at the end of
the disk, which the kernel does not heed either, is not looked at.
"""

import os
import struct

from sysmut.values import frozen

_SECTORS = (512, 4096)
_HEADER = struct.Struct("<8sIIII4Q16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_LARGEST_TABLE = 2**20
"""Bytes. The usual table has 16 KiB."""
_FARTHEST = 2**62
"""No file is as long, whatever a table says: offsets have 63 bits."""
_PROTECTIVE = 0xEE


@frozen
class Partition:
    """One partition: where it is, in bytes, and what the table says of it."""

    number: int
    """As the kernel and the firmware count: from 1, unused entries counted."""
    start: int
    size: int
    type: str
    """The GUID of its kind, in lower case: c12a7328-… for an EFI system partition."""
    uuid: str
    """Its own GUID, in lower case: what Linux and rEFInd call PARTUUID."""
    label: str


def partitions(fd: int, name: str) -> tuple[Partition, ...]:
    """The partitions of the open disk or image, by number; none where it has no valid GPT. Sectors are
    of 512 or 4,096 bytes. Raises OSError, with `name` in it, where it cannot be read."""
    try:
        if _is_mbr(os.pread(fd, 512, 0)):
            return ()
        for sector in _SECTORS:
            table = _table(fd, sector)
            if table is not None:
                return tuple(_entries(*table, sector))
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    return ()


def _is_mbr(block: bytes) -> bool:
    """Whether an MBR is in force: one with partitions, of which none only protects a GPT."""
    if block[510:] != b"\x55\xaa":
        return False
    kinds = {block[at] for at in range(450, 510, 16)} - {0}
    return bool(kinds) and _PROTECTIVE not in kinds


def _table(fd: int, sector: int) -> tuple[bytes, int] | None:
    """The array of entries, and the size of one, if header and array are sound."""
    import zlib  # late: most commands see no partition table

    header = os.pread(fd, sector, sector)
    if len(header) < sector or header[:8] != b"EFI PART":
        return None
    _, _, length, checksum, _, place, _, _, _, _, first, count, size, table_checksum = _HEADER.unpack_from(header)
    if not _HEADER.size <= length <= sector or place != 1:
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
        return None
    if size < _ENTRY.size or count * size > _LARGEST_TABLE or not 1 < first < _FARTHEST // sector:
        return None
    table = os.pread(fd, count * size, first * sector)
    if len(table) < count * size or zlib.crc32(table) != table_checksum:
        return None
    return table, size


def _entries(table: bytes, size: int, sector: int) -> list[Partition]:
    found = []
    for index in range(len(table) // size):
        kind, own, first, last, _, label = _ENTRY.unpack_from(table, index * size)
        if any(kind) and 1 < first <= last < _FARTHEST // sector:
            text = label.decode("utf-16-le", errors="replace").partition("\0")[0]
            start, length = first * sector, (last - first + 1) * sector
            found.append(Partition(index + 1, start, length, _guid(kind), _guid(own), text))
    return found


def _guid(data: bytes) -> str:
    """The text of a GUID, of which the first three fields are little-endian."""
    fields = (data[3::-1], data[5:3:-1], data[7:5:-1], data[8:10], data[10:])
    return "-".join(field.hex() for field in fields)
