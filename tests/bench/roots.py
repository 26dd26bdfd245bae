"""Root directories for generations: a small one, one with so many files, a Debian of a gigabyte; and what changes in
them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.stage import Stage
from tests.lab import busybox_root, sh

GIGABYTE = 10**9
_EXECLINE = Path("/usr/lib/execline/bin")
_PAD = 40_000
"""Bytes of a file that makes a root larger."""

_PACKAGE = """\

Package: tiny
Status: install ok installed
Architecture: all
Version: 1.0-1
Maintainer: nobody
Description: a small package
"""


def small(directory: Path) -> Path:
    """A root with a static busybox, `/bin/true` in it, and execline's programs where the host has them."""
    directory.mkdir()
    root = busybox_root(directory)
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(_PACKAGE.replace("tiny", "base"))
    _add_execline(root)
    return root


def with_files(directory: Path, count: int) -> Path:
    """The small root with so many files more, a thousand in a directory."""
    root = small(directory)
    _add_files(root, count, b"a line of text\n" * 12)
    return root


def debian(directory: Path, archive: str | None) -> Path | None:
    """A Debian of a gigabyte: a minimal one, from mmdebstrap or the archive, filled up; None where neither is there."""
    if archive is None and shutil.which("mmdebstrap") is None:
        return None
    directory.mkdir()
    if archive is None:
        archive = str(directory.parent / "debian.tar")
        sh("mmdebstrap", "--quiet", "--variant=apt", "bookworm", archive)
    sh("tar", "-C", directory, "-xf", archive, "--exclude=./dev/*")
    _add_execline(directory)
    size = sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(directory) for name in names)
    _add_files(directory, max(0, GIGABYTE - size) // _PAD, os.urandom(_PAD))
    return directory


def _add_files(root: Path, count: int, content: bytes) -> None:
    for number in range(count):
        place = root / f"usr/share/data/{number // 1000}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / str(number)).write_bytes(content)


def _add_execline(root: Path) -> None:
    """A script that goes on in execline after chroot needs it in there."""
    if not _EXECLINE.is_dir():
        return
    shutil.copytree(_EXECLINE, root / _EXECLINE.relative_to("/"), symlinks=True, dirs_exist_ok=True)
    words = sh("ldd", _EXECLINE / "execlineb", _EXECLINE / "foreground").split()
    for library in {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}:
        target = root / library.relative_to("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), target)


def with_package(stage: Stage) -> str:
    """A generation of the stage that has one small package more than slot 0's, as dpkg would leave it."""

    def install(root: Path) -> None:
        for path, text in (
            ("usr/bin/tiny", "#!/bin/sh\necho tiny\n"),
            ("usr/share/doc/tiny/copyright", "free\n"),
            ("usr/share/doc/tiny/changelog", "tiny (1.0-1)\n"),
            ("var/lib/dpkg/info/tiny.list", "/usr/bin/tiny\n"),
            ("var/lib/dpkg/info/tiny.md5sums", "0  usr/bin/tiny\n"),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        status = root / "var/lib/dpkg/status"
        text = status.read_text() + _PACKAGE
        status.with_name("status-new").write_text(text)
        status.with_name("status-new").rename(status)

    return _changed(stage, install)


def with_changes(stage: Stage, count: int) -> str:
    """A generation of the stage in which so many of the added files are other than in slot 0."""

    def change(root: Path) -> None:
        for number in range(count):
            (root / f"usr/share/data/{number // 1000}/{number}").write_text("another line\n")

    return _changed(stage, change)


def _changed(stage: Stage, change: Callable[[Path], None]) -> str:
    name = stage.make(change)
    stage.kept.add(name)
    stage.settle()
    return name
