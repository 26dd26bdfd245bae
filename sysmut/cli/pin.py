"""`sysmut pin X [NAME]`, and what `sysmut unpin` shares with it."""

from collections.abc import Callable
from typing import Any

import click

from sysmut.cli import looking, naming, options
from sysmut.cli.frame import require_root
from sysmut.errors import UsageError


@click.command("pin")
@naming.GENERATION
@click.argument("name", required=False, metavar="[NAME]")
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(generation: str, name: str | None, **values: Any) -> None:
    """Keep a generation, by a name that the boot menu offers.

    syscln does not delete it, and every command takes NAME for it. Without NAME, that is its id.
    """
    require_root()
    from sysmut import generations
    from sysmut.cli import SESSION, VERBS

    if name in (*VERBS, SESSION):
        raise UsageError(f"a pin cannot be called {name!r}, which is a command", hint="take another name")

    def change(top: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        target = generations.find(state, generation, generations.booted(top))
        chosen = target if name is None else name
        after = generations.pin(top, state, target, chosen)
        return after, {"pin": chosen, "generation": target}

    change_pins("pinned", change, values)


def change_pins(event: str, change: Callable[[Any, Any], tuple[Any, dict[str, Any]]], values: dict[str, Any]) -> None:
    """Change the pins under the lock, have the menu follow, and tell of it. `change` is given the top level and the
    state, and returns the state then and what it did: `pin`, `generation`, and `dangling` for one that led nowhere."""
    from sysmut import generations, history, menu, toplevel
    from sysmut.boot import checking
    from sysmut.signals import Interrupts

    console = options.console(values)
    config = options.settings(values)
    said: list[str] = []
    with Interrupts() as interrupts, toplevel.opened(config) as top:
        with toplevel.locked(top, interrupts.check):
            before = generations.read(top)
            after, facts = change(top, before)
            dangling = facts.pop("dangling", False)
            changed = dangling or dict(after.pins) != dict(before.pins)
            if changed:
                history.note(top, event, said.append, **facts)
                follows = "the boot menu was brought up to date"
                menu.repair(top, config, after, lambda _: said.append(follows), console.warn)
        if changed and config.esp is None and checking.is_to_boot(top, after.slots):
            said.append("the boot menu does not know of it yet: sysmut refind --install")
        fate = "" if console.as_json or facts["pin"] in after.pins else _fate(top, config, facts["generation"])
    if console.as_json:
        console.json({"version": 1, "changed": changed, **facts, "pins": dict(after.pins)})
        return
    state = f"generation {facts['generation']} is pinned as {facts['pin']}"
    if not changed:
        console.note(f"nothing to do: {state} already")
        return
    console.note(f"the pin {facts['pin']} is gone{fate}" if fate or dangling else state)
    for line in said:
        console.note(line)


def _fate(top: Any, config: Any, generation: str | None) -> str:
    """What becomes of a generation that is pinned no more."""
    plan = looking.planned(top, config)
    for verdict in plan.verdicts:
        if verdict.generation == generation:
            if verdict.keep:
                return f"; generation {generation} is kept: {', '.join(verdict.reasons)}"
            return f"; generation {generation} goes when syscln runs"
    return ""
