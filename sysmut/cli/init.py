"""`sysmut init [SOURCE]`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.cli.progress import Progress


@click.command("init")
@click.argument("source", required=False, metavar="[SOURCE]", shell_complete=naming.files)
@click.option(
    "--common",
    "commons",
    multiple=True,
    metavar="PATH",
    help="A directory that no generation owns, as /home; `recommended` stands for those that suit the distribution.",
)
@options.SLOTS
@options.MIN_FREE
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done.")
@options.common
def command(source: str | None, commons: tuple[str, ...], dry_run: bool, **values: Any) -> None:
    """Make a top level and take in the first generation.

    SOURCE is a directory, a tar archive (plain, gzip, xz or zstd), a btrfs subvolume (its path, or
    subvol=@rootfs from the top level), or / for the running root, which is what is taken where SOURCE
    is not given. A subvolume of the same filesystem is snapshotted,
    all else is copied; the source is never changed.

    On a sysmut system it changes nothing.
    """
    require_root()
    from sysmut import install, layout, toplevel
    from sysmut.signals import Interrupts

    console = options.console(values)
    config = options.settings(values)
    slots = layout.DEFAULT_SLOTS if config.slots is None else config.slots
    request = install.Request(source, commons, slots, config.min_free, config.image)
    with (
        Interrupts() as interrupts,
        toplevel.opened(config) as top,
        Progress(wanted=not console.quiet and not console.as_json) as progress,
    ):
        state = install.existing(top, request)
        if state is not None:
            _tell_existing(console, state, config.slots)
            return
        watch = install.Watch(interrupts, progress.show)
        plan = install.plan(top, request, watch)
        progress.clear()
        if dry_run:
            _tell_plan(console, plan)
            return
        _announce(console, plan)
        result = install.execute(top, plan, watch)
        progress.clear()
    _report(console, plan, result)


def _tell_existing(console: Console, state: Any, slots: int | None) -> None:
    if console.as_json:
        console.json({"version": 1, "changed": False, "dry_run": False, "slots": list(state.slots)})
        return
    console.note(f"already a sysmut system, nothing to do: slot 0 is {state.slots[0]}")
    if slots is not None and slots != len(state.slots):
        console.note(f"it has {len(state.slots)} slots; a session changes that: sysmut --slots {slots}")


def _tell_plan(console: Console, plan: Any) -> None:
    from sysmut import install

    if console.as_json:
        console.json({"version": 1, "changed": False, "dry_run": True, **install.to_json(plan)})
        return
    _announce_recommended(console, plan)
    for line in install.to_lines(plan):
        console.data(line)


def _announce_recommended(console: Console, plan: Any) -> None:
    if plan.recommended:
        console.note(f"commons recommended for {plan.distribution}: {' '.join(plan.recommended)}")


def _announce(console: Console, plan: Any) -> None:
    """What the user should know before it is done."""
    _announce_recommended(console, plan)
    for note in plan.notes:
        console.note(f"note: {note}")


def _report(console: Console, plan: Any, result: Any) -> None:
    from sysmut import install
    from sysmut.generations import slot_lines

    if console.as_json:
        made = {"generation": result.generation, "slots": list(result.state.slots)}
        console.json({"version": 1, "changed": True, "dry_run": False, **made, **install.to_json(plan)})
        return
    console.note(f"made a sysmut system: generation {result.generation}, from {plan.source.given}, is in every slot")
    for line in slot_lines(result.state, None, {}):
        console.note(line)
    for common in plan.commons:
        console.note(f"common {common.path} is the subvolume /{common.subvolume}")
    if result.old_template:
        console.note(f"the template that was there before is kept as /{result.old_template}")
    console.note("the template for every generation's fstab is /fstab at the top level: look through it")
    console.note("then see whether it boots, and set up the boot menu: sysmut check; sysmut refind --setup --install")
    if plan.source.running:
        console.note("reboot into it soon: what is written to the running root from now on stays there")
    else:
        console.note("then sysmut opens a session in a new generation, and sysmut status shows how it stands")
