"""pacman's database: a directory with one `NAME-VERSION-RELEASE` for each package.

pacman itself takes the name and the version from there, and not from the file `desc` in it (local_db_populate
in lib/libalpm/be_local.c); so reading it takes one listing and no file.
"""

import os
import stat
from collections.abc import Iterator

from sysmut import inroot
from sysmut.errors import BadData
from sysmut.packages.files import Packages, grouped, status


def read(root: int, path: str) -> Packages:
    """The packages that `pacman -Q` lists. As there, an entry without a version is none."""
    return grouped(_entries(root, path), path)


def _entries(root: int, path: str) -> Iterator[tuple[bytes, bytes]]:
    found = status(root, path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise BadData(f"{path}: not a directory")
    with inroot.opened(root, path, os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as entries:
        for entry in entries:
            name, _, rest = entry.name.rpartition("-")
            name, _, version = name.rpartition("-")
            if name and entry.is_dir(follow_symlinks=False):
                yield os.fsencode(name), os.fsencode(f"{version}-{rest}")
