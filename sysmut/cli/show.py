"""`sysmut show X`."""

import os
import stat
import time
from typing import Any

import click

from sysmut.cli import looking, naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.cli.progress import Progress
from sysmut.errors import BadData, UsageError


@click.command("show")
@naming.GENERATION
@click.option("--log", "transcript", is_flag=True, help="Print what its script wrote, and nothing else.")
@click.option("--size", "counted", is_flag=True, help="Count what it holds by itself, where no quota knows it.")
@options.retention
@options.KERNEL
@options.common
def command(generation: str, transcript: bool, counted: bool, **values: Any) -> None:
    """Tell all about one generation.

    Where it came from and what came from it, how it was made, what is in it, and why it is kept.
    """
    require_root()
    from sysmut import generations, overview, toplevel

    console = options.console(values)
    config = options.settings(values)
    with toplevel.opened(config) as top:
        booted = generations.booted(top)
        if transcript:
            _print_log(console, top, generations.find(generations.read(top), generation, booted))
            return
        plan = looking.planned(top, config)
        name = generations.find(plan.state, generation, booted)
        with Progress(wanted=not console.quiet) as progress:
            sizes = looking.sizes(top, plan, counted=counted, tick=progress.show)
        entries = looking.entries(top, plan, booted, sizes, config)
        entry = next(entry for entry in entries if entry.generation == name)
        found = overview.details(top, entry, entries, _log_size(top, name))
    if console.as_json:
        console.json(overview.details_to_json(found))
        return
    for line in overview.details_to_lines(found, time.time()):
        console.data(line)


def _log_path(top: Any, name: str) -> str:
    from sysmut import layout

    return str(top.at(f"{layout.generation(name)}/{layout.LOG}"))


def _log_size(top: Any, name: str) -> int | None:
    try:
        found = os.lstat(_log_path(top, name))
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _print_log(console: Console, top: Any, name: str) -> None:
    """The transcript, line by line; what a script wrote to trick a terminal is escaped."""
    if console.as_json:
        raise UsageError("--log and --json do not go together")
    path = _log_path(top, name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(f"generation {name} has no log", hint="only what a script or command writes is kept") from None
    with open(fd, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadData(f"{path}: not a regular file")
        for line in file:
            console.text(line.removesuffix("\n").removesuffix("\r"))
