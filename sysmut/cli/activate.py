"""`sysmut activate X`."""

from typing import Any

import click

from sysmut.cli import options
from sysmut.cli.frame import Console, require_root


@click.command("activate")
@click.argument("generation", metavar="GENERATION")
@click.option("-n", "--dry-run", is_flag=True, help="Show the slots as they would be.")
@options.FORCE
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(generation: str, dry_run: bool, **values: Any) -> None:
    """Make a generation slot 0.

    The others keep their order behind it, without repeats. Where it is slot 0 already nothing is done.
    One that would not boot is refused.
    """
    require_root()
    make_first(generation, dry_run, values)


def make_first(name: str | None, dry_run: bool, values: dict[str, Any]) -> None:
    """Make the generation of that name slot 0; without a name, the one that a rollback goes to."""
    from sysmut import generations, menu, toplevel
    from sysmut.signals import Interrupts

    console = options.console(values)
    force = values.pop("force")
    said: list[str] = []
    warnings: list[str] = []
    config = options.settings(values)
    with (
        Interrupts() as interrupts,
        toplevel.opened(config) as top,
        toplevel.locked(top, interrupts.check),
    ):
        before = generations.read(top)
        booted = generations.booted(top)
        if not dry_run:
            menu.repair(top, config, before, console.note, console.warn)
        if name is None:
            target = generations.rollback_target(top, before, booted)
        else:
            target = generations.find(before, name, booted)
        after = before if target is None else generations.preview(top, before, target)
        if target is not None and after.slots != before.slots:
            _require_bootable(console, top, before, target, config, force=force)
            if not dry_run:
                around = menu.kept_right(top, config, before, said.append, warnings.append)
                after = generations.activate(top, before, target, interrupts.check, around)
    if target is None and not console.as_json:
        console.note(_why_not(before))
        return
    _report(console, before, after, booted, warnings, dry_run=dry_run)
    for line in said:
        console.note(line)
    for line in warnings:
        console.warn(line)


def _require_bootable(console: Console, top: Any, state: Any, target: Any, config: Any, *, force: bool) -> None:
    """Raise BadData for a generation that would not boot, unless forced."""
    from sysmut.boot import checking, sealing

    kernel = checking.is_to_boot(top, (*state.slots, target))
    sealing.verdict(checking.generation(top, target, config, kernel=kernel), force=force, say=console.note)


def _why_not(state: Any) -> str:
    if len(set(state.slots)) == 1:
        return f"nothing to do: every slot holds {state.slots[0]}"
    return (
        "nothing to do: a slot holds a newer generation than slot 0, so a rollback is in force already "
        "(to go further: sysmut rollback SLOT)"
    )


def _report(
    console: Console, before: Any, after: Any, booted: str | None, warnings: list[str], *, dry_run: bool
) -> None:
    from sysmut.status import slot_lines

    changed = after.slots != before.slots
    if console.as_json:
        told = {"changed": changed, "dry_run": dry_run, "current": after.link_set, "slots": list(after.slots)}
        console.json({"version": 1, **told, "warnings": warnings})
        return
    first = after.slots[0]
    if not changed:
        console.note(f"nothing to do: slot 0 is {first} already")
        return
    console.note(f"generation {first} {'would be' if dry_run else 'is'} slot 0 now")
    for line in slot_lines(after, booted, {}):
        console.note(line)
    if first != booted and not dry_run:
        console.note("reboot to run it")
