"""The files that the boot loader reads, found as it finds them: from the top level of the filesystem.

An absolute symlink in a generation's /boot leads, to the boot loader, to the top level and not into the
generation; and what is no regular file it cannot read at all.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from sysmut import inroot, layout, syscalls
from sysmut.boot import initramfs
from sysmut.boot.initramfs import Contents
from sysmut.errors import BadData
from sysmut.toplevel import TopLevel


@contextlib.contextmanager
def opened(top: TopLevel, generation: str, path: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A file of the generation's root, open for reading, and what it is. Raises BadData, without the
    path, where the boot loader finds no regular file there, or another one than the generation has."""
    try:
        fd = syscalls.open_in_root(top.fd, f"{layout.root(generation)}/{path}", os.O_PATH)
    except OSError as error:
        if inroot.status(top.at(layout.root(generation)), path) is not None:
            raise BadData(
                "is a link that leads nowhere from the top level, where the boot loader begins",
                hint="make the link a relative one, or put the file itself there",
            ) from None
        raise BadData(f"cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadData("is not a regular file")
        inside = inroot.status(top.at(layout.root(generation)), path)
        if inside is None or not os.path.samestat(inside, status):
            raise BadData(
                "is a link that leads elsewhere from the top level, where the boot loader begins",
                hint="make the link a relative one, or put the file itself there",
            )
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            yield file, status
    finally:
        os.close(fd)


_KNOWN: dict[tuple[int, int, int, int], Contents] = {}


def contents(top: TopLevel, generation: str, path: str) -> Contents:
    """What is in an initramfs. Raises ValueError where it is damaged, and BadData as `opened`.

    One that several generations share, as snapshots do, is looked into once: nobody can set a file's
    change time.
    """
    with opened(top, generation, path) as (file, status):
        key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in _KNOWN:
            _KNOWN[key] = initramfs.look(file, status.st_size)
        return _KNOWN[key]
