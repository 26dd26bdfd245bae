"""`sysmut describe X TEXT`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root


@click.command("describe")
@naming.GENERATION
@click.argument("text", metavar="TEXT")
@options.common
def command(generation: str, text: str, **values: Any) -> None:
    """Say what a generation is for.

    The description is kept in its record, and shown by list, status and show. An empty one takes it away.
    """
    require_root()
    from sysmut import generations, toplevel

    console = options.console(values)
    with toplevel.opened(options.settings(values)) as top, toplevel.locked(top):
        state = generations.read(top)
        target = generations.find(state, generation, generations.booted(top))
        generations.describe(top, target, text)
    if console.as_json:
        console.json({"version": 1, "generation": target, "description": text})
    else:
        console.note(f"generation {target} is described as: {text}" if text else f"generation {target}: no description")
