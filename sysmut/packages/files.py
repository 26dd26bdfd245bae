"""The files of a package database: are they there, what is in them, and is what they name a package?"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator

from sysmut import inroot
from sysmut.errors import BadData

Packages = dict[str, tuple[str, ...]]

LIMIT = 256 * 2**20
"""The largest database that is read, in bytes."""

MOST = 100_000
"""As many packages as there may be in a database: more than any distribution has."""

WAL = "-wal"
"""What SQLite's write-ahead log is called, after the database."""

_LONGEST = 1024


def status(root: int, path: str) -> os.stat_result | None:
    """What `path` in the root is; None if it is not there. Raises BadData for links that never end."""
    try:
        with inroot.opened(root, path) as fd:
            return os.fstat(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno in inroot.LEADS_NOWHERE:
            raise damaged(path, f"cannot be opened: {error.strerror}") from None
        raise


@contextlib.contextmanager
def opened(root: int, path: str, limit: int = LIMIT) -> Iterator[tuple[int, int]]:
    """A regular file in the root, open for reading, and its size in bytes. Raises BadData for anything
    else, and for a larger one than `limit`; an OSError of the context names the path."""
    try:
        with inroot.opened(root, path) as there:
            found = os.fstat(there)
            if not stat.S_ISREG(found.st_mode):
                raise BadData(f"{path}: not a regular file")
            if found.st_size > limit:
                raise BadData(f"{path}: too large ({found.st_size} bytes)")
            # Opened anew by way of the kernel: what was looked at is what is read.
            fd = os.open(f"/proc/self/fd/{there}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd, found.st_size
            finally:
                os.close(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def stanzas(root: int, path: str, fields: re.Pattern[bytes]) -> Iterator[dict[bytes, bytes]]:
    """The stanzas of a text file, which empty lines part, each with those of its `fields` that it has.

    Raises BadData where one has none of them, or one twice, or where the file ends within a line.
    """
    with opened(root, path) as (fd, _), open(fd, "rb", closefd=False) as file:
        data = file.read(LIMIT)
    if data and not data.endswith(b"\n"):
        raise damaged(path, "ends in the middle of a line")
    data = data.strip(b"\n")
    return _stanzas(b"\n%b\n\n" % data, fields, path) if data else iter(())


def _stanzas(text: bytes, fields: re.Pattern[bytes], path: str) -> Iterator[dict[bytes, bytes]]:
    count = 0
    found: dict[bytes, bytes] = {}
    for match in fields.finditer(text):
        name, value = match.groups()
        if name is None:  # the empty lines at the end of a stanza
            if not found:
                raise damaged(path, "has a stanza that is no package's")
            if (count := count + 1) > MOST:
                raise damaged(path, "has too many packages")
            yield found
            found = {}
        elif name in found:
            raise damaged(path, f"has a package with two fields {name.decode()}")
        else:
            found[name] = value


def field_pattern(*names: str) -> re.Pattern[bytes]:
    """What finds these fields at the beginning of lines, and the end of a stanza, for `stanzas`."""
    return re.compile(rb"\n(?:(%b):[ \t]*(.*)|\n*(?=\n))" % "|".join(names).encode())


def grouped(entries: Iterable[tuple[bytes, bytes]], path: str) -> Packages:
    """The versions of each name. Raises BadData for a name or version that no package can have."""
    found: dict[str, list[str]] = {}
    for count, (name, version) in enumerate(entries):
        if count == MOST:
            raise damaged(path, "has too many packages")
        found.setdefault(_word(name, path), []).append(_word(version, path))
    return {name: tuple(sorted(versions)) for name, versions in found.items()}


def _word(raw: bytes, path: str) -> str:
    """A name or version as text: it will be shown on a terminal, so it must be fit for one."""
    word = raw[:_LONGEST].decode(errors="surrogateescape")
    if not word.isprintable() or " " in word or not 0 < len(raw) < _LONGEST:
        raise damaged(path, f"has {word[:40]!a} for a package's name or version")
    return word


def damaged(path: str, how: str) -> BadData:
    """The error for a package database that cannot be understood."""
    return BadData(f"{path}: {how}", hint="in a session, its package manager itself tells what is wrong with it")
