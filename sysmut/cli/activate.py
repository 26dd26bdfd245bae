"""`sysmut activate X`."""

import os
import sys
from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import Busy
from sysmut.values import field, frozen, replace

_DECLINED = 1
"""The status where the answer was no."""

_OVERTAKEN = "another session published meanwhile, and nothing has changed"


@click.command("activate")
@naming.GENERATION
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
    from sysmut.signals import Interrupts

    work = _Work(options.console(values), name, dry_run, values.pop("force"), options.settings(values))
    console = work.console
    with toplevel.opened(work.config) as top:
        asked = None
        if not yes and not dry_run and _is_to_ask(console):
            with Interrupts() as interrupts, toplevel.locked(top, interrupts.check):
                asked = _choose(work, top, told=True)
            if asked.changes and not _confirmed():  # the lock is not held meanwhile
                console.note("nothing has changed")
                return _DECLINED
        with Interrupts() as interrupts, toplevel.locked(top, interrupts.check):
            choice = _choose(work, top, told=asked is None)
            if asked is not None and asked.after.slots != choice.after.slots:
                raise Busy(_OVERTAKEN, hint="see sysmut status, and try again")
            outcome = _Outcome(choice.after)
            if choice.changes and not dry_run:
                outcome = _carry_out(work, top, choice, interrupts)
    if choice.target is None and not console.as_json:
        console.note(_why_not(choice.before))
        return 0
    _report(work, choice, outcome)
    for line in outcome.said:
        console.note(line)
    for line in outcome.warnings:
        console.warn(line)
    return 0


@frozen
class _Work:
    """What is asked for."""

    console: Console
    name: str | None
    dry_run: bool
    force: bool
    config: Any


@frozen
class _Choice:
    """What is to be slot 0."""

    before: Any
    """The state."""
    booted: str | None
    target: str | None
    """The generation; None where there is none to go back to."""
    after: Any
    impact: dict[str, Any] | None = None
    """As JSON has it."""

    @property
    def changes(self) -> bool:
        return self.target is not None and self.after.slots != self.before.slots


@frozen
class _Outcome:
    """What came of it."""

    state: Any
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _choose(work: _Work, top: Any, *, told: bool) -> _Choice:
    """What is to be slot 0, if it would boot; and, if it is to be told, what will be different. The lock is held."""
    from sysmut import generations, menu

    console = work.console
    before = generations.read(top)
    booted = generations.booted(top)
    if not work.dry_run:
        menu.repair(top, work.config, before, console.note, console.warn)
    if work.name is None:
        target = generations.rollback_target(top, before, booted)
    else:
        target = generations.find(before, work.name, booted)
    after = before if target is None else generations.preview(top, before, target)
    choice = _Choice(before, booted, target, after)
    if not choice.changes or not told:
        return choice
    _require_bootable(console, top, before, target, work.config, force=work.force)
    return replace(choice, impact=_tell_impact(work, top, choice))


def _tell_impact(work: _Work, top: Any, choice: _Choice) -> dict[str, Any] | None:
    """Say what will be different; as JSON has it. Nothing where nobody listens."""
    from sysmut.changes import impact

    first, console = choice.before.slots[0], work.console
    if first is None or (console.quiet and not console.as_json):
        return None
    found = impact.impact(top, first, choice.target or "", work.config)
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


def _carry_out(work: _Work, top: Any, choice: _Choice, interrupts: Any) -> _Outcome:
    """Make it slot 0. The lock is held."""
    from sysmut import generations, history, menu

    said: list[str] = []
    warnings: list[str] = []
    around = menu.kept_right(top, work.config, choice.before, said.append, warnings.append)
    after = generations.activate(top, choice.before, choice.target or "", interrupts.check, around)
    event = "rolled back" if click.get_current_context().info_name == "rollback" else "activated"
    history.note(top, event, said.append, generation=choice.target, instead_of=choice.before.slots[0])
    return _Outcome(after, said, warnings)


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


def _report(work: _Work, choice: _Choice, outcome: _Outcome) -> None:
    from sysmut.generations import slot_lines

    console, after = work.console, outcome.state
    if console.as_json:
        facts = {"changed": choice.changes, "dry_run": work.dry_run, "current": after.link_set}
        slots = list(after.slots)
        console.json({"version": 1, **facts, "slots": slots, "impact": choice.impact, "warnings": outcome.warnings})
        return
    first = after.slots[0]
    if not choice.changes:
        console.note(f"nothing to do: slot 0 is {first} already")
        return
    console.note(f"generation {first} {'would be slot 0' if work.dry_run else 'is slot 0 now'}")
    for line in slot_lines(after, choice.booted, {}):
        console.note(line)
    if choice.booted not in (None, first) and not work.dry_run:
        console.note("reboot to run it")
