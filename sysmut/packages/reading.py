"""Which databases a root has, and what is in them."""

import contextlib
import importlib

from sysmut import inroot
from sysmut.packages import files
from sysmut.packages.files import Packages
from sysmut.packages.model import Change, Inventory, compare
from sysmut.values import frozen

_Identity = tuple[int, int, int]
"""Inode, size and change time: whatever is written to a file, or to a directory's list, changes the last."""

_PLACES = (
    ("apk", "/lib/apk/db/installed", "read"),
    ("apk", "/usr/lib/apk/db/installed", "read"),
    ("dpkg", "/var/lib/dpkg/status", "read"),
    ("pacman", "/var/lib/pacman/local", "read"),
    ("rpm", "/usr/lib/sysimage/rpm/rpmdb.sqlite", "read_sqlite"),
    ("rpm", "/usr/lib/sysimage/rpm/Packages.db", "read_ndb"),
    ("rpm", "/usr/lib/sysimage/rpm/Packages", "read_berkeley"),
    ("rpm", "/var/lib/rpm/rpmdb.sqlite", "read_sqlite"),
    ("rpm", "/var/lib/rpm/Packages.db", "read_ndb"),
    ("rpm", "/var/lib/rpm/Packages", "read_berkeley"),
)
"""Where each manager's database may be: the first that is there is the one, as it is to apk 3, which goes on
using the old place where there is one."""


@frozen
class _Database:
    manager: str
    path: str
    reader: str
    identity: tuple[_Identity | None, ...]

    def read(self, root: int) -> Packages:
        """What is in it. The module that reads it is imported here: most databases are the same as before."""
        found: Packages = getattr(importlib.import_module(f"sysmut.packages.{self.manager}"), self.reader)(
            root, self.path
        )
        return found


def read(root: int | str) -> Inventory:
    """The packages that the root, a path or an open directory, holds.

    Raises BadData or OSError, with the path from the root in it, for a database that is there and cannot be read.
    """
    with _opened(root) as fd:
        return {manager: database.read(fd) for manager, database in _databases(fd).items()}


def changes(before: int | str, after: int | str) -> tuple[Change, ...]:
    """What differs between two roots, sorted by name. A database that is the same file in both, as in a
    snapshot in which no package was touched, is not read. Raises as `read`."""
    with _opened(before) as old, _opened(after) as new:
        was, now = _databases(old), _databases(new)
        touched = [manager for manager in was.keys() | now.keys() if was.get(manager) != now.get(manager)]
        return compare(_read(old, was, touched), _read(new, now, touched))


def _opened(root: int | str) -> contextlib.AbstractContextManager[int]:
    return inroot.opened_root(root) if isinstance(root, str) else contextlib.nullcontext(root)


def _read(root: int, databases: dict[str, _Database], managers: list[str]) -> Inventory:
    return {manager: database.read(root) for manager, database in databases.items() if manager in managers}


def _databases(root: int) -> dict[str, _Database]:
    found: dict[str, _Database] = {}
    for manager, path, reader in _PLACES:
        if manager not in found and (identity := _identity(root, path)) is not None:
            log = _identity(root, path + files.WAL) if reader == "read_sqlite" else None
            found[manager] = _Database(manager, path, reader, (identity, log))
    return found


def _identity(root: int, path: str) -> _Identity | None:
    found = files.status(root, path)
    return None if found is None else (found.st_ino, found.st_size, found.st_ctime_ns)
