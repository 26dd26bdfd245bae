"""The keeper: first process of a session's pid namespace, and parent of the command.

It runs in a forked child of sysmut and never returns: it tells what happened through a pipe, as one
line of JSON, and ends. With it, the kernel ends every process of its namespace.
"""

import errno
import json
import os
import select
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from sysmut import signals, syscalls
from sysmut.errors import SysmutError, from_oserror
from sysmut.sandbox import ending, terminal
from sysmut.sandbox.mounting import File, Mount, Root
from sysmut.values import frozen

_LONGEST = 1000
"""Characters of a message: it must fit into a pipe that nobody reads before its writer has ended."""


@frozen
class Task:
    """What the keeper is to do."""

    root: str
    mounts: tuple[Mount, ...]
    files: tuple[File, ...]
    argv: tuple[str, ...]
    fallback: tuple[str, ...]
    environment: dict[str, str]
    stdio: tuple[int, int, int]
    """The command's standard input, output and error."""
    terminal: int | None
    """The terminal to give to the command; None makes it a session without one."""
    report: int
    """Where the keeper writes what happened."""
    life: int
    """A pipe that closes when sysmut ends."""
    release: Callable[[], object]
    """Ends what the kernel itself holds open of the generation, when the command has ended."""
    read_only: bool
    """Whether the generation is only to be looked at."""


def keep(task: Task) -> NoReturn:
    """Make the mounts, run the command, reap until it has ended, report, end."""
    status = 1
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        if select.select([task.life], [], [], 0)[0]:
            os._exit(1)  # sysmut was gone before the line above
        signal.set_wakeup_fd(-1)
        _report(task.report, _work(task))
        status = 0
    except SysmutError as error:
        _report(task.report, _failure(error))
    except OSError as error:
        _report(task.report, _failure(from_oserror(error)))
    except BaseException as error:  # a defect: it must not run on as a second sysmut
        _report(task.report, _failure(SysmutError(f"{type(error).__name__}: {error}", status=70)))
    finally:
        os._exit(status)


def _work(task: Task) -> dict[str, Any]:
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    root = Root(task.root, read_only=task.read_only)
    root.mount(task.mounts)
    root.put(task.files)
    problem, told = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _become(task, root.fd, told)
    os.close(told)
    _forward_signals(child)
    status = _reap(child, task.terminal)
    failed = os.read(problem, 65536)
    if failed:
        return dict(json.loads(failed))
    ending.kill_everybody()
    root.remove_placeholders()
    let_go = status != 0 or task.read_only or ending.is_let_go(task.root, root.fd, task.release)
    return {"status": os.waitstatus_to_exitcode(status), "held": not let_go}


def _forward_signals(child: int) -> None:
    def forward(number: int, _frame: object) -> None:
        for target in (-child, child):  # by itself too: it may not lead its group yet
            try:
                os.kill(target, number)
                os.kill(target, signal.SIGCONT)
            except ProcessLookupError:
                pass

    for number in signals.ENDING:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ENDING)


def _reap(child: int, tty: int | None) -> int:
    """Wait for the command; whatever else was orphaned is reaped too. A command that stops itself
    goes on: nobody could ever continue it."""
    while True:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if pid == child and os.WIFSTOPPED(status):
            if tty is not None:
                terminal.give(tty, child)
            os.kill(-child, signal.SIGCONT)
        elif pid == child:
            return status


def _become(task: Task, root: int, told: int) -> NoReturn:
    """Turn this process into the command."""
    try:
        if task.terminal is None:
            os.setsid()
        else:
            os.setpgid(0, 0)
            terminal.give(task.terminal, os.getpid())
        for number, fd in enumerate(task.stdio):
            os.dup2(fd, number)
        os.fchdir(root)
        os.chroot(".")
        signals.reset()
        os.umask(0o022)
        _execute(task)
    except SysmutError as error:
        _report(told, _failure(error))
    except OSError as error:
        _report(told, _failure(from_oserror(error)))
    finally:
        os._exit(1)


def _execute(task: Task) -> NoReturn:
    name = task.argv[0]
    try:
        os.execvpe(name, task.argv, task.environment)
    except OSError as error:
        if error.errno == errno.ENOEXEC and task.fallback:
            name = task.fallback[0]
            try:
                os.execvpe(name, task.fallback, task.environment)
            except OSError as another:
                raise _cannot_run(name, another) from None
        raise _cannot_run(name, error) from None


def _cannot_run(name: str, error: OSError) -> SysmutError:
    """The statuses of a shell: 127 for what is not found, 126 for what cannot be run."""
    if error.errno in (errno.E2BIG, errno.ENOMEM):
        return from_oserror(error)
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    if missing and os.path.lexists(name):
        reason, hint = "its interpreter is not in this generation", "see its first line, and for a CR at its end"
    elif missing:
        reason, hint = "not found in this generation", ""
    else:
        reason, hint = f"cannot be run: {error.strerror}", ""
    return SysmutError(f"{name}: {reason}", hint=hint, status=127 if missing else 126)


def _failure(error: SysmutError) -> dict[str, Any]:
    return {"message": error.message[:_LONGEST], "hint": error.hint[:_LONGEST], "error": error.status}


def _report(fd: int, value: dict[str, Any]) -> None:
    os.write(fd, json.dumps(value).encode())
