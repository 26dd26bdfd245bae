"""`sysmut log`."""

from typing import Any

import click

from sysmut.cli import options
from sysmut.cli.frame import require_root


@click.command("log")
@click.option("-n", "--lines", "most", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@options.common
def command(most: int | None, **values: Any) -> None:
    """Show what has happened.

    Newest first: sessions that published, and those that were discarded, activations, pins, and what was deleted.
    Generations of which the history knows nothing (of the wiki's scripts, or from before it was kept) are told of,
    too.
    """
    require_root()
    from sysmut import generations, history, layout, toplevel

    console = options.console(values)
    with toplevel.opened(options.settings(values)) as top:
        events = history.read(top)
        known = {event.get("generation") for event in events if event["event"] in history.MAKING}
        for name in generations.read(top).generations - known:
            record = generations.read_record(top, name) or {}
            made = layout.made(name)
            time = record.get("ended") or (None if made is None else layout.timestamp(made))
            if isinstance(time, str):
                facts = {key: record[key] for key in ("source", "command", "user", "description") if record.get(key)}
                events.append({"time": time, "event": "made", "generation": name, **facts})
    events.sort(key=lambda event: str(event["time"]))  # stable: those of one second stay in their order
    shown = events[-most:] if most else events
    if console.as_json:
        console.json({"version": 1, "events": shown[::-1]})
        return
    for event in reversed(shown):
        console.data(history.line(event))
