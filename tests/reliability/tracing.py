"""strace's fault injection: which system calls a process makes, and one of them made to fail, or to be its last."""

import contextlib
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import wait_until

_LINE = re.compile(r"(?:(?P<process>\d+) +)?(?P<name>\w+)\((?P<arguments>.*)")
_KIND = re.compile(r"(\w+)\((?:\d+, ([A-Z][A-Z0-9_]+))?")
_WRITES = re.compile(r"O_CREAT|O_WRONLY|O_RDWR|O_TRUNC")
_CHANGING_IOCTL = re.compile(
    r"SNAP_CREATE|SUBVOL_CREATE|SUBVOL_SETFLAGS|SNAP_DESTROY|FS_IOC_SETFLAGS|LOOP_C|FICLONE|_SYNC\b|FIEMAP"
)
_CHANGING = frozenset(
    (
        *("mkdir", "mkdirat", "symlink", "symlinkat", "rename", "renameat", "renameat2", "link", "linkat", "rmdir"),
        *("unlink", "unlinkat", "fchmod", "chmod", "fchmodat", "fchown", "fchownat", "write", "pwrite64", "ftruncate"),
        *("mount", "umount2", "unshare", "setns", "chroot", "fchdir", "syncfs", "fsync", "flock", "clone", "clone3"),
        *("pipe2", "dup2", "setsid", "prctl", "execve", "pidfd_open", "pidfd_send_signal", "wait4", "swapoff"),
    )
)


@dataclass(frozen=True)
class Call:
    """The `number`th call (from 1) of that name that a process makes."""

    name: str
    number: int
    text: str = ""
    """As strace shows it."""
    turn: int = 1
    """Which of the calls of its kind it is."""

    @property
    def kind(self) -> str:
        """Its name, and of an ioctl what it asks for."""
        return kind_of(f"{self.name}({self.text}")

    @property
    def changes(self) -> bool:
        """Whether the call is one that changes anything: on a disk, in the kernel, or of the process itself."""
        if self.name == "openat":
            return bool(_WRITES.search(self.text))
        if self.name == "ioctl":
            return bool(_CHANGING_IOCTL.search(self.text))
        return self.name in _CHANGING

    def __str__(self) -> str:
        return f"{self.name} {self.number} {self.text[:100]}"


@contextlib.contextmanager
def attached(process: int, output: Path, *options: str) -> Iterator[None]:
    """A tracer on the process, from the start of the context until one of the two ends."""
    tracer = subprocess.Popen(["strace", "-qq", "-o", str(output), *options, "-p", str(process)])
    try:
        status = Path(f"/proc/{process}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text())
        yield
        tracer.wait(timeout=60)
    finally:
        tracer.kill()
        tracer.wait()


def injected(call: Call, fault: str) -> tuple[str, ...]:
    """The options that let a call fail: `fault` is an error's name, or a signal's, which comes instead of it."""
    kind = "signal" if hasattr(signal, fault) else "error"
    return "-e", f"trace={call.name}", "-e", f"inject={call.name}:{kind}={fault}:when={call.number}"


def was_hit(output: Path) -> list[str]:
    """The calls of a trace that were made to fail, as strace shows them, and were not made again with success."""
    lines = output.read_text(errors="replace").splitlines()
    asked = [
        line.rpartition(" = ")[0].partition(" => ")[0].rstrip(" )}") for line in lines
    ]  # what was passed, not the answer
    succeeded = [text if " = -1 " not in line else None for text, line in zip(asked, lines, strict=True)]
    return [
        line for number, line in enumerate(lines) if "(INJECTED)" in line and asked[number] not in succeeded[number:]
    ]


def calls(output: Path) -> list[Call]:
    """The calls of a trace of one process, in order."""
    counts: Counter[str] = Counter()
    turns: Counter[str] = Counter()
    found = []
    for line in output.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            name, kind = match["name"], kind_of(f"{match['name']}({match['arguments']}")
            counts[name] += 1
            turns[kind] += 1
            found.append(Call(name, counts[name], match["arguments"], turns[kind]))
    return found


def kind_of(line: str) -> str:
    """The name of the call that a line of strace shows, and of an ioctl what it asks for."""
    match = _KIND.search(line)
    return match[2] or match[1] if match else ""


def resume(process: int) -> None:
    """Let a process go on that stopped itself, when it has."""
    wait_until(lambda: is_stopped(process))
    os.kill(process, signal.SIGCONT)


def is_stopped(process: int) -> bool:
    """Whether it has stopped itself, or a tracer holds it so."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"


def children(process: int) -> list[int]:
    """The processes that a process has started and not reaped."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
