"""A filesystem with sysmut's layout on a loop device, put back after each run.

It is written as the on-disk format has it, not by sysmut, so that what is measured is not also what prepares it.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import btrfsutil

from sysmut import syscalls
from tests.lab import sh

PLACEHOLDER = "CURRENT_SNAPSHOTS_PATH"
COMMON = "@home"
SLOTS = 4
_BASE_LINKS = "20260101000000LinksSet"
_WRITERS = 32
"""So many processes make snapshots: those that are made at the same time share a commit."""


@dataclass
class Stage:
    """One filesystem."""

    top: Path
    device: str
    mount_point: Path
    """Where what is measured mounts it, in a namespace of its own, if it may choose."""
    uuid: str = ""
    base: tuple[str, ...] = ()
    """The generations in the slots."""
    kept: set[str] = field(default_factory=set)
    """Others that stay."""
    _number: int = field(default=0)

    def lay_out(self, root: Path) -> None:
        """The layout, with a generation in each slot: the first a copy of the directory `root`."""
        self.uuid = sh("findmnt", "-n", "-o", "UUID", self.top).strip()
        for name in ("commons", "links", "next", "snapshots"):
            (self.top / name).mkdir()
        sh("btrfs", "subvolume", "create", self.top / "commons" / COMMON)
        lines = [f"{self.device} / btrfs subvol={PLACEHOLDER}/@,ro,noatime 0 0"]
        lines += [f"{self.device} /home btrfs subvol=/commons/{COMMON},rw,noatime 0 0"]
        (self.top / "fstab").write_text("\n".join(lines) + "\n")
        self.base = (self.make(lambda place: sh("cp", "-a", f"{root}/.", place)),)
        for _ in range(SLOTS - 1):
            self.base = (self.make(), *self.base)
        self._link(_BASE_LINKS, self.base)
        (self.top / "current").symlink_to(f"./links/{_BASE_LINKS}")
        self.settle()

    def make(self, change: Callable[[Path], object] = lambda _: None) -> str:
        """A sealed generation, made from slot 0's where there is one, changed, and with a record."""
        name = self.new_id()
        place = self.root(name)
        place.parent.mkdir()
        if self.base:
            btrfsutil.create_snapshot(str(self.root(self.base[0])), str(place))
        else:
            btrfsutil.create_subvolume(str(place))
        change(place)
        (place / "etc/fstab").write_text((self.top / "fstab").read_text().replace(PLACEHOLDER, f"/snapshots/{name}"))
        _write_record(str(place.parent), name)
        btrfsutil.set_subvolume_read_only(str(place), True)
        return name

    def new_id(self) -> str:
        """An id that no other generation or link set has, later than those before it."""
        self._number += 1
        moment = time.strftime("%Y%m%d%H%M%S", time.gmtime(1767225600 + self._number))
        return f"{moment}AbCdEfGh"

    def root(self, generation: str) -> Path:
        """Its `@`."""
        return self.top / "snapshots" / generation / "@"

    def is_sealed(self, generation: str) -> bool:
        """Whether its root is read-only."""
        return bool(btrfsutil.get_subvolume_read_only(str(self.root(generation))))

    @property
    def slots(self) -> list[str]:
        """The generation in each slot."""
        return [os.path.basename(os.readlink(self.top / "current" / str(number))) for number in range(SLOTS)]

    @property
    def extra(self) -> list[str]:
        """The generations that are not to stay."""
        return sorted(set(os.listdir(self.top / "snapshots")) - set(self.base) - self.kept)

    @property
    def link_sets(self) -> list[str]:
        """Those that are not in force at the base."""
        return sorted(set(os.listdir(self.top / "links")) - {_BASE_LINKS})

    def add(self, count: int, *, records: bool = True) -> tuple[str, ...]:
        """So many more sealed generations, snapshots of the first, in no slot; without sysmut's records if wanted."""
        names = tuple(self.new_id() for _ in range(count))
        writers = []
        for number in range(min(_WRITERS, count)):
            writer = os.fork()
            if writer == 0:
                self._snapshot(names[number::_WRITERS], records=records)
            writers.append(writer)
        failed = [writer for writer in writers if os.waitpid(writer, 0)[1] != 0]
        assert not failed, "snapshots could not be made"
        return names

    def _snapshot(self, names: tuple[str, ...], *, records: bool) -> None:
        """The work of one writer, which ends here."""
        status = 1
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            for name in names:
                directory = f"{self.top}/snapshots/{name}"
                os.mkdir(directory)
                btrfsutil.create_snapshot(str(self.root(self.base[-1])), f"{directory}/@", read_only=True)
                if records:
                    _write_record(directory, name)
            status = 0
        finally:
            os._exit(status)

    def fill(self, count: int, *, records: bool = True, links: bool = False) -> None:
        """Have exactly so many generations that are in no slot, with a record in each if wanted; and, if wanted, as
        many link sets that are not in force."""
        there = self.extra
        if len(there) > count or any((self.root(name).parent / "sysmut.json").exists() != records for name in there):
            self.restore()
            there = []
        self.add(count - len(there), records=records)
        for name in self.extra if links else []:
            self._link(name, [name, *self.base[:3]])
        btrfsutil.sync(str(self.top))

    def _link(self, link_set: str, slots: Sequence[str]) -> None:
        links = self.top / "links" / link_set
        links.mkdir()
        for number, name in enumerate(slots):
            (links / str(number)).symlink_to(f"../../snapshots/{name}")

    def restore(self) -> None:
        """Put back the base: its slots, and nothing else."""
        self.put_back_links()
        for name in self.extra:
            directory = self.top / "snapshots" / name
            if (directory / "@").exists():
                btrfsutil.delete_subvolume(str(directory / "@"))
            for file in os.listdir(directory):
                os.unlink(directory / file)
            os.rmdir(directory)
        self.settle()

    def put_back_links(self) -> None:
        """Put back the slots alone, durably, and whatever else is not a generation."""
        _remove(self.top / "next/current")
        os.symlink(f"./links/{_BASE_LINKS}", self.top / "next/current")
        os.rename(self.top / "next/current", self.top / "current")
        for name in self.link_sets:
            for file in os.listdir(self.top / "links" / name):
                os.unlink(self.top / "links" / name / file)
            os.rmdir(self.top / "links" / name)
        _remove(self.top / "history")
        btrfsutil.sync(str(self.top))

    def settle(self) -> None:
        """Return when all is on the disk, and the kernel's cleaner has nothing left to do."""
        btrfsutil.sync(str(self.top))
        while btrfsutil.deleted_subvolumes(str(self.top)):
            time.sleep(0.01)
        btrfsutil.sync(str(self.top))

    @property
    def commits(self) -> int:
        """How many transactions have been committed."""
        text = Path(f"/sys/fs/btrfs/{self.uuid}/commit_stats").read_text()
        return int(text.split()[1])


def _remove(path: Path) -> None:
    """Remove a file if it is there."""
    path.unlink(missing_ok=True)


def _write_record(directory: str, name: str) -> None:
    """A record beside `@`, as large as usual."""
    record = {
        "version": 1, "generation": name, "source": name, "slot": 0, "command": ["apt-get", "-y", "upgrade"],
        "began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z", "description": "the updates of a week",
        "script_sha256": None, "user": "root", "kernel": None,
        "packages_added": 0, "packages_removed": 0, "packages_changed": 3,
    }  # fmt: skip
    with open(f"{directory}/sysmut.json", "w", encoding="ascii") as file:
        file.write(json.dumps(record, indent=1) + "\n")
