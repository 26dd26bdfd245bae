"""`sysmut unpin NAME`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.cli.pin import change_pins


@click.command("unpin")
@naming.PIN
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(name: str, **values: Any) -> None:
    """Take a pin away.

    The generation stays until syscln runs, or for as long as something else keeps it.
    """
    require_root()
    from sysmut import generations

    def change(top: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        generation = state.pins.get(name)
        after = generations.unpin(top, state, name)
        return after, {"pin": name, "generation": generation, "dangling": generation is None}

    change_pins("unpinned", change, values)
