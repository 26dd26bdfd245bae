"""The files in an initramfs, found as the kernel finds them when it unpacks one.

It is a row of cpio archives, each bare or compressed, with zero bytes between them
(the kernel's Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c).
Nothing is held in memory but the piece that is looked at, and all that is read and unpacked is bounded.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

_CHUNK = 2**18
_ZEROS = bytes(_CHUNK)
_LIMIT = 2 * 2**30
"""Bytes, read and unpacked: no initramfs comes near, for it has to fit in memory beside the kernel."""
_MOST_ENTRIES = 2**18
_MOST_COMPRESSED = 256
_LONGEST_NAME = 4096
_LONGEST_BODY = 2**22
_LARGEST_DICTIONARY = 2**28

_TRAILER = b"TRAILER!!!"
_CPIO = (b"070701", b"070702")
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZ": "bzip2",
    b"\x5d\x00": "lzma",
    b"\xfd7": "xz",
    b"\x89L": "lzop",
    b"\x02!": "lz4",
    b"\x28\xb5": "zstd",
}


class CannotLook(LookupError):
    """The rest of it cannot be looked into on this system, and may be in order."""


class _Decompressor(Protocol):
    """What the standard library's decompressors of one stream have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Budget:
    """What may still be read and unpacked in all, of a file that may have been made to waste time."""

    def __init__(self) -> None:
        self.left = {"bytes": _LIMIT, "files": _MOST_ENTRIES, "compressed parts": _MOST_COMPRESSED}

    def spend(self, what: str, amount: int = 1) -> None:
        self.left[what] -= amount
        if self.left[what] < 0:
            raise ValueError(f"has too many {what} in it for an initramfs")


class _Stream:
    """Bytes, taken from the front; `fill` gives the next piece of them, and b"" at the end."""

    def __init__(self, fill: Callable[[], bytes], budget: _Budget) -> None:
        self._fill = fill
        self._piece = b""
        self._at = 0
        self._before = 0  # where the piece begins in the whole
        self.budget = budget

    @property
    def position(self) -> int:
        return self._before + self._at

    def _advance(self) -> bool:
        """Go to the next piece; False at the end."""
        self._before += len(self._piece)
        self._piece, self._at = self._fill(), 0
        self.budget.spend("bytes", len(self._piece))
        return bool(self._piece)

    def take_piece(self) -> bytes:
        """What is at hand, at least a byte; b"" at the end."""
        if self._at == len(self._piece) and not self._advance():
            return b""
        start, self._at = self._at, len(self._piece)
        return self._piece[start:]

    def give_back(self, count: int) -> None:
        """Undo the taking of the last `count` bytes of the piece taken."""
        self._at -= count

    def take(self, count: int) -> bytes:
        """So many bytes. Raises ValueError where there are fewer."""
        found = self._piece[self._at : self._at + count]
        self._at += len(found)
        while len(found) < count:
            if not self._advance():
                raise ValueError("is cut off")
            more = self._piece[: count - len(found)]
            self._at = len(more)
            found += more
        return found

    def skip(self, count: int) -> None:
        """Pass over so many bytes. Raises ValueError where there are fewer."""
        while count > len(self._piece) - self._at:
            count -= len(self._piece) - self._at
            self._at = len(self._piece)
            if not self._advance():
                raise ValueError("is cut off")
        self._at += count

    def align(self) -> None:
        """Pass over the filling up to a multiple of four."""
        self.skip(-self.position & 3)

    def next_start(self) -> bytes:
        """Pass over zero bytes; what comes then, six bytes of it if there are as many, is not taken."""
        while piece := self.take_piece():
            # To compare is a hundred times faster than to strip what is all zeros.
            rest = b"" if piece == _ZEROS[: len(piece)] else piece.lstrip(b"\0")
            if rest:
                self.give_back(len(rest))
                break
        while 0 < len(self._piece) - self._at < 6 and (more := self._fill()):
            self.budget.spend("bytes", len(more))
            self._before += self._at
            self._piece, self._at = self._piece[self._at :] + more, 0
        return self._piece[self._at : self._at + 6]


@dataclass
class Entry:
    """A file, directory or link in the archive."""

    name: str
    """As it is written in the archive; bytes that are not UTF-8 as surrogates."""
    mode: int
    """As in stat(2)."""
    size: int
    """Bytes in it."""
    _stream: _Stream

    def body(self) -> bytes:
        """The content, to be asked for once and before the next entry; b"" where it is over 4 MiB."""
        return self._stream.take(self.size) if self.size <= _LONGEST_BODY else b""


def entries(file: BinaryIO) -> Iterator[Entry]:
    """Whatever is in the open file's archives, to the end of the last.

    Raises ValueError, with words that go behind the file's name, where the kernel would stumble, and
    CannotLook where the rest is compressed in a way that this system has no library for.
    """
    budget = _Budget()
    outer = _Stream(lambda: file.read(_CHUNK), budget)
    while start := outer.next_start():
        if start in _CPIO:
            yield from _cpio(outer)
            continue
        budget.spend("compressed parts")
        method = _MAGIC.get(start[:2])
        if method is None:
            place = f"has at byte {outer.position}" if outer.position else "is no initramfs: it has"
            raise ValueError(f"{place} neither a cpio archive (of the kind newc) nor anything compressed")
        decompressor, errors = _decompressor(method)
        inner = _Stream(_unpacked(outer, decompressor, method, errors), budget)
        while start := inner.next_start():
            if start not in _CPIO:
                raise ValueError(f"is damaged: what is compressed in it with {method} is no cpio archive")
            yield from _cpio(inner)
        outer.give_back(len(decompressor.unused_data))


def _cpio(stream: _Stream) -> Iterator[Entry]:
    """The entries of one archive, and the stream behind it."""
    if stream.position & 3:  # the kernel does not know it for one
        raise ValueError(f"has at byte {stream.position} a cpio archive that does not begin at a multiple of four")
    while True:
        stream.budget.spend("files")
        head = stream.take(110)
        try:
            fields = struct.unpack(">13I", bytes.fromhex(head[6:].decode("ascii")))
        except (ValueError, struct.error):
            fields = (0,) * 13
        mode, size, length = fields[1], fields[6], fields[11]
        if head[:6] not in _CPIO or not 0 < length <= _LONGEST_NAME:
            raise ValueError("is damaged: no end of its cpio archive, but something else")
        name = stream.take(length).rstrip(b"\0")
        if name == _TRAILER:
            return
        stream.align()
        end = stream.position + size
        yield Entry(name.decode(errors="surrogateescape"), mode, size, stream)
        stream.skip(end - stream.position)
        stream.align()


def _unpacked(outer: _Stream, decompressor: _Decompressor, method: str, errors: type[Exception]) -> Callable[[], bytes]:
    """What gives the pieces of the stream that is compressed from here on in `outer`."""

    def fill() -> bytes:
        while not decompressor.eof:
            asked = decompressor.needs_input
            data = outer.take_piece() if asked else b""
            try:
                made = decompressor.decompress(data, _CHUNK)
            except errors as error:
                raise ValueError(f"is damaged: {method} says: {error}") from None
            if made:
                return made
            if asked and not data:
                raise ValueError(f"is cut off: what is compressed in it with {method} has no end")
        return b""

    return fill


def _decompressor(method: str) -> tuple[_Decompressor, type[Exception]]:
    """One for a stream, and the error that it raises where that is damaged."""
    why = "cannot be looked into"
    try:
        if method == "gzip":
            import zlib

            return _Gzip(), zlib.error
        if method in ("xz", "lzma"):
            import lzma

            kind = lzma.FORMAT_XZ if method == "xz" else lzma.FORMAT_ALONE
            return lzma.LZMADecompressor(kind, _LARGEST_DICTIONARY), lzma.LZMAError
        if method == "bzip2":
            import bz2

            return bz2.BZ2Decompressor(), OSError
        if method == "zstd":
            from sysmut import zstd

            return zstd.Decompressor(), ValueError
    except LookupError as error:
        why += f": {error}"
    except ImportError:
        why += f": this Python comes without {method}"
    raise CannotLook(f"compressed with {method}, which {why}")


class _Gzip:
    """zlib's decompressor with the ways of the others. Checks the CRC and length at the end."""

    def __init__(self) -> None:
        import zlib

        self._zlib = zlib.decompressobj(31)  # 15 for any window, 16 for gzip's header and trailer

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
