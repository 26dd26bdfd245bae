"""`sysmut run [SLOT] -- COMMAND…`."""

from typing import TYPE_CHECKING, Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.cli.session import carry_out
from sysmut.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class BeforeDashes(click.Command):
    """Keeps what comes after `--` apart from what comes before."""

    needed = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            position = args.index("--")
            ctx.meta["sysmut.argv"] = tuple(args[position + 1 :])
            args = args[:position]
        elif self.needed and not ctx.resilient_parsing and not {"-h", "--help"} & set(args):
            raise UsageError("put -- before the command", hint="sysmut run [OPTIONS] [SLOT] -- COMMAND [ARGUMENT]...")
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        if "sysmut.argv" in ctx.meta:
            return naming.files(ctx, None, incomplete)
        return super().shell_complete(ctx, incomplete)


class _Command(BeforeDashes):
    needed = True


@click.command("run", cls=_Command, options_metavar="[OPTIONS]")
@naming.argument("slot", required=False, default="0", metavar="[SLOT] -- COMMAND...")
@options.session
@options.common
@click.pass_context
def command(ctx: click.Context, slot: str, **values: Any) -> None:
    """Run one command in a new generation and publish it.

    The command has no terminal, and reads standard input from /dev/null. If it ends with status 0
    the generation becomes slot 0; else it is discarded, and the status is passed on.
    """
    require_root()
    from sysmut.session import Program

    argv = ctx.meta.get("sysmut.argv", ())
    if not argv or not argv[0]:
        raise UsageError("no command to run", hint="sysmut run [SLOT] -- COMMAND [ARGUMENT]...")
    carry_out(slot, Program(name=argv[0], argv=argv), values)
