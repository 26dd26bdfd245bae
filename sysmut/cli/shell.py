"""`sysmut shell X [-- COMMAND…]`."""

import sys
from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.cli.run import BeforeDashes


@click.command("shell", cls=BeforeDashes, options_metavar="[OPTIONS]")
@naming.argument("generation", metavar="GENERATION [-- COMMAND...]")
@options.inside
@options.common
@click.pass_context
def command(ctx: click.Context, generation: str, **values: Any) -> int:
    """Open a shell in a generation, to look around: nothing can be changed.

    The generation and the commons are read-only in it; what is written to /tmp and /run is gone afterwards. With a
    COMMAND, that is run instead. The status is the shell's or the command's.
    """
    require_root()
    from sysmut import session, toplevel
    from sysmut.signals import Interrupts

    console = options.console(values)
    config = options.settings(values)
    argv = ctx.meta.get("sysmut.argv", ())
    request = session.Request(
        program=session.Program(name=argv[0], argv=argv) if argv else session.Program(),
        source=generation,
        outputs=(sys.stdout.fileno(), sys.stderr.fileno()),
        say=console.detail,
        announce=console.note,
        **values,
    )
    with Interrupts() as interrupts, toplevel.opened(config) as top:
        return session.look(top, config, request, interrupts)
