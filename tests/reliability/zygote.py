"""sysmut and syscln as they are, without their start-up: a process that has them loaded forks for each
command. A search over thousands of points would else spend its time in Python's imports.

Run as a program it is that process: for each line of JSON with a command there are two out, with the `process`
when it has begun, and with `status`, `output` and `errors` when it has ended.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from tests.lab import Finished, without_coverage

_LOADED = (
    *("sysmut.session", "sysmut.cleanup", "sysmut.menu", "sysmut.boot.sealing", "sysmut.boot.loading", "sysmut.status"),
    *("sysmut.cli.session", "sysmut.cli.run", "sysmut.cli.activate", "sysmut.cli.rollback", "sysmut.cli.status"),
    *("sysmut.cli.syscln", "sysmut.cli.check", "tomllib", "hashlib"),
)


class Zygote:
    """A context in which commands are run, one at a time. `prepare` (MODULE:FUNCTION) is called in each
    fork before the command: what a control does otherwise than sysmut, or where it is to wait."""

    def __init__(self, prepare: str = "", **environment: str) -> None:
        self._prepare = prepare
        self._environment = without_coverage() | environment

    def __enter__(self) -> "Zygote":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote", str(os.getpid()), self._prepare],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], env=self._environment,
            process_group=0, bufsize=0,  # what is read ahead would not be selected
        )  # fmt: skip
        return self

    def run(self, program: str, *arguments: str | Path, timeout: float = 60) -> Finished:
        """Run `sysmut` or `syscln` with these arguments to its end, without a terminal."""
        self.start(program, *arguments)
        return self.finish(timeout)

    def start(self, program: str, *arguments: str | Path) -> int:
        """Start it; its process id. `finish` is to follow."""
        self._command = [program, *map(str, arguments)]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._command).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._answer(60)["process"])

    def finish(self, timeout: float = 60) -> Finished:
        """Wait for the end of what was started."""
        told = self._answer(timeout)
        return Finished(self._command, told["status"], told["output"], told["errors"])

    def _answer(self, timeout: float) -> Any:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self._end()
            raise subprocess.TimeoutExpired(self._command, timeout)
        return json.loads(self._process.stdout.readline())

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _command(program: str, arguments: list[str], outputs: tuple[int, int], prepare: str) -> NoReturn:
    """In the fork: the command, in the place of this process."""
    null = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((null, *outputs)):
        os.dup2(fd, number)
        os.set_inheritable(number, True)
    if prepare:
        module, _, function = prepare.partition(":")
        getattr(importlib.import_module(module), function)()
    main = importlib.import_module({"sysmut": "sysmut.cli", "syscln": "sysmut.cli.syscln"}[program]).main
    try:
        main(arguments)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _serve(prepare: str) -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    for line in requests:
        program, *arguments = json.loads(line)
        outputs = (os.memfd_create("output"), os.memfd_create("errors"))
        child = os.fork()
        if child == 0:
            _command(program, arguments, outputs, prepare)
        tell(process=child)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output, errors = (_content(fd) for fd in outputs)
        tell(status=status, output=output, errors=errors)


def _content(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


if __name__ == "__main__":
    from sysmut import syscalls

    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # whoever asked for it is gone already
    for _name in _LOADED:
        importlib.import_module(_name)
    _serve(sys.argv[2])
