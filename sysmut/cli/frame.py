"""What every command has around it: one place where an error becomes one line and an exit status."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from sysmut.errors import NotRoot, SysmutError, SystemFailure, from_oserror
from sysmut.layout import shown

_CONTROLS = "[\0-\x1f\x7f\u0080-\u009f\ud800-\udc7f\udd00-\udfff]"
_LOST_READER = 128 + 13


class _LostReader(Exception):
    """Nobody reads the output any more."""


class Console:
    """Where a command writes: data to standard output, everything else to standard error."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json

    def data(self, line: str) -> None:
        """A line of what was asked for."""
        _write(sys.stdout, line)

    def text(self, line: str) -> None:
        """A line of a text that was asked for: its tabs stay."""
        _write(sys.stdout, "\t".join(map(printable, line.split("\t"))), escape=False)

    def fields(self, values: Sequence[str]) -> None:
        """A line of what was asked for, for a script: fields with a tab between them."""
        _write(sys.stdout, "\t".join(map(printable, values)), escape=False)

    def json(self, value: Any) -> None:
        """What was asked for, as JSON."""
        import json  # late, as what follows that few commands need

        _write(sys.stdout, json.dumps(value, indent=2), escape=False)

    def note(self, line: str) -> None:
        """What happened, and what to do next; not under --quiet."""
        if not self.quiet:
            _tell(line)

    def warn(self, line: str) -> None:
        """What must be known before the next reboot; under --quiet too."""
        _tell(line)

    def detail(self, line: str) -> None:
        """What is told under --verbose only."""
        if self.verbose:
            _tell(line)


def _tell(line: str) -> None:
    """A line on standard error, which changes nothing of what was done where nobody can read it."""
    with contextlib.suppress(SystemFailure, _LostReader):
        _write(sys.stderr, line)


def _write(stream: Any, line: str, *, escape: bool = True) -> None:
    """One line, whatever is in the names in it: control characters are escaped, and bytes that are no
    text are written as they are. Unbuffered: Python would try again at exit what could not be written."""
    text = printable(line) if escape else line
    rest = text.encode("utf-8", errors="surrogateescape") + b"\n"
    try:
        stream.flush()
        while rest:
            rest = rest[os.write(stream.fileno(), rest) :]
    except BrokenPipeError:
        raise _LostReader from None  # click would make of it an exit with status 1
    except OSError as error:
        raise SystemFailure(f"{stream.name.strip('<>')}: {error.strerror}") from None


def printable(text: str) -> str:
    """The text with control characters, line ends too, and what UTF-8 cannot say, as escapes."""
    if text.isprintable():
        return text
    import re

    return re.sub(_CONTROLS, lambda match: f"\\x{ord(match[0]):02x}", text)


def require_root() -> None:
    """Raise NotRoot unless this process may do everything."""
    if os.geteuid() != 0:
        raise NotRoot("only root can do this", hint="run it with sudo or doas")


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> int:
    """Run a command; its exit status. Whatever goes wrong is one line on standard error, with a hint
    behind it; under --json it is a value on standard output too."""
    _open_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    try:
        return int(command.main(given, prog_name=name, standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    except _LostReader:
        return _LOST_READER
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f"{where.command_path if where else name} --help"
        message = error.format_message().removesuffix(".").replace(" Did you", "; did you")
        return _fail(name, SysmutError(message[:1].lower() + message[1:], hint=hint, status=64), options)
    except SysmutError as error:
        return _fail(name, error, options)
    except OSError as error:
        return _fail(name, from_oserror(error), options)
    except Exception as error:  # a defect of sysmut's own
        import traceback

        if "-v" in options or "--verbose" in options:
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        message = f"a defect in sysmut: {type(error).__name__}: {error} ({where})"
        return _fail(name, SysmutError(message, hint="please report it, with what -v shows", status=70), options)


def _fail(name: str, error: SysmutError, options: list[str]) -> int:
    message, hint = shown(error.message), shown(error.hint)
    with contextlib.suppress(SystemFailure, _LostReader):  # nobody reads: the exit status still tells
        _write(sys.stderr, f"{name}: {message}" + (f" ({hint})" if hint else ""))
        if "--json" in options:
            told = {"message": message, "hint": hint, "status": error.status, "origin": error.origin}
            Console().json({"version": 1, **error.details, "error": {**told, "generation": error.generation}})
    return error.status


def _open_streams() -> None:
    """Put /dev/null in the place of standard streams that are closed, so that no other file gets
    their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def leave(status: int) -> NoReturn:
    """End the process at once. The interpreter's own way out takes memory apart that the kernel frees
    anyway, a tenth of the time of a session, and fails once more on output that nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)
