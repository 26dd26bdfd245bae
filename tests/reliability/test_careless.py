"""Careless scripts: what they leave behind ends with their session, and what they hand out reaches no sealed
generation."""

import contextlib
import ctypes
import hashlib
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import FIRST, Finished, Lab, kill, sh, wait_until, without_coverage
from tests.reliability import careless
from tests.reliability.table import Row
from tests.test_hostile import processes_with

REPOSITORY = Path(__file__).parents[2]
PYTHON = os.path.realpath(sys.executable)
SHOWN = [path for path in dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix)) if os.path.isdir(path)]
PROGRAM = "/run/careless.py"
ENDINGS = ("success", "failure", "SIGTERM", "SIGKILL")


class Host:
    """A system like most, all of whose mounts are shared: the mount namespace of a process that does nothing."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        command = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", "echo; exec sleep infinity"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.before = self.mounts

    @property
    def mounts(self) -> str:
        return Path(f"/proc/{self._process.pid}/mountinfo").read_text()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start sysmut there; the session sees python, and what it is to run."""
        enter = ["nsenter", f"--target={self._process.pid}", "--mount", f"--wd={REPOSITORY}"]
        shown = [f"--mount={path}" for path in (*SHOWN, f"{careless.__file__}:{PROGRAM}")]
        return subprocess.Popen(
            [*enter, *self.lab.command("sysmut", "run", *shown, *arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=without_coverage(),
        )  # fmt: skip

    def run(self, way: str, marker: str) -> Finished:
        """A session that goes one careless way, to its end."""
        process = self.start(FIRST, "--", PYTHON, PROGRAM, way, marker)
        try:
            output, said = process.communicate(timeout=60)
        finally:
            process.kill()
        return Finished(way, process.returncode, output, said)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    (lab.top / "pins").mkdir()
    (lab.top / "pins/first").symlink_to(f"../snapshots/{FIRST}")
    made = Host(lab)
    yield made
    made.end()


def content(root: Path) -> str:
    """All that a generation holds, as a digest."""
    digest = hashlib.sha256()
    for directory, _, names in sorted(os.walk(root)):
        for name in sorted([*names, "."]):
            path = os.path.join(directory, name)
            seen = os.lstat(path)
            digest.update(repr((path, seen.st_mode, seen.st_size, seen.st_mtime_ns)).encode())
            if stat.S_ISREG(seen.st_mode):
                digest.update(Path(path).read_bytes())
    return digest.hexdigest()


# -- what a script leaves behind --------------------------------------------------------------------------


def _loops(marker: str) -> list[str]:
    """The loop devices that a session has left."""
    return [line for line in sh("losetup", "--all").splitlines() if f"/image-{marker}" in line]


def _end(host: Host, way: str, ending: str, marker: str) -> tuple[int, str]:
    """A session that goes this way and ends so; its status, and what was said."""
    after = {"success": "", "failure": "exit 3"}.get(ending, "echo at work; sleep 1000")
    process = host.start(FIRST, "--", "sh", "-ec", f"{PYTHON} {PROGRAM} {way} {marker}; {after}")
    try:
        if ending.startswith("SIG"):
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n", process.communicate(timeout=60)
            kill(process, signal.Signals[ending])
            return process.returncode, ""
        said = process.communicate(timeout=60)[1]
        return process.returncode, said
    finally:
        process.kill()


def _faults(host: Host, way: str, ending: str) -> Iterator[str]:
    """What is wrong when a session has gone this way and ended so."""
    lab, marker, slots = host.lab, f"marker-{os.urandom(6).hex()}", host.lab.slots
    status, said = _end(host, way, ending, marker)
    expected = {"success": 0, "failure": 3, "SIGTERM": 128 + signal.SIGTERM, "SIGKILL": -signal.SIGKILL}[ending]
    if status != expected:
        yield f"the status is {status}: {said[-400:]}"
    if ending == "SIGKILL":  # nobody waits for what the kernel does then
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not processes_with(marker) and not _loops(marker))
    if processes_with(marker):
        yield f"processes: {processes_with(marker)}"
    if host.mounts != host.before or marker in Path("/proc/self/mountinfo").read_text():
        yield f"mounts: {host.mounts}"
    if _loops(marker):
        yield f"loop devices: {_loops(marker)}"
    if ending == "success" and (lab.slots[0] == slots[0] or not lab.is_sealed(lab.slots[0])):
        yield f"{lab.slots[0]} is not a new, sealed one"
    if ending != "success" and (lab.slots != slots or lab.syscln().returncode or lab.generations != {FIRST, *slots}):
        yield f"{lab.generations} are there, and {lab.slots} in the slots"


def _left_behind(host: Host, endings: tuple[str, ...]) -> tuple[int, list[str]]:
    """Go every way to every end; how many that were, and the faults."""
    points, faults, contents = 0, [], {}
    for ending in endings:
        # Who is killed can detach nothing, and the kernel does so only where it was asked to beforehand.
        for way in (way for way in careless.LEFT if (way, ending) != (careless.attached, "SIGKILL")):
            points += 1
            faults += [f"{way.__name__}, {ending}: {fault}" for fault in _faults(host, way.__name__, ending)]
            contents[host.lab.slots[0]] = content(host.lab.root(host.lab.slots[0])), way.__name__
            if len(contents) > 3:
                faults += _changed(host.lab, contents)
    return points, faults + _changed(host.lab, contents)


def _changed(lab: Lab, contents: dict[str, tuple[str, str]]) -> list[str]:
    """The generations that are no more as they were, read from the disk anew. Forgets them."""
    sh("sync", "-f", lab.top)
    drop = [path for name in contents for path in lab.root(name).rglob("leak") if path.is_file()]
    for path in drop:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = [f"{name} has changed: {way}" for name, (was, way) in contents.items() if content(lab.root(name)) != was]
    contents.clear()
    return found


# -- what a script hands out ------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Receiver:
    """A process outside that listens in the common /home, and takes the files that it is sent. A context."""

    def __init__(self, lab: Lab, *, takes: bool, maps: bool = False) -> None:
        directory = os.open(lab.top / "commons/@home", os.O_RDONLY)
        self.files: list[int] = []
        self._mapped: int | None = None
        self._maps = maps
        self._path = lab.top / "commons/@home/socket"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"/proc/self/fd/{directory}/socket")
        self._socket.listen()
        os.close(directory)
        self._thread = threading.Thread(target=self._take)
        if takes:
            self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError), self._socket.accept()[0] as sender:  # nobody may have come
            self.files = socket.recv_fds(sender, 1, 9)[1]
            if self._maps:
                # By Python's own mmap the file would stay open.
                self._mapped = _libc.mmap(None, mmap.PAGESIZE, mmap.PROT_WRITE, mmap.MAP_SHARED, self.files[0], 0)
                os.close(self.files.pop())
            sender.send(b".")

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()
        for fd in self.files:
            os.close(fd)
        if self._mapped is not None:
            _libc.munmap(self._mapped, mmap.PAGESIZE)
        self._path.unlink()


def _hand_out_writable(host: Host, way: str, kind: str) -> Iterator[str]:
    """What is wrong when a file open for writing is handed out: the session must fail, and say to whom."""
    before = host.lab.picture()
    with Receiver(host.lab, takes=kind != "not taken", maps=kind == "mapped"):
        done = host.run(way, "sent" if kind == "not taken" else "received")
    whom = "by a process outside" if kind == "not taken" else f"by process {os.getpid()} ("
    if done.returncode != 75 or "is open for writing" not in done.stderr or whom not in done.stderr:
        yield f"{way}, {kind}: {done.returncode}, {done.stderr}"
    if host.lab.picture() != before:
        yield f"{way}, {kind}: something has changed"


def _hand_out_harmless(host: Host, way: str) -> Iterator[str]:
    """What is wrong when something else is handed out: the session must work, and its generation stay as it is."""
    with Receiver(host.lab, takes=True) as receiver:
        done = host.run(way, "received")
        name = host.lab.slots[0]
        before = content(host.lab.root(name))
        ways = [
            what for fd in receiver.files for what in _write_by(fd, f"/run/sysmut/snapshots/{name}/@{careless.LEAK}")
        ]
    if done.returncode or name == FIRST or not receiver.files:
        yield f"{way}: {done.returncode}, {done.stderr}"
    if ways or content(host.lab.root(name)) != before:
        yield f"{way}: it could be written: {ways}"


def _write_by(fd: int, path: str) -> Iterator[str]:
    """Try to write by way of something that was handed out; how it could be done."""
    if os.readlink(f"/proc/self/fd/{fd}").startswith("mnt:"):
        enter = ["nsenter", f"--mount=/proc/{os.getpid()}/fd/{fd}", "sh", "-c", f"test -e {path} && ! echo x >>{path}"]
        if subprocess.run(enter, check=False, capture_output=True, timeout=60).returncode:
            yield "by the mount namespace"
        return
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TMPFILE):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/self/fd/{fd}", flags))
            yield f"opened with {flags:#o}"
    with contextlib.suppress(OSError):
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        yield "a file was made"
    with contextlib.suppress(OSError):
        os.fchmod(fd, 0o777)
        yield "its mode was changed"


def _hand_out_loop(host: Host) -> Iterator[str]:
    """What is wrong when a loop device is handed out: the session must fail."""
    before = host.lab.picture()
    with Receiver(host.lab, takes=True):
        done = host.run("loop", "received")
    if done.returncode != 65 or "left /dev/loop" not in done.stderr or host.lab.picture() != before:
        yield f"loop: {done.returncode}, {done.stderr}"
    if _loops("received"):
        yield f"loop: {_loops('received')}"


def _handed_out(host: Host, *, everything: bool) -> tuple[int, list[str]]:
    """Hand out every kind of thing; how many that were, and the faults."""
    kinds = ("taken", "mapped", "not taken")
    pairs = [(way.__name__, kind) for way in careless.WRITABLE for kind in kinds]
    if not everything:  # each is waited for
        pairs = [(way, kind) for way, kind in pairs if (way == "file") != (kind == "taken")]
    faults = [*_hand_out_loop(host)]
    for way, kind in pairs:
        faults += _hand_out_writable(host, way, kind)
    for each in careless.HARMLESS:
        faults += _hand_out_harmless(host, each.__name__)
    return 1 + len(pairs) + len(careless.HARMLESS), faults


@pytest.mark.parametrize(
    "endings", [pytest.param(ENDINGS[:1], id="quick"), pytest.param(ENDINGS, id="long", marks=pytest.mark.long)]
)
def test_nothing_of_a_careless_script_outlives_its_session_or_reaches_a_sealed_generation(
    host: Host, record: Callable[[Row], None], endings: tuple[str, ...]
) -> None:
    left, faults = _left_behind(host, endings)
    out, more = _handed_out(host, everything=endings == ENDINGS)
    faults += more
    assert not faults, "\n".join(faults[:20])
    what = "careless scripts: what outlives the session or reaches the sealed generation"
    record(Row(7, what, left + out, len(faults), 0))


def test_nobody_is_killed_by_a_process_that_is_not_the_first_of_its_namespace() -> None:
    code = "from sysmut.sandbox import ending; ending.kill_everybody()"
    # In a namespace of its own, so that no more would be killed than what is in that, if it did not hold.
    script = f'sleep 100 & "$0" -c "{code}"; kill $! && echo alive'
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script, sys.executable]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, env=without_coverage()
    )
    assert "in no pid namespace of its own" in done.stderr
    assert done.stdout == "alive\n"
