"""What generations are called on the command line: arguments that a shell can complete."""

from typing import Any

import click
from click.shell_completion import CompletionItem


def _generations(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Slots, pins, `booted` and ids that begin so, with what each is; nothing where that cannot be read."""
    return [item for item in _known(ctx) if item.value.startswith(incomplete)]


def _pins(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [item for item in _known(ctx) if item.value.startswith(incomplete) and item.help == "pin"]


def _known(_ctx: click.Context) -> list[CompletionItem]:
    return []


GENERATION = click.argument("generation", metavar="GENERATION", shell_complete=_generations)
"""One generation, by any name."""

PIN = click.argument("name", metavar="NAME", shell_complete=_pins)
"""A pin."""


def argument(name: str, **options: Any) -> Any:
    """An argument that names one generation or several."""
    return click.argument(name, shell_complete=_generations, **options)
