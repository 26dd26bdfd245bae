"""Every system call as a crash point: a session, an activation and a collection, in which one call fails or is the
last. Afterwards the slots are the old or the new, nothing is left, and the next run works."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sysmut import layout, syscalls
from tests.lab import Finished, Lab, sh, wait_until
from tests.reliability import tracing
from tests.reliability.scratch import forget_devices
from tests.reliability.tracing import Call
from tests.reliability.truth import flaws, manifest
from tests.reliability.zygote import Zygote

FAULTS = ("SIGKILL", "EIO", "ENOSPC", "EINTR")
PROGRAMS = ("session", "activation", "collection")
ROLES = {"session": ("sysmut", "keeper", "command"), "activation": ("sysmut",), "collection": ("sysmut",)}
"""The processes of each: sysmut itself, the keeper of a session, and what the keeper forks for the command."""

_TRIES = 5
_SCRIPT = "echo $SYSMUT_GENERATION > /data/name; rm -f /data/old; echo new > /data/old; echo said"
_ONLY_THE_COMMANDS = ("chroot", "setsid", "fchdir", "dup2", "execve")
"""Calls that the keeper does not make itself: they can be told apart in a trace of both."""

HARMLESS = (
    ("umount2", r"/run/sysmut", "the mount namespace goes with the process"),
    ("write", r"^2, ", "that nobody can read it changes nothing of what was done"),
    ("openat", r"/dev/tty", "then there is no terminal"),
    ("openat", r"/sys/block/", "somebody else's device"),
    ("openat", r"/dev/loop[0-9]", "somebody else's device, where it is said to be gone"),
    ("ioctl", r"TCGETS", "asked by Python of every file"),
    ("execve", r"", "the next place of PATH is tried"),
    ("openat", r"/run/sysmut/history", "it is told that it could not be written down, for what it tells of is done"),
    ("flock", r", LOCK_EX\)", "the history's, which alone is waited for; the same"),
    ("write", r'^\d+, "\{\\"time\\"', "the same"),
)
"""Calls whose failure is no failure: name, what strace shows, why."""


@dataclass
class Report:
    """What was tried, and what is wrong."""

    points: int = 0
    broken: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """The lab before a point."""

    slots: list[str]
    generations: set[str]


class Trial:
    """One lab, on which a program is run again and again, each time with another fault."""

    def __init__(self, lab: Lab, directory: Path, stack: contextlib.ExitStack) -> None:
        self._lab = lab
        self._trace = directory / "trace"
        self._fifo = directory / "fifo"
        os.mkfifo(self._fifo)
        self._plain = stack.enter_context(Zygote())
        self._stopped = stack.enter_context(Zygote("tests.reliability.pause:command"))
        self._kept = stack.enter_context(
            Zygote("tests.reliability.pause:keeper_of_a_session", PAUSE_FIFO=str(self._fifo))
        )
        self.report = Report()
        # What loop devices others have would change the number of calls from run to run.
        sh("mount", "-t", "tmpfs", "nothing", "/sys/block")
        self._unmount()

    def calls(self, program: str, role: str) -> list[Call]:
        """The calls of a process that change something, in a run without a fault."""
        before = self._prepare(program)
        done = self._run(program, role)
        assert done.returncode == 0, done.stderr
        self._after(f"{program} without a fault", program, done, before)
        found = tracing.calls(self._trace)
        if role == "command":
            return [call for call in found if call.name in _ONLY_THE_COMMANDS and call.number == 1]
        return [call for call in found if call.changes]

    def attempt(self, program: str, role: str, call: Call, fault: str) -> None:
        """One point: run the program with the fault, and look at what is there. Who else is in /proc changes the
        number of calls: where another was hit, that is a point, too, and the right one is tried again."""
        for _ in range(_TRIES):
            before = self._prepare(program)
            done = self._run(program, role, *tracing.injected(call, fault))
            hits = [] if fault == "SIGKILL" else tracing.was_hit(self._trace)
            self._judge_point(f"{program}, {role}: {fault} at {call}", program, done, before, hits, fault)
            if not hits or tracing.kind_of(hits[0]) == call.kind:
                return
            found = self.calls(program, role)
            call = next((each for each in found if (each.kind, each.turn) == (call.kind, call.turn)), call)

    def _judge_point(
        self, name: str, program: str, done: Finished, before: Before, hits: list[str], fault: str
    ) -> None:
        self.report.points += 1
        number = len(self.report.faults)
        if done.returncode == 0 and hits and fault != "EINTR" and not all(map(_is_harmless, hits)):
            self._fault(name, f"success was reported: {hits[0]}")
        self._after(name, program, done, before)
        self.report.broken += len(self.report.faults) > number

    def _fault(self, point: str, what: str) -> None:
        self.report.faults.append(f"{point}: {what}")

    # -- running -----------------------------------------------------------------------------------

    def _prepare(self, program: str) -> Before:
        """See to it that there is something to do; what there is."""
        with self._mounted() as root:
            if program == "collection":
                self._plain.run("sysmut", "run", *root, "--keep-failed", "--", "sh", "-c", "exit 1")
            elif program == "activation" and self._lab.slots[0] == self._lab.slots[1]:
                self._plain.run("sysmut", "run", *root, "--", "true")
            return Before(self._lab.slots, self._lab.generations)

    def _run(self, program: str, role: str, *options: str) -> Finished:
        image = ("--image", self._lab.image)
        command: tuple[Any, ...] = {
            "session": ("sysmut", "run", *image, "--", "sh", "-ec", _SCRIPT),
            "activation": ("sysmut", "activate", *image, "1"),
            "collection": ("syscln", *image),
        }[program]
        if role == "sysmut":
            process = self._stopped.start(*command)
            wait_until(lambda: tracing.is_stopped(process))
            with tracing.attached(process, self._trace, *options):
                tracing.resume(process)
            return self._stopped.finish()
        process = self._kept.start(*command)
        wait_until(lambda: tracing.children(process))
        follow = ("-f",) if role == "command" else ()
        with tracing.attached(tracing.children(process)[0], self._trace, *follow, *options):
            os.close(os.open(self._fifo, os.O_WRONLY))
        return self._kept.finish()

    # -- looking -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _mounted(self) -> Iterator[tuple[str, str]]:
        """The options that name the lab, mounted for the context."""
        forget_devices()
        self._lab.mount()
        try:
            yield "--root", str(self._lab.top)
        finally:
            self._unmount()

    def _unmount(self) -> None:
        self._lab.close()
        wait_until(lambda: not self._is_attached())

    def _is_attached(self) -> bool:
        inode = os.stat(self._lab.image).st_ino
        for device in Path("/dev").glob("loop[0-9]*"):
            fd = syscalls.open_loop(str(device))
            if fd is not None:
                backing = syscalls.loop_backing(fd)
                os.close(fd)
                if backing is not None and backing[1] == inode:
                    return True
        return False

    def _after(self, point: str, program: str, done: Finished, before: Before) -> None:
        """Hold what is there against what was said."""
        try:
            wait_until(lambda: not self._is_attached())
            wait_until(lambda: not _processes_with(_SCRIPT))
        except AssertionError:
            self._fault(point, "a loop device or a process is left")
        if done.returncode != 0 and not done.returncode < 0:
            for what in _shape(done):
                self._fault(point, what)
        with self._mounted() as root:
            for what in self._judge(program, done, before):
                self._fault(point, what)
            for what in self._go_on(root):
                self._fault(point, what)

    def _judge(self, program: str, done: Finished, before: Before) -> Iterator[str]:
        slots = self._lab.slots
        is_new = _NEW[program](self._lab, before)
        if slots != before.slots and not is_new:
            yield f"neither the old slots nor the new: {before.slots}, {slots}"
        in_place = "in place, but" in done.stderr
        if (done.returncode == 0 or in_place) and not is_new:
            self.report.lost += 1
            yield f"it was reported as done, and is not there: {done.stderr}"
        if done.returncode > 0 and not in_place and is_new and program != "collection":
            yield f"it was reported as failed, and is there: {done.stderr}"
        if done.returncode > 0 and not in_place and program == "session":
            left = self._lab.generations - before.generations
            if left and not any(name in done.stderr for name in left) and "was not removed" not in done.stderr:
                yield f"{left} was left without a word: {done.stderr}"
        for name in dict.fromkeys(slots):
            # Its manifest is what is there: that it is sealed, and the rest, is looked at.
            yield from flaws(str(self._lab.top), name, manifest(self._lab.root(name)))

    def _go_on(self, root: tuple[str, str]) -> Iterator[str]:
        """What does not work of the next collection and session."""
        done = self._plain.run("syscln", *root)
        if done.returncode or self._lab.generations != set(self._lab.slots) or len(self._lab.link_sets) != 1:
            yield f"the next syscln: {done.returncode} {done.stderr} {self._lab.generations} {self._lab.link_sets}"
        done = self._plain.run("sysmut", "run", *root, "--", "true")
        if done.returncode:
            yield f"the next session: {done.returncode} {done.stderr}"


def _session_is_new(lab: Lab, before: Before) -> bool:
    first = lab.slots[0]
    if first in before.generations or tuple(lab.slots) != layout.rotate(tuple(before.slots), first):
        return False
    data = lab.root(first) / "data"
    record = lab.root(first).parent / layout.RECORD
    log = lab.root(first).parent / layout.LOG
    return (
        (data / "name").read_text() == f"{first}\n"
        and (data / "old").read_text() == "new\n"
        and first in record.read_text()
        and log.read_text() == "said\n"
    )


_NEW: dict[str, Callable[[Lab, Before], bool]] = {
    "session": _session_is_new,
    "activation": lambda lab, before: tuple(lab.slots) == layout.rotate(tuple(before.slots), before.slots[1]),
    "collection": lambda lab, before: lab.generations == set(before.slots) and len(lab.link_sets) == 1,
}
"""Whether the lab is as it is to be after the program."""


def _is_harmless(line: str) -> bool:
    return any(f"{name}(" in line and re.search(shown, line.partition("(")[2]) for name, shown, _ in HARMLESS)


def _shape(done: Finished) -> Iterator[str]:
    """What is wrong with how a failure was told."""
    if done.returncode not in (*range(64, 79), 126, 127, 129, 137) or done.returncode == 70:
        yield f"it ended with status {done.returncode}: {done.stderr}"
    if "Traceback" in done.stderr:
        yield done.stderr


def _processes_with(text: str) -> bool:
    """Whether any process has this as an argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text in path.read_text(errors="replace").split("\0"):
                return True
    return False
