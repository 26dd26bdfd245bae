"""What btrfs has on disk for a file: its extents, and how they are compressed.

Read from the file's own EXTENT_DATA items, as a boot loader's driver reads them. FIEMAP does not tell the
compression, and looks up who else shares an extent, which takes minutes with many snapshots.
"""

import os
import struct
from collections.abc import Iterator
from typing import Literal

from sysmut import syscalls
from sysmut.errors import BadData
from sysmut.values import frozen

_EXTENT_DATA_KEY = 108
_MOST = 2**17
"""So many extents has half a GiB in the smallest pieces possible: no file that is booted has more."""

_INLINE, _REGULAR, _PREALLOCATED = range(3)
_COMPRESSIONS: dict[int, "Compression"] = {0: "", 1: "zlib", 2: "lzo", 3: "zstd"}

Kind = Literal["data", "inline", "hole", "zeros", "unwritten"]
Compression = Literal["", "zlib", "lzo", "zstd", "unknown"]


@frozen
class Extent:
    """A part of a file; offset and length in bytes of its content. `inline`: the data is kept in the tree.
    `hole`: nothing is on disk for it; `zeros`: a hole that is written down as one. `unwritten`:
    preallocated, and reads as zeros. `unknown`: a compression or encryption that came later."""

    offset: int
    length: int
    kind: Kind
    compression: Compression = ""


def of(fd: int, path: str) -> tuple[Extent, ...]:
    """The extents of an open regular file, from its first byte to its last without a gap, after what is not
    yet on disk was written out. It may be open for reading only, but not by O_PATH, and be sealed.

    Root is needed. Raises BadData for one in more than 131072 extents, and OSError where it is not on btrfs.
    """
    syscalls.write_out(fd, path)
    status = os.fstat(fd)
    found: list[Extent] = []
    end = 0
    for extent in _written_down(fd, status, path):
        if extent.offset >= status.st_size:  # preallocated for later
            break
        if extent.offset > end:
            found.append(Extent(end, extent.offset - end, "hole"))
        end = min(extent.offset + extent.length, status.st_size)
        found.append(Extent(extent.offset, end - extent.offset, extent.kind, extent.compression))
        if len(found) > _MOST:
            raise BadData(f"{path}: in more than {_MOST} extents", hint="write it anew: cp --reflink=never, then mv")
    if end < status.st_size:
        found.append(Extent(end, status.st_size - end, "hole"))
    return tuple(found)


def _written_down(fd: int, status: os.stat_result, path: str) -> Iterator[Extent]:
    """The extents that have an item in the tree. Each page begins behind the last, so there is an end."""
    start = 0
    while page := syscalls.tree_search(fd, status.st_ino, _EXTENT_DATA_KEY, start, path):
        for offset, item in page:
            yield decode(offset, item, status.st_blksize)
        start = offset + 1


def decode(offset: int, item: bytes, block: int) -> Extent:
    """The extent that an EXTENT_DATA item (struct btrfs_file_extent_item, which the kernel has checked)
    describes. The last block of it may reach beyond the file's end; an inline extent fills one block."""
    _, _, compression, encryption, encoding, kind = struct.unpack_from("=QQBBHB", item)
    if kind == _INLINE:
        return Extent(offset, block, "inline", _compression(compression, encryption, encoding))
    address, _, _, length = struct.unpack_from("=4Q", item, 21)
    if kind == _PREALLOCATED:
        return Extent(offset, length, "unwritten")
    if address == 0:  # on filesystems without the feature no-holes
        return Extent(offset, length, "zeros")
    return Extent(offset, length, "data", _compression(compression, encryption, encoding))


def _compression(compression: int, encryption: int, encoding: int) -> Compression:
    return "unknown" if encryption or encoding else _COMPRESSIONS.get(compression, "unknown")
