"""A disk that fills up while sysmut works, at a call of its choosing: strace stops it there, and what
fills the disk comes from outside. No clock is in it.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab import Finished, Lab, sh, wait_until, without_coverage

Kind = Literal["data", "metadata"]
Process = Literal["sysmut", "keeper", "script"]
"""Which of them: the keeper is the first one of a session's pid namespace; the rest is the script's."""
KINDS: tuple[Kind, ...] = ("data", "metadata")

SIZE = 256 * 2**20
LEAF = 16000
"""Bytes of an attribute that has a leaf of the tree for itself."""

_CALLS = (
    "mkdir", "mkdirat", "flock", "unlink", "unlinkat", "fchown", "fchmod", "write", "rename", "renameat", "pipe2",
    "wait4", "symlink", "syncfs", "rmdir", "umount2", "unshare", "geteuid",
)  # fmt: skip
"""Between any two calls of sysmut that change something lies one of these, or is one of them. Not openat
and ioctl: how often it looks at something depends on what else runs on the machine."""
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_STOPPED = re.compile(r"(\d+) +--- stopped by SIGSTOP ---")


@dataclass(frozen=True)
class Point:
    """The moment after one system call of sysmut."""

    process: Process
    call: str
    number: int
    """Which one of this name in its process, from 1."""
    paths: tuple[str, ...] = ()
    """Count only the calls on these."""
    shown: str = ""

    def __str__(self) -> str:
        return f"{self.process}: {self.call} {self.number} ({self.shown}"


class Disk(Lab):
    """A lab in memory that can be filled up, and put back to how it was when it was saved.

    Its loop device is its own for as long as it lasts: to wait for one to go at each mount takes longer than
    all else.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        # Shared, so that what is unmounted below goes from the namespaces that others have made meanwhile, too.
        sh("mount", "-t", "tmpfs", "-o", "size=1g", "--make-shared", "tmpfs", directory)
        self._directory = directory
        self._saved = directory / "saved.img"
        self._trace = directory / "trace"
        self.device = ""
        self.saved_in_force: tuple[str, list[str]] = ("", [])
        """What `in_force` was when the disk was saved."""
        try:
            super().__init__(directory, SIZE)
            self.lay_out(root, commons=("/home",))
        except BaseException:
            self.throw_away()
            raise

    def format(self, size: int) -> None:
        super().format(size)
        self.device = sh("losetup", "-f", "--show", self.image).strip()

    def mount(self) -> None:
        sh("blockdev", "--flushbufs", self.device)  # else the kernel may remember what was there before
        # Its own commits, and what they set going, are for no test to count on.
        sh("mount", "-o", "commit=600", self.device, self.top)

    def throw_away(self) -> None:
        """Unmount all that is of it."""
        self.close()
        if self.device:
            sh("losetup", "-d", self.device)
        _unmount(self._directory)

    def _leave(self) -> None:
        """Unmount the filesystem; nothing of it is in the kernel's memory when it returns."""
        _unmount(self.top)
        wait_until(lambda: not Path(f"/sys/fs/btrfs/{self.uuid}").exists(), 60)

    def save(self) -> None:
        """Keep the disk as it is now, for `restore`."""
        self._leave()
        sh("cp", "--sparse=always", self.image, self._saved)
        self.mount()
        self.saved_in_force = self.in_force

    def restore(self) -> None:
        """Put the disk back to how it was when it was saved."""
        self._leave()
        sh("cp", "--sparse=always", self._saved, self.image)
        self.mount()

    @property
    def in_force(self) -> tuple[str, list[str]]:
        """What `current` says, and the slots."""
        return os.readlink(self.top / "current"), self.slots

    def remount(self) -> None:
        """Have all read from the disk anew."""
        self._leave()
        self.mount()

    # -- filling ----------------------------------------------------------------------------------

    @property
    def filling(self) -> Path:
        """Where that lies with which the disk is filled."""
        return self.top / "filling"

    def fill(self, kind: Kind, *, blocks: int = 0, leaves: int = 0) -> None:
        """Fill the disk up with data, and for `metadata` with that too, but for so many blocks of data and
        leaves of metadata."""
        self.filling.mkdir()
        with open(self.filling / "data", "wb") as file:
            end = _grow(file.fileno())
            if blocks:
                os.truncate(file.fileno(), end - blocks * 4096)
        if kind == "metadata":
            self._fill_metadata(leaves)
        sh("sync", "-f", self.top)

    def _fill_metadata(self, leaves: int) -> None:
        spare, names = self.filling / "spare", self.filling / "names"
        _add_leaves(spare, range(leaves))
        numbers = itertools.count()
        for size in (LEAF, LEAF, 2000, 20):  # twice: a commit gives back what was reserved
            with contextlib.suppress(OSError):
                _add_leaves(names, numbers, size)
            sh("sync", "-f", self.top)
        spare.unlink()

    def empty(self) -> None:
        """Remove what `fill` made."""
        shutil.rmtree(self.filling)
        sh("btrfs", "filesystem", "sync", self.top)

    @property
    def free(self) -> int:
        """Bytes that are not in use, those of metadata and those kept back among them."""
        status = os.statvfs(self.top)
        return status.f_bfree * status.f_frsize

    def is_clean(self) -> bool:
        """Whether the kernel has taken apart all deleted subvolumes."""
        return sh("btrfs", "subvolume", "list", "-d", self.top) == ""

    def takes(self, kind: Kind, number: int) -> bool:
        """Whether so many blocks of data, or leaves of metadata, can be written; they are removed again."""
        more = self.filling / "more"
        try:
            _add_leaves(more, range(number if kind == "metadata" else 0))
            more.write_bytes(os.urandom(number * 4096 if kind == "data" else 0))
            sh("sync", "-f", self.top)
        except OSError:
            return False
        more.unlink()
        sh("btrfs", "filesystem", "sync", self.top)
        return True

    # -- stopping ---------------------------------------------------------------------------------

    def points(self, command: list[str], paths: tuple[str, ...] = ()) -> list[Point]:
        """The moments at which the command can be stopped on the disk as it was saved. Among them those after
        each ioctl on the directories `paths` that changes something."""
        return [point for only in dict.fromkeys(((), paths)) for point in self._points(command, only)]

    def _points(self, command: list[str], paths: tuple[str, ...]) -> list[Point]:
        self.restore()
        strace = ["strace", "-f", "-o", str(self._trace), *_traced(paths), *command]
        subprocess.run(strace, check=True, capture_output=True, env=_environment(), timeout=60)
        counts: Counter[tuple[Process, str]] = Counter()
        found = []
        for line in self._trace.read_text().splitlines():
            if match := _LINE.match(line):
                process, call, rest = self._process(match[1]), match[2], match[3]
                counts[process, call] += 1
                if _is_of_interest(process, call, rest):
                    found.append(Point(process, call, counts[process, call], paths, rest[:60]))
        return found

    def _process(self, pid: str) -> Process:
        """Which one it is, by the order in which they come in the trace."""
        pids = list(dict.fromkeys(line.split()[0] for line in self._trace.read_text().splitlines()))
        names: tuple[Process, ...] = ("sysmut", "keeper")
        return names[pids.index(pid)] if pids.index(pid) < len(names) else "script"

    def run_to_the_end(self, command: list[str]) -> Finished:
        """Run the command undisturbed."""
        return subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment(),
            timeout=60,
        )  # fmt: skip

    def run_until(self, command: list[str], point: Point, then: Callable[[], None]) -> Finished | None:
        """Run the command, stop it at this point, do something, let it go on. None where it never
        came there."""
        self._trace.write_text("")
        inject = f"inject={point.call}:signal=SIGSTOP:when={point.number}"
        strace = ["strace", "-f", "-o", str(self._trace), *_traced(point.paths), "-e", inject, *command]
        process = subprocess.Popen(
            strace, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            came = self._let_go(process, point, then)
            out, said = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)
        return subprocess.CompletedProcess(strace, process.returncode, out, said) if came else None

    def _let_go(self, process: "subprocess.Popen[str]", point: Point, then: Callable[[], None]) -> bool:
        """Let go on whatever stops, until the end; `then` is done when the right one has stopped."""
        came = False
        number = 0
        while True:
            wait_until(lambda n=number: process.poll() is not None or len(self._stopped()) > n, 60)
            if len(self._stopped()) <= number:
                return came
            pid = self._stopped()[number]
            if self._process(pid) == point.process and not came:
                came = True
                then()
            with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                os.kill(int(pid), signal.SIGCONT)
            number += 1

    def _stopped(self) -> list[str]:
        return _STOPPED.findall(self._trace.read_text())


def _unmount(place: Path) -> None:
    """Unmount it as soon as that can be: who looks at all loop devices has ours open for a moment, and its file."""
    command = ["umount", str(place)]
    wait_until(lambda: subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0)


def _environment() -> dict[str, str]:
    """Where each run makes the same calls: else the first one compiles what has changed."""
    return {**without_coverage(), "PYTHONDONTWRITEBYTECODE": "1"}


def _add_leaves(path: Path, numbers: Iterable[int], size: int = LEAF) -> None:
    """Give the file attributes with these numbers."""
    path.touch()
    for number in numbers:
        os.setxattr(path, f"user.{number}", bytes(size))


def _traced(paths: tuple[str, ...]) -> list[str]:
    """What strace is to look at."""
    calls = ("ioctl",) if paths else _CALLS
    return ["-e", f"trace={','.join(calls)}", *(part for path in paths for part in ("-P", path))]


def _grow(fd: int) -> int:
    """Make the open file as large as there is room; its size."""
    end = 0
    for size in (2**24, 2**20, 2**16, 2**12):
        with contextlib.suppress(OSError):
            while True:
                os.posix_fallocate(fd, end, size)
                end += size
    return end


def _is_of_interest(process: Process, call: str, rest: str) -> bool:
    """Not what is said on the standard streams, nor what does not hold up the script: that would be a race."""
    if call == "write":
        return process != "script" and not rest.startswith(("1,", "2,"))
    if call == "ioctl":
        return "SNAP_DESTROY" in rest or "SETFLAGS" in rest
    return (process, call) not in (("sysmut", "pipe2"), ("keeper", "wait4")) and process != "script"
