"""The log of a disk: what was written to it, flushed and discarded, in order, and what was said meanwhile."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITE, FLUSH, DISCARD, MARK = b"w", b"f", b"d", b"m"
_HEAD = struct.Struct("=cQI")


class Writer:
    """Writes a log."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115  it stays open as long as its process is there

    def add(self, kind: bytes, offset: int, data: bytes) -> None:
        """Append an event; a discard's data is its length, a mark's is JSON."""
        self._file.write(_HEAD.pack(kind, offset, len(data)))
        self._file.write(data)

    def flush(self) -> None:
        """Let readers see it."""
        self._file.flush()


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    kind: bytes
    offset: int
    data: bytes

    @property
    def changes(self) -> bool:
        """Whether the disk is another after it."""
        return self.kind in (WRITE, DISCARD)

    @property
    def said(self) -> dict[str, Any]:
        """What a mark says."""
        return dict(json.loads(self.data))

    def apply(self, image: int) -> None:
        """Do to the open image what was done to the disk."""
        if self.kind == WRITE:
            os.pwrite(image, self.data, self.offset)
        elif self.kind == DISCARD:
            (length,) = struct.unpack("=Q", self.data)
            os.pwrite(image, bytes(length), self.offset)


def read(path: Path) -> Iterator[Event]:
    """The events of a log, as far as it was written out."""
    with open(path, "rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, offset, length = _HEAD.unpack(head)
            yield Event(kind, offset, file.read(length))
