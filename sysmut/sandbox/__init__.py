"""Run one command with a generation as its root, so that nothing of it is left afterwards.

Three processes: sysmut itself, which shows and keeps the output and heeds signals; the keeper, the
first process of a new pid namespace, which makes the mounts in a mount namespace of its own and
reaps; and the command, in the generation by chroot(2). When the keeper ends, however it ends, the
kernel kills every process of its namespace and drops its mounts. The keeper itself stays outside
the chroot, so that package scripts can tell that they run in one (ischroot, systemctl).
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping

from sysmut import syscalls
from sysmut.errors import SysmutError, UsageError
from sysmut.sandbox import keeper, relay, terminal
from sysmut.sandbox.mounting import STANDARD, File, Mount
from sysmut.signals import ENDING, Interrupts
from sysmut.values import frozen

__all__ = ["STANDARD", "Command", "File", "Mount", "Outcome", "require_terminal", "run"]


@frozen
class Command:
    """What is run, and how."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    interactive: bool = False
    """On the terminal of standard input, with job control; else without input, its output relayed."""
    fallback: tuple[str, ...] = ()
    """What is run where the kernel does not know the format of `argv[0]` (a script without `#!`)."""
    timeout: float | None = None
    """Seconds."""
    mounts: tuple[Mount, ...] = STANDARD
    files: tuple[File, ...] = ()
    release: Callable[[], object] = lambda: None
    """Ends what the kernel itself holds open of the generation, when the command has ended."""
    read_only: bool = False
    """Whether the generation is only to be looked at."""


@frozen
class Outcome:
    """How the command ended."""

    status: int
    """Its exit status; 128 + n for signal n."""
    timed_out: bool = False
    held: bool = False
    """Whether somebody outside may still be able to write to the generation. Not looked at after a failure."""


def run(command: Command, root: str, outputs: tuple[int, int], log: int, interrupts: Interrupts) -> Outcome:
    """Run `command` in the generation whose root directory is `root`; return when nothing of it is
    left. What it writes to its standard output and error goes to the `outputs`, and to `log`.

    A command that failed is no error here. Raises Interrupted for a signal to sysmut, and what kept
    the command from running or its output from being written.
    """
    with contextlib.ExitStack() as stack:
        if command.interactive:
            require_terminal()
        tty = stack.enter_context(terminal.lent())
        life, report = _Pipe(stack), _Pipe(stack)
        null = stack.enter_context(open(os.devnull, "rb", buffering=0))
        streams, ends = ([], (0, 1, 2)) if command.interactive else _streams(stack, outputs, log, null.fileno())
        task = keeper.Task(
            root, command.mounts, command.files, command.argv, command.fallback, dict(command.environment),
            ends, tty, report.write.fileno(), life.read.fileno(), command.release, command.read_only,
        )  # fmt: skip
        process = _start(stack, task, life)
        for pipe in (report, *(stream for stream, _ in streams)):
            pipe.write.close()
        relayed = [stream for _, stream in streams]
        late = relay.attend(process, relayed, interrupts, command.timeout, hangup=command.interactive)
        outcome = _outcome(report.read.read(), late)
        for stream in relayed:
            if outcome.status == 0 and stream.unlogged is not None:
                raise stream.unlogged
    interrupts.check()
    return outcome


def require_terminal() -> None:
    """Raise UsageError unless standard input is a terminal, and this process is in its foreground."""
    with terminal.lent() as tty:
        if tty is None or not os.isatty(0):
            raise UsageError(
                "an interactive session needs a terminal, in its foreground",
                hint="for a session without one: sysmut --script FILE, or sysmut run -- COMMAND",
            )


class _Pipe:
    """Both ends, closed at the latest when the stack is."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        self.read = stack.enter_context(os.fdopen(read, "rb", buffering=0))
        self.write = stack.enter_context(os.fdopen(write, "wb", buffering=0))


def _streams(
    stack: contextlib.ExitStack, outputs: tuple[int, int], log: int, null: int
) -> tuple[list[tuple[_Pipe, relay.Stream]], tuple[int, int, int]]:
    """The pipes for the command's output, with their streams, and its standard descriptors. Where
    both outputs are the same file (a terminal, 2>&1), one pipe serves both, and the order is kept."""
    pipes = [_Pipe(stack)]
    if not os.path.samestat(os.fstat(outputs[0]), os.fstat(outputs[1])):
        pipes.append(_Pipe(stack))
    streams = [(p, relay.Stream(p.read.fileno(), target, log)) for p, target in zip(pipes, outputs, strict=False)]
    return streams, (null, pipes[0].write.fileno(), pipes[-1].write.fileno())


def _start(stack: contextlib.ExitStack, task: keeper.Task, life: _Pipe) -> int:
    """Start the keeper; a pidfd of it. It is killed and reaped when the stack ends."""
    syscalls.unshare(syscalls.CLONE_NEWPID)
    # A signal that comes before the keeper can pass it on waits until it can.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    pid = os.fork()
    if pid == 0:
        life.write.close()
        keeper.keep(task)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with open("/proc/self/ns/pid", "rb") as own:  # else the next fork would be into that namespace
        syscalls.setns(own.fileno(), syscalls.CLONE_NEWPID)
    process = os.pidfd_open(pid)
    stack.callback(os.close, process)
    stack.callback(os.waitpid, pid, 0)
    stack.callback(signal.pidfd_send_signal, process, signal.SIGKILL)  # a zombie takes it too
    return process


def _outcome(report: bytes, late: bool) -> Outcome:
    if not report:
        # The keeper was killed before it could tell: by us, or by the kernel for want of memory.
        return Outcome(128 + signal.SIGKILL, late)
    told = json.loads(report)
    if "error" in told:
        raise SysmutError(told["message"], hint=told["hint"], status=told["error"])
    status = int(told["status"])
    return Outcome(128 - status if status < 0 else status, late, bool(told["held"]))
