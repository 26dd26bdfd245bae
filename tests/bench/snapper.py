"""snapper, where it is installed, on a filesystem of its own: without its daemon, and with settings that are seen in
this namespace only."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import btrfsutil

from sysmut import syscalls
from tests.bench.measuring import Contender
from tests.bench.programs import SNAPPER
from tests.bench.stage import Stage
from tests.lab import sh

_COMMAND = ("snapper", "--no-dbus", "-c", "bench")
_HOST = ("/etc/snapper", "/etc/default", "/var/log")
"""Where it writes; the two first are shown to it as they are, and keep nothing."""


def is_there() -> bool:
    """Whether snapper is installed."""
    return shutil.which("snapper") is not None and os.path.isdir("/etc/snapper")


@dataclass
class Snapper:
    """A subvolume that snapper looks after. `stage` is its filesystem, which is not laid out."""

    stage: Stage

    def set_up(self, root: Path, directory: Path) -> None:
        """Fill the subvolume with the root, and make snapper's settings for it."""
        for number, path in enumerate(_HOST):
            cover = directory / f"snapper-{number}"
            if path == "/var/log":
                cover.mkdir()
            else:
                shutil.copytree(path, cover, symlinks=True)
            syscalls.mount(str(cover), path, None, syscalls.MS_BIND)
        btrfsutil.create_subvolume(str(self.place))
        sh("cp", "-a", f"{root}/.", self.place)
        sh(*_COMMAND, "create-config", self.place)
        self.stage.uuid = sh("findmnt", "-n", "-o", "UUID", self.stage.top).strip()
        self.stage.settle()

    @property
    def place(self) -> Path:
        return self.stage.top / "system"

    @property
    def numbers(self) -> list[int]:
        """Its snapshots."""
        return sorted(int(name) for name in os.listdir(self.place / ".snapshots"))

    def fill(self, count: int) -> None:
        """Have exactly so many snapshots, numbered from 1."""
        self.clear()
        for number in range(1, count + 1):
            directory = self.place / ".snapshots" / str(number)
            directory.mkdir()
            btrfsutil.create_snapshot(str(self.place), str(directory / "snapshot"), read_only=True)
            (directory / "info.xml").write_text(
                f'<?xml version="1.0"?>\n<snapshot>\n  <type>single</type>\n  <num>{number}</num>\n'
                "  <date>2026-01-01 00:00:00</date>\n  <description>a week</description>\n</snapshot>\n"
            )
        self.stage.settle()

    def clear(self) -> None:
        """Have none."""
        for number in self.numbers:
            directory = self.place / ".snapshots" / str(number)
            if (directory / "snapshot").exists():
                btrfsutil.delete_subvolume(str(directory / "snapshot"))
            shutil.rmtree(directory)
        self.stage.settle()

    def contender(
        self, words: tuple[str, ...], count: int, left: int, change: Callable[[], None] = lambda: None
    ) -> Contender:
        """A command of snapper's, begun with so many snapshots, after which so many must be left."""

        def prepare() -> None:
            if self.numbers != list(range(1, count + 1)):
                self.fill(count)
                change()

        def finish() -> None:
            assert len(self.numbers) == left, f"snapper left {len(self.numbers)} snapshots, not {left}"

        return Contender(SNAPPER, lambda: [*_COMMAND, *words], "", prepare, finish, lambda: self.stage.commits)
