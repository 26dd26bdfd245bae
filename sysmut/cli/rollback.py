"""`sysmut rollback [X]`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.activate import make_first
from sysmut.cli.frame import require_root


@click.command("rollback")
@naming.argument("generation", required=False, metavar="[GENERATION]")
@click.option("-n", "--dry-run", is_flag=True, help="Show the slots as they would be.")
@options.FORCE
@options.YES
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(generation: str | None, dry_run: bool, yes: bool, **values: Any) -> int:
    """Make the generation before slot 0 slot 0 again.

    Without GENERATION, that is the booted one where a fallback is booted, else the first that differs
    from slot 0; doing it twice changes nothing. With GENERATION, it is the same as activate.
    """
    require_root()
    return make_first(generation, dry_run, yes, values)
