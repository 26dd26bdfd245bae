"""`sysmut refind`."""

from typing import Any

import click
from click.core import ParameterSource

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import UsageError


@click.command("refind")
@click.option("--install", is_flag=True, help="Write it to the system partition, and include it in refind.conf.")
@click.option("--setup", is_flag=True, help="Put rEFInd itself there, and into the firmware's boot order.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be changed.")
@click.option("--title", metavar="TEXT", help="The entry's title; else the distribution's name.")
@click.option("--icon", metavar="PATH", help="The entry's icon, from the top of the system partition.")
@click.option("--kernel-options", metavar="TEXT", help="Added to every kernel command line.")
@click.option("--panic", type=int, metavar="SECONDS", help="A kernel that panics reboots after so long (30).")
@click.option(
    "--from",
    "source",
    metavar="DIR",
    shell_complete=naming.directories,
    help="With --setup: where rEFInd's own files are.",
)
@click.option("--removable", is_flag=True, help="With --setup: as EFI/BOOT, which needs no firmware entry.")
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(install: bool, setup: bool, dry_run: bool, source: str | None, removable: bool, **values: Any) -> None:
    """Print the boot menu for rEFInd, or put it on the system partition.

    Slot 0 is the entry, and the other slots, the pins, and each once more with changes that vanish at
    reboot where the initramfs can do that (overlaytmpfs), are in its submenu.
    """
    require_root()
    if not setup and (source is not None or removable):
        raise UsageError("--from and --removable are for --setup")
    if dry_run and not (install or setup):
        raise UsageError("--dry-run is for --install and --setup", hint="without them nothing is changed")
    from sysmut import generations, toplevel

    console = options.console(values)
    config = options.settings(values)
    with toplevel.opened(config) as top, toplevel.locked(top):
        state = generations.read(top)
        if not (install or setup):
            _print(console, top, state, config)
            return
        from sysmut.menu import esp

        device = None if config.esp else toplevel.block_device(top)
        with esp.opened(config.esp, device, config.image, writable=not dry_run) as partition:
            first = _plan_setup(top, state, partition, source, removable=removable) if setup else None
            second = _plan_install(console, top, state, config, partition, first) if install else None
            told = [*(_tell_setup(console, first) if first else ()), *(_tell_install(second) if second else ())]
            _carry_out(console, partition, first, second, told, dry_run=dry_run)
    if install and not dry_run:
        _advise(console, config, partition.path)


def _advise(console: Console, config: Any, place: str) -> None:
    """What belongs into the settings, for the menu to be kept as it is now; `place` is where the partition is."""
    context = click.get_current_context()
    given = [
        name
        for name in ("kernel", "kernel_options", "panic", "title", "icon", "volume", "esp")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    names = ", ".join(given)
    if config.esp is None:
        shown = "PLACE" if place.startswith("/run/") else place
        more = f", and what was given here: {names}" if names else ""
        what = f'esp = "{shown}"{more}'
        console.note(f"for the menu to be kept up to date, put into /etc/sysmut.toml, in a session: {what}")
    elif given:
        console.note(f"for it to stay so, put into /etc/sysmut.toml, in a session, what was given here: {names}")


def _survey(console: Console, top: Any, state: Any, config: Any) -> Any:
    from sysmut.menu import stanza

    offered = stanza.survey(top, state, config)
    for remark in offered.left_out:
        console.note(f"note: {remark}")
    return offered


def _print(console: Console, top: Any, state: Any, config: Any) -> None:
    from sysmut.menu import install, stanza
    from sysmut.menu.volume import volume_of

    entry = install.entry(top, _survey(console, top, state, config), config, volume_of(top, config))
    if console.as_json:
        console.json({"version": 1, "stanza": stanza.text(entry)})
        return
    for line in stanza.text(entry).removesuffix("\n").split("\n"):
        console.data(line)


def _plan_setup(top: Any, state: Any, partition: Any, source: str | None, *, removable: bool) -> Any:
    from sysmut import layout
    from sysmut.menu import setup

    first = state.slots[0]
    roots = ("/",) if first is None else ("/", top.at(layout.root(first)))
    return setup.plan(partition, roots, source, removable=removable)


def _plan_install(console: Console, top: Any, state: Any, config: Any, partition: Any, first: Any) -> Any:
    """What is to be written, after what `first`, the plan of setting up, writes."""
    from sysmut.menu import install
    from sysmut.menu.volume import volume_of

    offered, volume = _survey(console, top, state, config), volume_of(top, config)
    pending = {copy.target: copy.data for copy in first.copies} if first else {}
    prospect = install.Prospect(partition, pending)
    return install.plan(prospect, lambda where: install.render(top, offered, config, volume, where), top.filesystem)


def _tell_setup(console: Console, plan: Any) -> list[str]:
    for path in plan.kept:
        console.note(f"/{path} is newer than what is at hand, and stays")
    return list(plan.lines) or ["rEFInd is on the system partition already"]


def _tell_install(plan: Any) -> list[str]:
    lines = [line for change in plan.changes for line in change.diff]
    return [*(lines or ["the boot menu is as it should be"]), *plan.advice]


def _carry_out(console: Console, partition: Any, first: Any, second: Any, told: list[str], *, dry_run: bool) -> None:
    """Show all of it, and then do it. What would be done is what was asked for; what is done is told by
    the way."""
    from sysmut.menu import install, setup

    show = console.data if dry_run and not console.as_json else console.note
    for line in told:
        show(line)
    changes = [*(first.lines if first else ()), *(f"write /{each.path}" for each in (second.changes if second else ()))]
    if not dry_run:
        if first:
            setup.execute(partition, first)
        if second:
            install.apply(partition, second.changes)
        if changes:
            console.note("done: " + ("the boot menu is written" if second else "rEFInd is set up"))
    if console.as_json:
        console.json({"version": 1, "changed": bool(changes) and not dry_run, "dry_run": dry_run, "changes": changes})
