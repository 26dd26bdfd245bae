"""The programs that copy and unpack: are they the ones that keep everything, and running them."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import IO

from sysmut import syscalls
from sysmut.errors import BadConfiguration, NoSpace, SystemFailure
from sysmut.install.model import Watch

GRACE = 3.0
"""Seconds between asking a program to end and killing it."""

_TICK = 200  # milliseconds
_KEPT = 4096
_FULL = (b"No space left on device", b"Disk quota exceeded")
_PACKAGES = "apk add coreutils tar gzip xz zstd, or the packages of these names of your distribution"
_GNU_NAMES = {"cp": ("cp", "gnucp"), "tar": ("tar", "gtar")}


def find_gnu(name: str) -> str:
    """The path of GNU's `cp` or `tar`: others, such as busybox's, lose ACLs and extended attributes.

    Raises BadConfiguration where there is none.
    """
    for candidate in _GNU_NAMES[name]:
        path = shutil.which(candidate)
        if path is not None:
            done = subprocess.run(
                [path, "--version"], check=False, capture_output=True, stdin=subprocess.DEVNULL, env=_environment()
            )
            if b"GNU" in done.stdout.partition(b"\n")[0]:
                return path
    raise BadConfiguration(f"GNU {name} is needed, to keep owners, ACLs and extended attributes", hint=_PACKAGES)


def require(name: str) -> None:
    """Raise BadConfiguration unless the program is there."""
    if shutil.which(name) is None:
        raise BadConfiguration(f"{name} is needed to unpack this archive", hint=_PACKAGES)


def run(
    argv: tuple[str, ...],
    watch: Watch,
    doing: str,
    *,
    stdin: int = subprocess.DEVNULL,
    keep: tuple[int, ...] = (),
) -> None:
    """Run a program to its end, with the open files `keep` passed on.

    Raises NoSpace or SystemFailure, with what the program said first, where it fails; Interrupted
    where a signal comes, when the program has ended.
    """
    watch.tick(doing)
    with _started(argv, stdin, keep, subprocess.DEVNULL) as process:
        said, full = _attend(process, watch, doing)
    watch.interrupts.check()
    if process.returncode:
        fail(argv[0], process.returncode, said, full=full)


def fail(program: str, status: int, said: bytes, *, full: bool) -> None:
    """Raise the error for a program that failed."""
    lines = said.decode(errors="surrogateescape").strip().split("\n")
    name = os.path.basename(program)
    message = lines[0] or (f"{name} was ended by signal {-status}" if status < 0 else f"{name}: status {status}")
    if full:
        raise NoSpace(f"the filesystem is full: {message}", hint="make room, or take a larger disk; nothing was kept")
    raise SystemFailure(message, hint="nothing was kept: mend it and run init again")


@contextlib.contextmanager
def output_of(argv: tuple[str, ...], stdin: int) -> Iterator["tuple[subprocess.Popen[bytes], IO[bytes]]"]:
    """A program, started, and what it writes; it is ended with the context."""
    with _started(argv, stdin, (), subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, process.stdout


@contextlib.contextmanager
def _started(
    argv: tuple[str, ...], stdin: int, keep: tuple[int, ...], stdout: int
) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=_environment(),
        pass_fds=keep,
        process_group=0,  # Ctrl-C comes to us alone, and what the program has started ends with it
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - there is one thread
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _die_with_parent() -> None:
    # Else, if sysmut is killed, the program would go on writing into what a later run clears away.
    syscalls.die_with_parent(signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Without TAR_OPTIONS, XZ_OPT and their like; messages in English, as they are looked into."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _attend(process: "subprocess.Popen[bytes]", watch: Watch, doing: str) -> tuple[bytes, bool]:
    """Wait for the end, heed signals; what the program said first, and whether the disk was full."""
    assert process.stderr is not None
    errors = process.stderr.fileno()
    said, full, deadline = b"", False, float("inf")
    poll = select.poll()
    for fd in (errors, watch.interrupts.fd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(_TICK)}
        watch.progress(doing)
        if watch.interrupts.fd in ready:
            watch.interrupts.drain()
        if watch.interrupts.received and deadline == float("inf"):
            _signal_group(process, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            _signal_group(process, signal.SIGKILL)
        if errors in ready:
            chunk = os.read(errors, 65536)
            if not chunk:
                break
            full = full or any(mark in chunk for mark in _FULL)
            said = (said + chunk)[:_KEPT]
    process.wait()
    return said, full


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
