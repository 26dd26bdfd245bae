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

    kept: list[str] = []

    def change(top: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        generation = state.pins.get(name)
        after = generations.unpin(top, state, name)
        kept.extend(after.references(generation) if generation else ())
        return after, {"pin": name, "generation": generation, "dangling": generation is None}

    changed = change_pins("unpinned", change, values)
    if changed is not None:
        console, facts = changed
        fate = f"is kept by {', '.join(kept)}" if kept else "goes when syscln runs"
        console.note(f"the pin {name} is gone; generation {facts['generation'] or '(none)'} {fate}")
