"""Random changes to a tree of files, and what two trees differ in: by walking through both in full.

The oracle is written here by os.walk and lstat alone, so that it does not lean on the code under test.
"""

import ctypes
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lab import Lab, sh

_NAMES = (
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "lib",
    "etc",
    "o257-7-0",
    "line\nend",
    "\udcff\udcfe",
    "ü",
    " ",
    "-x",
    "n" * 255,
)
_SIZES = (0, 1, 100, 3000, 5000, 70_000)
_FALLOC_FL = 0x1 | 0x2  # KEEP_SIZE and PUNCH_HOLE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)

Facts = tuple[Any, Any]
"""What is compared of one path: type and content; mode, owner and attributes."""


class Mutator:
    """Changes what is in `root`, by chance: one seed, one course of events."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.done: list[str] = []
        """What was done, for the message of a test that fails."""

    def run(self, steps: int) -> None:
        """So many changes; some of them come to nothing."""
        operations: list[Callable[[], str]] = [
            *[self.create] * 6,
            *[self.mkdir] * 3,
            *[self.special, self.symlink, self.hardlink, self.deep, self.delete, self.delete],
            *[self.rename, self.rename, self.rename, self.rename_over, self.swap, self.swap],
            *[self.replace, self.replace, self.replace, self.rebuild, self.turn],
            *[self.write, self.write, self.rewrite_same, self.truncate, self.punch, self.chmod, self.chown],
            *[self.setfattr, self.removefattr, self.touch],
        ]
        for _ in range(steps):
            operation = self.random.choice(operations)
            try:
                self.done.append(f"{operation.__name__} {operation()}")
            except (OSError, shutil.Error) as error:
                self.done.append(f"{operation.__name__}: {error}")

    # -- what there is ----------------------------------------------------------------------------

    def paths(self, wanted: Callable[[int], bool] = lambda mode: True) -> list[Path]:
        return [path for path in _below(self.root) if wanted(path.lstat().st_mode)]

    def any(self, wanted: Callable[[int], bool] = lambda mode: True) -> Path:
        found = self.paths(wanted)
        if not found:
            raise FileNotFoundError("nothing of the kind")
        return self.random.choice(found)

    def place(self) -> Path:
        """A path that may be there or not."""
        directory = self.random.choice([self.root, *self.paths(stat.S_ISDIR)])
        return directory / self.random.choice(_NAMES)

    def content(self) -> bytes:
        return self.random.randbytes(self.random.choice(_SIZES))

    def show(self, *paths: Path) -> str:
        return " ".join(ascii(str(path.relative_to(self.root))) for path in paths)

    # -- what is done -----------------------------------------------------------------------------

    def create(self) -> str:
        path = self.place()
        with open(path, "xb") as file:
            file.write(self.content())
        return self.show(path)

    def mkdir(self) -> str:
        path = self.place()
        path.mkdir()
        return self.show(path)

    def special(self) -> str:
        path = self.place()
        kind = self.random.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK))
        if kind == stat.S_IFSOCK and len(os.fsencode(path)) < 100:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.fsencode(path))
        else:
            os.mknod(path, (kind if kind != stat.S_IFSOCK else stat.S_IFIFO) | 0o600, os.makedev(1, 3))
        return self.show(path)

    def symlink(self) -> str:
        path = self.place()
        path.symlink_to(self.random.choice(["a", "..", "/etc", "lib", str(self.any().relative_to(self.root))]))
        return self.show(path)

    def hardlink(self) -> str:
        path, other = self.place(), self.any(stat.S_ISREG)
        os.link(other, path)
        return self.show(other, path)

    def deep(self) -> str:
        path = self.place()
        for _ in range(30):
            path.mkdir()
            path /= self.random.choice(_NAMES[:6])
        path.write_bytes(self.content())
        return self.show(path)

    def delete(self) -> str:
        path = self.any()
        remove(path)
        return self.show(path)

    def rename(self) -> str:
        path, other = self.any(), self.place()
        if os.path.lexists(other):
            raise FileExistsError(other)
        path.rename(other)
        return self.show(path, other)

    def rename_over(self) -> str:
        path, other = self.any(), self.any()
        path.rename(other)
        return self.show(path, other)

    def swap(self) -> str:
        """Two names change places."""
        path, other = self.any(), self.any()
        if path in other.parents or other in path.parents or path == other:
            raise FileExistsError(path)
        aside = self.root / "aside"
        path.rename(aside)
        other.rename(path)
        aside.rename(other)
        return self.show(path, other)

    def replace(self) -> str:
        """As a package manager does it: a new file is renamed over the old; sometimes the content is the same."""
        path = self.any(stat.S_ISREG)
        aside = path.with_name("x.dpkg-new")
        aside.write_bytes(path.read_bytes() if self.random.random() < 0.4 else self.content())
        if self.random.random() < 0.8:
            shutil.copystat(path, aside)
            os.chown(aside, path.stat().st_uid, path.stat().st_gid)
        aside.rename(path)
        return self.show(path)

    def rebuild(self) -> str:
        """A directory is made anew, of the very files that the old one held."""
        path = self.any(stat.S_ISDIR)
        aside = self.root / "aside"
        aside.mkdir()
        for name in os.listdir(path):
            (path / name).rename(aside / name)
        shutil.copystat(path, aside)
        path.rmdir()
        aside.rename(path)
        return self.show(path)

    def turn(self) -> str:
        """What is a directory is a file, or the other way round."""
        path = self.any()
        was_directory = path.is_dir() and not path.is_symlink()
        remove(path)
        if was_directory:
            path.write_bytes(self.content())
        else:
            path.mkdir()
            (path / self.random.choice(_NAMES)).write_bytes(self.content())
        return self.show(path)

    def write(self) -> str:
        path = self.any(stat.S_ISREG)
        with open(path, "r+b") as file:
            file.seek(self.random.randrange(path.stat().st_size + 1))
            file.write(self.content())
        return self.show(path)

    def rewrite_same(self) -> str:
        path = self.any(stat.S_ISREG)
        with open(path, "r+b") as file:
            content = file.read()
            file.seek(0)
            file.write(content)
        return self.show(path)

    def truncate(self) -> str:
        path = self.any(stat.S_ISREG)
        os.truncate(path, self.random.choice((0, 10, 4096, 90_000, path.stat().st_size)))
        return self.show(path)

    def punch(self) -> str:
        path = self.any(stat.S_ISREG)
        with open(path, "r+b") as file:
            _libc.fallocate(file.fileno(), _FALLOC_FL, 0, 4096 * self.random.randrange(1, 9))
        return self.show(path)

    def chmod(self) -> str:
        path = self.any(lambda mode: not stat.S_ISLNK(mode))
        path.chmod(self.random.choice((0o600, 0o644, 0o755, 0o4755)))
        return self.show(path)

    def chown(self) -> str:
        path = self.any()
        os.chown(path, self.random.randrange(3), self.random.randrange(3), follow_symlinks=False)
        return self.show(path)

    def setfattr(self) -> str:
        path = self.any(lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        os.setxattr(path, f"user.{self.random.randrange(2)}", self.random.randbytes(self.random.randrange(200)))
        return self.show(path)

    def removefattr(self) -> str:
        path = self.any(lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        os.removexattr(path, f"user.{self.random.randrange(2)}")
        return self.show(path)

    def touch(self) -> str:
        path = self.any()
        os.utime(path, (1, self.random.randrange(10**9)), follow_symlinks=False)
        return self.show(path)


def snapshot(lab: Lab, source: str, name: str) -> Path:
    """A generation that can be written to, of which nothing differs, not even its fstab. Its `@`."""
    root = lab.root(name)
    root.parent.mkdir()
    sh("btrfs", "subvolume", "snapshot", lab.root(source), root)
    return root


def remove(path: Path) -> None:
    """rm -r."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _below(root: Path) -> Iterator[Path]:
    for directory, inner, files in os.walk(root):
        for name in sorted(inner) + sorted(files):
            yield Path(directory) / name


def facts(root: Path) -> dict[str, Facts]:
    """Path -> what is compared of it, of everything below a directory, and of itself as `/`."""
    found = {"/": _facts(root)}
    found.update({f"/{path.relative_to(root)}": _facts(path) for path in _below(root)})
    return found


def _facts(path: Path) -> Facts:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content: Any = status.st_rdev
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        content = path.read_bytes()
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    return (kind, content), (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, attributes)


def differences(before: dict[str, Facts], after: dict[str, Facts]) -> dict[str, str]:
    """Path -> kind, without renames: those are `removed` and `added`."""
    found = dict.fromkeys(before.keys() - after.keys(), "removed")
    found.update(dict.fromkeys(after.keys() - before.keys(), "added"))
    for path in before.keys() & after.keys():
        if before[path] != after[path]:
            found[path] = "modified" if before[path][0] != after[path][0] else "attributes"
    return found
