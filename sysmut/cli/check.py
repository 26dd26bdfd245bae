"""`sysmut check [X…]`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import BadData, SysmutError, from_oserror


@click.command("check")
@naming.argument("names", nargs=-1, metavar="[GENERATION]...")
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(names: tuple[str, ...], **values: Any) -> int:
    """Say whether generations would boot.

    Without GENERATION, every slot, every pin and the filesystem are looked at. Each finding is one line:
    what, where, what to do. The status is 65 if something would not boot.
    """
    require_root()
    from sysmut import generations, toplevel
    from sysmut.boot import checking

    console = options.console(values)
    config = options.settings(values)
    with toplevel.opened(config) as top:
        state = generations.read(top)
        booted = generations.booted(top)
        wanted = [generations.find(state, name, booted) for name in names] or sorted(state.referenced)
        system = checking.is_to_boot(top, {*state.referenced, *wanted})
        found = [*checking.filesystem(top, state)]
        for name in dict.fromkeys(wanted):
            found += checking.generation(top, name, config, kernel=system)
        found += of_menu(top, config, state)
    errors = [finding for finding in found if finding.severity == "error"]
    if console.as_json:
        _tell_json(console, found, wanted, system=system)
        return BadData.status if errors else 0
    _tell(console, found, state, system=system)
    if not errors:
        return 0
    doomed = dict.fromkeys(_called(finding.generation, state) for finding in errors)
    raise SysmutError(f"would not boot: {'; '.join(doomed)}", status=BadData.status)


def of_menu(top: Any, config: Any, state: Any) -> list[Any]:
    """What is found of the boot menu, where the settings name the system partition."""
    from sysmut import menu
    from sysmut.boot.finding import Findings

    findings = Findings(None)
    try:
        if menu.is_stale(top, config, state):
            findings.warning("the boot menu", "is not the one for these slots", "write it: sysmut refind --install")
    except (SysmutError, OSError) as error:
        problem = from_oserror(error) if isinstance(error, OSError) else error
        findings.warning("the boot menu", f"could not be looked at: {problem.message}", problem.hint)
    return findings.found


def _called(generation: str | None, state: Any) -> str:
    """What a generation is called, for a list; None is what concerns all."""
    if generation is None:
        return "see what is said of the filesystem and its links"
    return ", ".join(state.references(generation)) or generation


def _tell_json(console: Console, found: list[Any], names: list[str], *, system: bool) -> None:
    console.json(
        {
            "version": 1,
            "generations": list(dict.fromkeys(names)),
            "kernel": system,
            "boots": not any(finding.severity == "error" for finding in found),
            "findings": [finding.to_json() for finding in found],
        }
    )


def _tell(console: Console, found: list[Any], state: Any, *, system: bool) -> None:
    for finding in found:
        slots = state.references(finding.generation) if finding.generation else ()
        what = f"{', '.join(slots)}: " if slots else ""
        console.data(f"{finding.severity}: {what}{finding}")
    if not system:
        console.note("no generation has a kernel in /boot: only what does not concern the kernel was looked at")
    if not found:
        console.note("all is well" if system else "nothing else was found")
