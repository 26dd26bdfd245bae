"""`sysmut activate X`."""

import os
import sys
from dataclasses import dataclass
from typing import Any

import click

from sysmut.cli import options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import Busy

_DECLINED = 1
"""The status where the answer was no."""


@click.command("activate")
@click.argument("generation", metavar="GENERATION")
@click.option("-n", "--dry-run", is_flag=True, help="Show the slots as they would be.")
@options.FORCE
@options.YES
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(generation: str, dry_run: bool, yes: bool, **values: Any) -> int:
    """Make a generation slot 0.

    The others keep their order behind it, without repeats. Where it is slot 0 already nothing is done.
    One that would not boot is refused. What will be different is told before, and on a terminal it is asked for.
    """
    require_root()
    return make_first(generation, dry_run, yes, values)


def make_first(name: str | None, dry_run: bool, yes: bool, values: dict[str, Any]) -> int:
    """Make the generation of that name slot 0; without a name, the one that a rollback goes to. The exit status."""
    from sysmut import toplevel

    console = options.console(values)
    force = values.pop("force")
    config = options.settings(values)
    with toplevel.opened(config) as top:
        choice = _choose(console, top, config, name, dry_run=dry_run)
        if choice.target is not None and choice.after.slots != choice.before.slots:
            _require_bootable(console, top, choice.before, choice.target, config, force=force)
            told = _tell_impact(console, top, choice, config)
            if not dry_run:
                if not yes and _is_to_ask(console) and not _confirmed():
                    console.note("nothing has changed")
                    return _DECLINED
                return _carry_out(console, top, choice, config, told)
        else:
            told = None
    if choice.target is None and not console.as_json:
        console.note(_why_not(choice.before))
    else:
        _report(console, choice, choice.after, told, [], dry_run=dry_run)
    return 0


@dataclass(frozen=True)
class _Choice:
    """What is to be slot 0."""

    verb: str
    before: Any
    """The state."""
    booted: str | None
    target: str | None
    """The generation; None where there is none to go back to."""
    after: Any


def _choose(console: Console, top: Any, config: Any, name: str | None, *, dry_run: bool) -> _Choice:
    from sysmut import generations, menu, toplevel
    from sysmut.signals import Interrupts

    with Interrupts() as interrupts, toplevel.locked(top, interrupts.check):
        before = generations.read(top)
        booted = generations.booted(top)
        if not dry_run:
            menu.repair(top, config, before, console.note, console.warn)
        if name is None:
            target = generations.rollback_target(top, before, booted)
        else:
            target = generations.find(before, name, booted)
        after = before if target is None else generations.preview(top, before, target)
    verb = click.get_current_context().info_name or ""
    return _Choice(verb, before, booted, target, after)


def _tell_impact(console: Console, top: Any, choice: _Choice, config: Any) -> dict[str, Any] | None:
    """Say what will be different; as JSON has it. Nothing where nobody listens."""
    from sysmut.changes import impact

    first = choice.before.slots[0]
    if first is None or (console.quiet and not console.as_json):
        return None
    found = impact.impact(top, first, choice.target or "", config)
    if not console.as_json:
        for line in impact.to_lines(found):
            console.note(line)
    return impact.to_json(found)


def _is_to_ask(console: Console) -> bool:
    return not console.quiet and not console.as_json and sys.stdin.isatty() and sys.stderr.isatty()


def _confirmed() -> bool:
    """Ask on the terminal; no where the answer is anything but yes."""
    os.write(sys.stderr.fileno(), b"go on? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _carry_out(console: Console, top: Any, choice: _Choice, config: Any, told: dict[str, Any] | None) -> int:
    from sysmut import generations, history, menu, toplevel
    from sysmut.signals import Interrupts

    said: list[str] = []
    warnings: list[str] = []
    with Interrupts() as interrupts, toplevel.locked(top, interrupts.check):
        before = generations.read(top)
        if before != choice.before and before.slots != choice.before.slots:
            raise Busy(
                "another session published meanwhile, and nothing has changed", hint="see sysmut status, and try again"
            )
        around = menu.kept_right(top, config, before, said.append, warnings.append)
        after = generations.activate(top, before, choice.target or "", interrupts.check, around)
        event = "rolled back" if choice.verb == "rollback" else "activated"
        history.note(top, event, console.note, generation=choice.target, instead_of=before.slots[0])
    _report(console, choice, after, told, warnings, dry_run=False)
    for line in said:
        console.note(line)
    for line in warnings:
        console.warn(line)
    return 0


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
    console: Console, choice: _Choice, after: Any, told: dict[str, Any] | None, warnings: list[str], *, dry_run: bool
) -> None:
    from sysmut.status import slot_lines

    changed = after.slots != choice.before.slots
    if console.as_json:
        facts = {"changed": changed, "dry_run": dry_run, "current": after.link_set, "slots": list(after.slots)}
        console.json({"version": 1, **facts, "impact": told, "warnings": warnings})
        return
    first = after.slots[0]
    if not changed:
        console.note(f"nothing to do: slot 0 is {first} already")
        return
    console.note(f"generation {first} {'would be' if dry_run else 'is'} slot 0 now")
    for line in slot_lines(after, choice.booted, {}):
        console.note(line)
    if first != choice.booted and not dry_run:
        console.note("reboot to run it")
