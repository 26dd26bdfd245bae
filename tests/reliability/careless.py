"""What a careless script does, as a program that is shown to the session: `careless.py WAY MARKER`. Each way leaves
something behind that could go on changing the generation, and returns when that is at work.

The standard library alone is used: it runs where the tests are not.
"""

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LEAK = "/leak"
SOCKET = "/home/socket"
_PAGE = 4096
_libc = ctypes.CDLL(None, use_errno=True)


def _leave_behind(work: Callable[[Callable[[], None]], None]) -> None:
    """Start a process that is nobody's child, in a session of its own; return when it says that it is at work."""
    ours, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        assert os.read(ours, 1) == b"."
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    try:
        work(lambda: _say(theirs))
    finally:
        os._exit(1)


def _say(fd: int) -> None:
    os.write(fd, b".")


def _write(fd: int, ready: Callable[[], None], buffer: "bytes | mmap.mmap" = b"x") -> None:
    ready()
    while True:
        os.write(fd, buffer)
        os.lseek(fd, 0, os.SEEK_SET)


def _image() -> str:
    return f"/image-{sys.argv[2]}"


def _opened(path: str = LEAK, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)


def mapping() -> None:
    """A shared mapping of a file that is closed."""

    def work(ready: Callable[[], None]) -> None:
        fd = _opened()
        os.ftruncate(fd, _PAGE)
        shared = mmap.mmap(fd, _PAGE)
        os.close(fd)
        shared[0] = 1
        ready()
        while True:
            shared[0] = (shared[0] + 1) % 256

    _leave_behind(work)


def direct() -> None:
    """A writer past the page cache."""
    buffer = mmap.mmap(-1, _PAGE)
    _leave_behind(lambda ready: _write(_opened(flags=os.O_DIRECT), ready, buffer))


def stopped() -> None:
    """A writer that has stopped itself."""

    def work(ready: Callable[[], None]) -> None:
        _opened()
        ready()
        os.kill(os.getpid(), signal.SIGSTOP)

    _leave_behind(work)


def traced() -> None:
    """A writer that stops for its tracer, which never looks."""

    def work(ready: Callable[[], None]) -> None:
        if os.fork() == 0:
            _opened()
            _libc.ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
            ready()
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            time.sleep(1)

    _leave_behind(work)


def forking() -> None:
    """Writers that each have a child and end, again and again."""

    def work(ready: Callable[[], None]) -> None:
        fd = _opened()
        ready()
        while True:
            os.write(fd, b"x")
            if os.fork():
                os._exit(0)

    _leave_behind(work)


def blocked() -> None:
    """A writer that waits for a reader of its fifo."""

    def work(ready: Callable[[], None]) -> None:
        _opened()
        os.mkfifo("/fifo")
        ready()
        os.open("/fifo", os.O_WRONLY)

    _leave_behind(work)


def _below(*options: str) -> None:
    """A writer in namespaces of its own."""
    copy = [sys.executable, __file__, "write", sys.argv[2]]
    process = subprocess.Popen(["/usr/bin/unshare", *options, *copy], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"."


def write() -> None:
    """A writer, that says on standard output when it is at work."""
    _write(_opened(), lambda: _say(1))


def overlay() -> None:
    """A writer to an overlay, whose upper layer is in the generation."""
    for name in ("/up", "/work", "/over"):
        os.mkdir(name)
    subprocess.run(
        ["mount", "-t", "overlay", sys.argv[2], "-o", "lowerdir=/etc,upperdir=/up,workdir=/work", "/over"], check=True
    )
    _leave_behind(lambda ready: _write(_opened("/over/leak"), ready))


def filesystem() -> None:
    """A writer to a filesystem in a file of the generation, by way of a loop device."""
    with open(_image(), "wb") as file:
        file.truncate(2**20)
    os.mkdir("/mnt")
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-O", "^has_journal", _image()], check=True)
    subprocess.run(["mount", "-o", "loop", _image(), "/mnt"], check=True)
    _leave_behind(lambda ready: _write(_opened("/mnt/leak"), ready))


def attached() -> None:
    """A loop device that shows a file of the generation."""
    with open(_image(), "wb") as file:
        file.truncate(2**20)
    subprocess.run(["/usr/sbin/losetup", "-f", _image()], check=True)


def propagated() -> None:
    """Mounts, where all mounts are made shared."""
    os.mkdir("/mnt")
    for command in (
        "mount --make-rshared /", f"mount -t tmpfs {sys.argv[2]} /mnt", "mount --rbind / /root",
        f"mount -t tmpfs {sys.argv[2]} /home", f"mount -t tmpfs {sys.argv[2]} /dev",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)


def memfd() -> None:
    """A writer that runs from no file."""
    program = os.memfd_create("program", 0)
    os.write(program, b"#!/bin/sh\nexec 9>>/leak\necho .\nwhile :; do echo x >&9; done\n")
    command = ["/bin/sh", f"/proc/self/fd/{program}", sys.argv[2]]
    process = subprocess.Popen(command, pass_fds=[program], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"."


def namespaces() -> None:
    """Writers in mount and pid namespaces of their own."""
    _below("--mount", "--propagation", "shared")
    _below("--pid", "--fork", "--mount-proc")


# -- what is handed to a process outside ------------------------------------------------------------------


def _hand_over(*fds: int) -> None:
    """Send open files to whoever listens in the common; whether they are received is not waited for."""
    sender = socket.socket(socket.AF_UNIX)
    sender.connect(SOCKET)
    socket.send_fds(sender, [b"."], fds)
    if sys.argv[2].endswith("received"):
        assert sender.recv(1) == b"."


def file() -> None:
    """A file that is open for writing."""
    fd = _opened()
    os.ftruncate(fd, _PAGE)
    _hand_over(fd)


def bound_file() -> None:
    """A file that is open for writing, by way of another mount."""
    os.mkdir("/mnt")
    subprocess.run("mount --bind / /mnt", shell=True, check=True)
    _hand_over(_opened(f"/mnt{LEAK}"))


def hidden_file() -> None:
    """The same, where that mount and the root are hidden by others."""
    os.mkdir("/mnt")
    subprocess.run("mount --bind / /mnt", shell=True, check=True)
    fd = _opened(f"/mnt{LEAK}")
    subprocess.run("mount -t tmpfs tmpfs /mnt; mount --bind / /", shell=True, check=True)
    _hand_over(fd)


def covered_file() -> None:
    """A file of the root, which is hidden by another mount of it."""
    fd = _opened()
    subprocess.run("mount --bind / /", shell=True, check=True)
    _hand_over(fd)


def readable() -> None:
    """A file that is open for reading, one that is not even that, and a directory."""
    Path(LEAK).write_text("inside")
    _hand_over(os.open(LEAK, os.O_RDONLY), os.open(LEAK, os.O_PATH), os.open("/etc", os.O_RDONLY))


def namespace() -> None:
    """The mount namespace."""
    Path(LEAK).write_text("inside")
    _hand_over(os.open("/proc/self/ns/mnt", os.O_RDONLY))


def loop() -> None:
    """A loop device, whose file is in the generation."""
    with open(_image(), "wb") as image:
        image.truncate(2**20)
    device = subprocess.run(
        ["/usr/sbin/losetup", "--show", "-f", _image()], check=True, capture_output=True, text=True
    ).stdout.strip()
    _hand_over(os.open(device, os.O_RDWR))


def locked() -> None:
    """A file that is open for reading, and locked."""
    Path(LEAK).write_text("inside")
    fd = os.open(LEAK, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    _hand_over(fd)


LEFT: tuple[Callable[[], None], ...] = (
    mapping, direct, stopped, traced, forking, blocked, overlay, filesystem, attached, propagated, memfd, namespaces,
)  # fmt: skip
WRITABLE: tuple[Callable[[], None], ...] = (file, bound_file, hidden_file, covered_file)
HARMLESS: tuple[Callable[[], None], ...] = (readable, namespace, locked)

if __name__ == "__main__":
    {each.__name__: each for each in (*LEFT, *WRITABLE, *HARMLESS, loop, write)}[sys.argv[1]]()
