"""rpm's databases: SQLite, as Fedora has it; ndb, as openSUSE has it; and Berkeley DB, the old one, not read."""

import contextlib
import itertools
import os
import re
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sysmut.errors import BadData
from sysmut.packages import files, header
from sysmut.packages.files import Packages, damaged, grouped

if TYPE_CHECKING:
    import sqlite3


_SQLITE_LIMIT = 4 * 2**30
_STEPS = 10_000
_PAGE = 4096
_BLOCK = 16
_HEADER_SIZE = 32


def read_berkeley(root: int, path: str) -> Packages:
    """Raises BadData."""
    raise BadData(
        f"{path}: a Berkeley DB, which sysmut does not read",
        hint="in a session, `rpmdb --rebuilddb` writes it anew in the format that this rpm uses now",
    )


def read_sqlite(root: int, path: str) -> Packages:
    """The packages in an SQLite database. Raises BadData where a part of it is still in its log, as rpm
    leaves it when it is killed: SQLite cannot read that without writing."""
    log = files.status(root, path + files.WAL)
    if log is not None and log.st_size:
        raise BadData(
            f"{path}{files.WAL}: changes that are not in the database yet",
            hint="in a session, `rpmdb --rebuilddb` writes them there",
        )
    with files.opened(root, path, _SQLITE_LIMIT) as (fd, _):
        return _grouped(_in_sqlite(fd), path)


def read_ndb(root: int, path: str) -> Packages:
    """The packages in an ndb database, as lib/backend/ndb/rpmpkg.c has it."""
    with files.opened(root, path) as (fd, size):
        return _grouped(_in_ndb(fd, size), path)


def _grouped(entries: Iterable[tuple[bytes, bytes]], path: str) -> Packages:
    """Without the keys that rpm keeps among its packages."""
    try:
        return grouped((entry for entry in entries if entry[0] != b"gpg-pubkey"), path)
    except ValueError as error:
        raise damaged(path, f"has {error}") from None


def _in_sqlite(fd: int) -> Iterator[tuple[bytes, bytes]]:
    import sqlite3  # late: takes longer than all the rest, and few systems have such a database

    # SQLite goes by the path that the kernel tells for the descriptor.
    if not os.path.samestat(os.fstat(fd), os.stat(os.readlink(f"/proc/self/fd/{fd}"))):
        raise ValueError("another file in its place")
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:/proc/self/fd/{fd}?mode=ro&immutable=1", uri=True)
        ) as connection:
            connection.text_factory = bytes
            steps = itertools.count()
            # A file can be made that SQLite would go round in for ever.
            connection.set_progress_handler(lambda: next(steps) >= _STEPS, 1000)
            yield from _in_table(connection)
    except sqlite3.Error as error:
        raise ValueError(f"what SQLite cannot read: {ascii(str(error))[:100]}") from None


def _in_table(connection: "sqlite3.Connection") -> Iterator[tuple[bytes, bytes]]:
    """Reads the beginning of each header alone: most of it is lists of files."""
    (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'Packages'").fetchone() or (None,)
    # A view, and what else would compute what is read and not just hold it, is none of rpm's.
    if not isinstance(made, bytes) or re.search(rb"(?i)\b(virtual|as)\b", made):
        raise ValueError("no table of packages")
    for (number,) in connection.execute("SELECT hnum FROM Packages"):
        if not isinstance(number, int):
            raise ValueError("a table of packages that is none of rpm's")
        with connection.blobopen("Packages", "blob", number, readonly=True) as blob:

            def read(offset: int, length: int, blob: "sqlite3.Blob" = blob) -> bytes:
                blob.seek(offset)
                return blob.read(length)

            yield header.package(read, len(blob))


def _in_ndb(fd: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Pages of slots, the first of them with the database's own header before; each slot that is in use leads to
    a blob, counted in blocks of 16 bytes. Little endian."""
    magic, version, _, pages = struct.unpack("<4s3I", _exactly(fd, _BLOCK, 0))
    if magic != b"RpmP" or version != 0:
        raise ValueError("not the format ndb")
    for page in range(pages):
        start = 0 if page else _HEADER_SIZE
        slots = _exactly(fd, _PAGE - start, page * _PAGE + start)
        for mark, index, block, count in struct.iter_unpack("<4s3I", slots):
            if mark != b"Slot":
                raise ValueError("a damaged list of slots")
            if block:
                yield _in_blob(fd, size, index, block * _BLOCK, count)


def _in_blob(fd: int, size: int, index: int, start: int, count: int) -> tuple[bytes, bytes]:
    """The package in a blob: 16 bytes of which the last 4 are its length, a header, and 12 bytes, which repeat it."""
    mark, named, _, length = struct.unpack("<4s3I", _exactly(fd, _BLOCK, start))
    whole = start + count * _BLOCK <= size and -(-(16 + length + 12) // _BLOCK) == count
    if mark != b"BlbS" or named != index or not whole:
        raise ValueError("a damaged entry")
    return header.package(lambda offset, some: _exactly(fd, some, start + 16 + offset), length)


def _exactly(fd: int, length: int, offset: int) -> bytes:
    found = os.pread(fd, length, offset)
    if len(found) < length:
        raise ValueError("an end before its end")
    return found
