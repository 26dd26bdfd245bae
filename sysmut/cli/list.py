"""`sysmut list`."""

import time
from typing import Any

import click

from sysmut.cli import looking, options
from sysmut.cli.frame import require_root
from sysmut.cli.progress import Progress


@click.command("list")
@click.option("--size", "counted", is_flag=True, help="Count what each holds by itself, where no quota knows it.")
@click.option("--no-headers", is_flag=True, help="For scripts: no headings, tabs between fields, nothing cut.")
@options.retention
@options.KERNEL
@options.common
def command(counted: bool, no_headers: bool, **values: Any) -> None:
    """List the generations, newest first.

    Flags: N is now booted, D boots by default, T is on trial, P is pinned, S is open in a session, - is what syscln
    deletes. Packages are added (+), removed (-) and changed (~) against what the generation was made from; = is
    none of these.
    """
    require_root()
    from sysmut import generations, overview, toplevel

    console = options.console(values)
    config = options.settings(values)
    with toplevel.opened(config) as top:
        plan = looking.planned(top, config)
        with Progress(wanted=not console.quiet) as progress:
            sizes = looking.sizes(top, plan, counted=counted, tick=progress.show)
        entries = looking.entries(top, plan, generations.booted(top), sizes, config)
    if console.as_json:
        console.json({"version": 1, "generations": [overview.to_json(entry) for entry in entries]})
    elif no_headers:
        for entry in entries:
            console.fields(overview.fields(entry))
    else:
        for line in overview.lines(entries, overview.Layout(time.time(), looking.width())):
            console.data(line)
