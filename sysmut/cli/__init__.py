"""The command line: parse, one call, print. Nothing below here prints or exits.

Each verb is a small module of this package, imported when it is used.
"""

import gc

gc.disable()  # before the imports: the process is short-lived, and collecting costs more than it frees

import signal  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until somebody heeds it, Ctrl-C just ends the process: no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import NoReturn  # noqa: E402

import click  # noqa: E402

from sysmut import __version__  # noqa: E402
from sysmut.cli import frame, naming  # noqa: E402
from sysmut.errors import UsageError  # noqa: E402

GROUPS = {
    "Change": {
        "run": "Run one command in a new generation and publish it.",
        "activate": "Make a generation slot 0.",
        "rollback": "Make the generation before slot 0 slot 0 again.",
    },
    "Look": {
        "status": "Show what is booted, the slots, and what waits for syscln.",
        "list": "List the generations, newest first.",
        "show": "Tell all about one generation.",
        "diff": "Show what differs between two generations.",
        "log": "Show what has happened.",
        "check": "Say whether generations would boot.",
        "shell": "Open a shell in a generation, to look around: nothing can be changed.",
        "mount": "Mount a generation, read-only.",
        "umount": "Unmount what `mount` has mounted.",
    },
    "Keep": {
        "pin": "Keep a generation, by a name that the boot menu offers.",
        "unpin": "Take a pin away.",
        "describe": "Say what a generation is for.",
        "delete": "Delete generations that nothing refers to.",
    },
    "Set up": {
        "init": "Make a top level and take in the first generation.",
        "refind": "Print the boot menu for rEFInd, or put it on the system partition.",
        "completion": "Print what makes a shell complete sysmut's command lines.",
    },
}
"""The verbs, as `--help` lists them."""

VERBS = {name: said for group in GROUPS.values() for name, said in group.items()}
SESSION = "session"

VALUED = frozenset(
    (
        *("--config", "--description", "--device", "--environment", "--esp", "--image", "--kernel", "--min-free"),
        *("--mount", "--resolver", "--root", "--script", "--shell", "--slots", "--timeout", "--volume", "-e"),
    )
)
"""The options of a session that take a value: to know them from a verb without making them all."""

_EPILOG = """\
Without a COMMAND, `sysmut [OPTIONS] [SLOT]` opens a session: `sysmut session --help` lists its
options. SLOT is 0 if not given; a generation is named by slot, id, unique beginning of an id, pin,
or `booted`.
"""


class _Verbs(click.Group):
    """The verbs, loaded late; a command line that names none is a session's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, SESSION]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS and name != SESSION:
            return None
        module = importlib.import_module(f"sysmut.cli.{name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] not in (["--help"], ["-h"], ["--version"]):
            args = self._with_verb_first(ctx, args)
        return super().parse_args(ctx, args)

    def _with_verb_first(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments with their verb at the front: options that every verb has may come before it."""
        position = 0
        while position < len(args) and args[position].startswith("-") and args[position] not in ("-", "--"):
            position += 2 if args[position] in VALUED else 1
        if position < len(args) and args[position] in (*VERBS, SESSION):
            return [args[position], *args[:position], *args[position + 1 :]]
        if ctx.resilient_parsing:  # a shell asks what may come next
            ctx.meta[naming.ALSO] = VERBS
        elif position < len(args):
            _refuse_misspelt(args[position])
        return [SESSION, *args]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(verbs.items()))


def _refuse_misspelt(name: str) -> None:
    """Raise UsageError for what is nearly a verb: it is hardly meant as the name of a generation."""
    if name.isalpha() and name != "booted":
        import difflib

        close = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.8)
        if close:
            raise UsageError(f"there is no command {name!r}", hint=f"did you mean {close[0]}?")


@click.command(
    cls=_Verbs,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARGS]... | [OPTIONS] [SLOT]",
    options_metavar="",
)
@click.version_option(__version__, prog_name="sysmut")
def command() -> None:
    """Change a read-only btrfs root as a whole: a new generation, or nothing.

    sysmut snapshots the generation in SLOT, runs a shell, script or command in the new one, and, if
    that succeeds, makes it slot 0, which boots next. If it fails, nothing has happened.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script `sysmut`."""
    frame.leave(frame.run(command, "sysmut", arguments))  # not by name: `run` is a verb's module, too
