"""A tar archive, read through once before it is unpacked: is it whole, and what is in it."""

import contextlib
import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from sysmut.errors import BadData
from sysmut.install import programs, view
from sysmut.install.model import Watch
from sysmut.install.view import Listing

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_TEXT_LIMIT = 2**20
_TEXTS = 64
_INLINE = 2048
_PER_MEMBER = 512
_KEPT = 4 * tarfile.RECORDSIZE  # tarfile reads a record at a time
_HINT = "make it anew: tar --create --xattrs --acls --numeric-owner -C ROOT ."


def compression(path: str) -> str:
    """The program that the file is compressed with, told by its content; empty for none."""
    with open(path, "rb") as file:
        start = file.read(8)
    return next((program for magic, program in _MAGIC if start.startswith(magic)), "")


def scan(path: str, program: str, watch: Watch) -> Listing:
    """Read the archive from end to end; what is in it.

    Raises BadData where it is corrupt or cut off, or holds members that lead out of the root.
    """
    found = _Found(path)
    with open(path, "rb") as file, _decompressed(file, program, path) as stream:
        reader: Any = _Reader(stream, watch, f"reading {os.path.basename(path)}")
        try:
            with tarfile.open(fileobj=reader, mode="r|") as opened:
                archive: Any = opened
                while (member := archive.next()) is not None:
                    found.add(member, archive)
                    archive.members.clear()  # else a value for every member would be kept
                # tarfile takes any block that is no header for the end; a real end is a block of zeros.
                ended = reader.block_at(archive.offset) == bytes(tarfile.BLOCKSIZE)
        except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
            problem: str | None = str(error)
        else:
            problem = None if ended else "it does not end as an archive does"
        reader.drain()  # the decompressor knows whether all was well only at its end
    if problem is not None:
        raise BadData(f"{path}: not a tar archive, or corrupt or cut off: {problem}", hint=_HINT)
    return found.listing()


class _Reader:
    """The stream that tarfile reads from; heeds signals, and remembers what came last."""

    def __init__(self, stream: IO[bytes], watch: Watch, doing: str) -> None:
        self._stream = stream
        self._watch = watch
        self._doing = doing
        self._last = b""
        self._count = 0

    def read(self, size: int) -> bytes:
        self._watch.tick(self._doing)
        data = self._stream.read(size)
        self._last = (self._last + data)[-_KEPT:]
        self._count += len(data)
        return data

    def block_at(self, offset: int) -> bytes:
        """The block of the archive at this offset, as far as there is one; among the last that were read."""
        start = offset - (self._count - len(self._last))
        return self._last[max(0, start) : max(0, start) + tarfile.BLOCKSIZE]

    def drain(self) -> None:
        while self.read(2**20):
            pass


@contextlib.contextmanager
def _decompressed(file: IO[bytes], program: str, path: str) -> Iterator[IO[bytes]]:
    """The file's content; on leaving, raise BadData where the decompressor was not content."""
    if not program:
        yield file
        return
    with programs.output_of((program, "-dc"), file.fileno()) as (process, stream):
        yield stream
        said = b"" if process.stderr is None else process.stderr.read()
        if process.wait():
            lines = said.decode(errors="replace").strip().split("\n")
            raise BadData(f"{path}: corrupt or cut off: {lines[0] or program}", hint=_HINT)


class _Found:
    """What has been read so far."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self._kinds: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._size = 0

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Take note of one member. Raises BadData for one that leads out of the root."""
        path = self._checked(member.name)
        if member.islnk():
            self._checked(member.linkname)
        parts = path.split("/")
        for length in range(1, len(parts)):
            self._kinds.setdefault("/".join(parts[:length]), view.DIRECTORY)
        self._links.pop(path, None)
        if member.issym():
            self._links[path] = member.linkname
        self._kinds[path] = view.LINK if member.issym() else view.DIRECTORY if member.isdir() else view.OTHER
        self._size += _PER_MEMBER
        if member.isreg():
            self._size += _on_disk(member)
            wanted = os.path.basename(path) in ("os-release", "fstab") and len(self._texts) < _TEXTS
            if wanted and member.size <= _TEXT_LIMIT:
                content = archive.extractfile(member)
                text = b"" if content is None else content.read()
                self._texts[path] = text.decode(errors="surrogateescape")

    def _checked(self, name: str) -> str:
        """The path in the root of a member of this name."""
        path = posixpath.normpath(f"/{name}").lstrip("/")
        parts = name.split("/")
        if ".." in parts:
            raise BadData(f"{self._archive}: the member {name!r} would lead out of the root", hint=_HINT)
        above = path.split("/")
        for length in range(1, len(above)):
            link = "/".join(above[:length])
            target = self._links.get(link)
            # tar makes such a link last of all, when nothing can be unpacked through it any more.
            if target is not None and (target.startswith("/") or ".." in target.split("/")):
                raise BadData(f"{self._archive}: the member {name!r} goes through the link /{link} -> {target}")
        return path

    def listing(self) -> Listing:
        return Listing(self._kinds, self._links, self._texts, self._size)


def _on_disk(member: tarfile.TarInfo) -> int:
    """Bytes that a file takes: holes take none, and small files lie in the metadata."""
    holes = getattr(member, "sparse", None)
    size = member.size if holes is None else sum(length for _, length in holes)
    return size if size <= _INLINE else -(-size // 4096) * 4096
