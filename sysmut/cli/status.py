"""`sysmut status`."""

from typing import Any

import click

from sysmut.cli import options
from sysmut.cli.frame import require_root


@click.command("status")
@options.common
def command(**values: Any) -> None:
    """Show what is booted, the slots, and what waits for syscln."""
    require_root()
    from sysmut import cleanup, status, toplevel

    console = options.console(values)
    with toplevel.opened(options.settings(values)) as top:
        with toplevel.locked(top):
            planned = cleanup.without_sessions(top, cleanup.plan(*cleanup.survey(top)))
        found = status.collect(top, planned.state, planned.doomed)
    if console.as_json:
        console.json(status.to_json(found))
        return
    for line in status.to_text(found):
        console.data(line)
