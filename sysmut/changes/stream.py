"""The stream that btrfs sends, taken apart. No I/O but reading it.

The format is that of the kernel's fs/btrfs/send.h: a header, then commands, each a length, a number, a
checksum and attributes (type, length, value), all little-endian. The checksum is for streams that are stored or
go over a wire, and is not looked at: this one comes straight from the kernel.
"""

import enum
import struct
from collections.abc import Iterator
from typing import BinaryIO

from sysmut.errors import BadData
from sysmut.values import frozen

_MAGIC = b"btrfs-stream\0"
_VERSION = 1
_HEADER = struct.Struct("<13sI")
_COMMAND = struct.Struct("<IHI")  # length of what follows, number, checksum
_ATTRIBUTE = struct.Struct("<HH")  # type, length
_LONGEST = 2**16
"""BTRFS_SEND_BUF_SIZE_V1, which no command exceeds."""


class Kind(enum.IntEnum):
    """enum btrfs_send_cmd, as far as version 1 has it."""

    SUBVOL = 1
    SNAPSHOT = 2
    MKFILE = 3
    MKDIR = 4
    MKNOD = 5
    MKFIFO = 6
    MKSOCK = 7
    SYMLINK = 8
    RENAME = 9
    LINK = 10
    UNLINK = 11
    RMDIR = 12
    SET_XATTR = 13
    REMOVE_XATTR = 14
    WRITE = 15
    CLONE = 16
    TRUNCATE = 17
    CHMOD = 18
    CHOWN = 19
    UTIMES = 20
    END = 21
    UPDATE_EXTENT = 22


_INODE, _PATH, _PATH_TO, _PATH_LINK = 3, 15, 16, 17  # enum of BTRFS_SEND_A_INO and others


@frozen
class Command:
    """One step on the way from the old tree to the new one. Paths are those of the tree at that step, from the
    subvolume's root, which is the empty path."""

    kind: Kind
    path: bytes = b""
    other: bytes = b""
    """Of a RENAME, where to; of a LINK, the file that gets this further name; of a SYMLINK, its target."""
    inode: int = 0
    """The number of an inode that is made."""


def commands(file: BinaryIO) -> Iterator[Command]:
    """The commands of a stream up to its END, which is left out. Reads as it goes, and keeps nothing.

    Raises BadData for what is not a stream of version 1, or one that is cut off."""
    magic, version = _HEADER.unpack(_read(file, _HEADER.size))
    if magic != _MAGIC:
        raise BadData("not a send stream of btrfs")
    if version != _VERSION:
        raise BadData(f"a send stream of version {version}, and not {_VERSION}")
    while True:
        length, number, _ = _COMMAND.unpack(_read(file, _COMMAND.size))
        if length > _LONGEST:
            raise BadData(f"a command of {length} bytes in a send stream of btrfs")
        command = _command(number, _read(file, length))
        if command.kind == Kind.END:
            return
        yield command


def _read(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise BadData("a send stream of btrfs is cut off")
    return found


def _command(number: int, body: bytes) -> Command:
    try:
        kind = Kind(number)
    except ValueError:
        raise BadData(f"command {number} in a send stream of btrfs, which version {_VERSION} has not") from None
    found: dict[int, bytes] = {}
    place = 0
    while place < len(body):
        if place + _ATTRIBUTE.size > len(body):
            raise BadData(f"{kind.name} in a send stream of btrfs is cut off")
        what, length = _ATTRIBUTE.unpack_from(body, place)
        place += _ATTRIBUTE.size + length
        if place > len(body):
            raise BadData(f"{kind.name} in a send stream of btrfs is cut off")
        found[what] = body[place - length : place]
    _require(kind, found)
    other = found.get(_PATH_TO if kind == Kind.RENAME else _PATH_LINK, b"")
    return Command(kind, found.get(_PATH, b""), other, int.from_bytes(found.get(_INODE, b""), "little"))


def _require(kind: Kind, found: dict[int, bytes]) -> None:
    needed = () if kind == Kind.END else (_PATH, *_ALSO.get(kind, ()))
    for what in needed:
        if what not in found:
            raise BadData(f"{kind.name} in a send stream of btrfs lacks its attribute {what}")


_ALSO = {
    Kind.RENAME: (_PATH_TO,),
    Kind.LINK: (_PATH_LINK,),
    **dict.fromkeys((Kind.MKFILE, Kind.MKDIR, Kind.MKNOD, Kind.MKFIFO, Kind.MKSOCK, Kind.SYMLINK), (_INODE,)),
}
