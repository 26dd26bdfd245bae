"""`sysmut delete X…`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.cli.syscln import report_deletion, write_down
from sysmut.errors import Busy, SysmutError, UsageError


@click.command("delete")
@naming.argument("names", nargs=-1, required=True, metavar="GENERATION...")
@click.option("-n", "--dry-run", is_flag=True, help="Only say whether they would be deleted.")
@options.common
def command(names: tuple[str, ...], dry_run: bool, **values: Any) -> int:
    """Delete generations that nothing refers to.

    What is in a slot, pinned, on trial, open in a session, booted or mounted anywhere is refused, and then none of
    them is deleted. `syscln` deletes all that nothing refers to.
    """
    require_root()
    from sysmut import cleanup, generations, toplevel

    console = options.console(values)
    with toplevel.opened(options.settings(values)) as top, toplevel.locked(top):
        planned = cleanup.plan(*cleanup.survey(top))
        booted = generations.booted(top)
        wanted = list(dict.fromkeys(generations.find(planned.state, name, booted) for name in names))
        chosen = cleanup.only(planned, wanted)
        for verdict in cleanup.without_sessions(top, chosen).verdicts:
            if verdict.keep:
                raise _refused(verdict, planned.state)
        if dry_run:
            for name in wanted:
                console.note(f"generation {name} would be deleted")
            if console.as_json:
                console.json({"version": 1, "dry_run": True, "deleted": wanted})
            return 0
        report = cleanup.execute(top, chosen)
        write_down(top, console, "deleted", report)
    return report_deletion(console, report)


def _refused(verdict: Any, state: Any) -> SysmutError:
    reasons = ", ".join(verdict.reasons)
    message = f"generation {verdict.generation} is kept: {reasons}"
    references = state.references(verdict.generation)
    if not references:
        return Busy(message, hint="when that has ended, try again")
    pins = [reference.removeprefix("pin ") for reference in references if reference.startswith("pin ")]
    if pins:
        return UsageError(message, hint="; ".join(f"sysmut unpin {pin}" for pin in pins))
    return UsageError(message, hint="it leaves the slots when newer ones have taken them")
