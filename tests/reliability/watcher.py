"""Watches a top level while a crowd works on it: what `current` names, read again and again, and the exact order
in which link sets were published.

Run as a program (argument: the top level) it says `watching`, watches until its standard input ends, and then
writes one value of JSON: the `Seen`.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import btrfsutil

from tests.lab import without_coverage

_INTERVAL = 0.001
_SLOTS = ["0", "1", "2", "3"]
_TARGET = "../../snapshots/"

IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("=iIII")  # struct inotify_event: wd, mask, cookie, len; then the name

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Seen:
    """What was seen."""

    readings: int = 0
    """How often `current` was read, and found whole."""
    overtaken: int = 0
    """How often `current` changed while it was read."""
    order: list[str] = field(default_factory=list)
    """Every link set that was in force, the first one included."""
    slots: dict[str, list[str]] = field(default_factory=dict)
    """The generation in each slot of those that could be read."""
    makers: dict[str, str] = field(default_factory=dict)
    """Generation -> the operation that its manifest names."""
    faults: list[str] = field(default_factory=list)


class Publications:
    """The link sets that are published, in order, by one queue of inotify(7)."""

    def __init__(self, top: str) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._names = {
            _libc.inotify_add_watch(self._fd, os.fsencode(path), IN_CREATE | IN_DELETE | IN_MOVED_TO): name
            for name, path in (("top", top), ("links", f"{top}/links"), ("next", f"{top}/next"))
        }
        assert self._fd >= 0
        assert -1 not in self._names, os.strerror(ctypes.get_errno())
        self._made = self._staged = ""

    def read(self) -> Iterator[str]:
        """Those that were published since. Whoever publishes holds the lock while it makes links/ID, then
        next/current, and renames that; so what is renamed names the link set that was made last."""
        for directory, mask, name in self._events():
            if directory == "links" and mask & IN_CREATE:
                self._made, self._staged = name, ""
            elif directory == "next" and name == "current":
                self._staged = self._made if mask & IN_CREATE else ""
            elif directory == "top" and name == "current" and mask & IN_MOVED_TO:
                yield self._staged
                self._made = self._staged = ""

    def _events(self) -> Iterator[tuple[str, int, str]]:
        while True:
            try:
                data = os.read(self._fd, 2**16)
            except BlockingIOError:
                return
            place = 0
            while place < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, place)
                assert not mask & IN_Q_OVERFLOW, "events of inotify were lost"
                place += _EVENT.size + length
                yield self._names[watch], mask, os.fsdecode(data[place - length : place].rstrip(b"\0"))


class Watcher:
    """Reads `current` of one top level; the working directory is in it."""

    def __init__(self, top: str) -> None:
        os.chdir(top)
        self._publications = Publications(top)
        self.seen = Seen(order=[_link_set()])

    def look(self) -> None:
        """Note what was published, and read `current` once: it must name a whole link set, unless it has
        changed meanwhile. No link set is ever in force twice, so the same name means that it has not."""
        for name in self._publications.read():
            self.seen.order.append(name)
            self._slots(name)
        name = _link_set()
        try:
            found = self._fault_of_set(name)
        except (OSError, ValueError) as error:
            found = str(error)
        if _link_set() != name:
            self.seen.overtaken += 1
        elif found:
            self.seen.faults.append(f"{name}: {found}")
        else:
            self.seen.readings += 1

    def _fault_of_set(self, name: str) -> str:
        """What is wrong with a link set, and the generations in it; empty if all is whole."""
        slots = self._slots(name)
        if slots is None or len(slots) != len(_SLOTS):
            return f"the slots are {slots}"
        return next(filter(None, map(self._fault_of, dict.fromkeys(slots))), "")

    def _slots(self, name: str) -> list[str] | None:
        """The generations of a link set, None if it is not whole; the first whole reading is noted."""
        with contextlib.suppress(FileNotFoundError):
            links = [os.readlink(f"links/{name}/{number}") for number in sorted(os.listdir(f"links/{name}"))]
            slots = [link.removeprefix(_TARGET) for link in links]
            if len(slots) == len(_SLOTS):
                before = self.seen.slots.setdefault(name, slots)
                if before != slots:
                    self.seen.faults.append(f"{name}: its slots were {before}, and are {slots}")
            return slots
        return None

    def _fault_of(self, generation: str) -> str:
        """What is wrong with a generation, read file by file; empty if it is whole."""
        root = f"snapshots/{generation}/@"
        if not btrfsutil.get_subvolume_read_only(root):
            return f"{generation} is not sealed"
        if f"subvol=/{root}," not in _read(f"{root}/etc/fstab"):
            return f"{generation}: its fstab names another"
        lines = _read(f"{root}/manifest").splitlines()
        found = [f"{name}:{_read(f'{root}/data/{name}')}".rstrip() for name in sorted(os.listdir(f"{root}/data"))]
        if not lines or lines != found:
            return f"{generation}: its manifest is {lines}, and there is {found}"
        self.seen.makers[generation] = lines[0].partition(":")[2].partition(" ")[0]
        return ""


def _link_set() -> str:
    """What `current` names; that it is missing is never seen where it is replaced by a rename."""
    try:
        return os.readlink("current").removeprefix("./links/")
    except FileNotFoundError:
        return "(missing)"


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4096).decode()
    finally:
        os.close(fd)


class Watching:
    """A context in which a process of its own watches; `seen` is there afterwards."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.seen = Seen()

    def __enter__(self) -> "Watching":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.watcher", str(self._top)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=without_coverage(),
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "watching\n"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            output, _errors = self._process.communicate(timeout=60)
        finally:
            self._process.kill()
            self._process.wait()
        self.seen = Seen(**json.loads(output))


def _main(top: str) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, -20)  # among the crowd it would else not come to read so often
    watcher = Watcher(top)
    print("watching", flush=True)
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        watcher.look()
        due += _INTERVAL
    watcher.look()
    print(json.dumps(dataclasses.asdict(watcher.seen)))


if __name__ == "__main__":
    _main(sys.argv[1])
