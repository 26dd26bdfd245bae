"""`sysmut mount X DIR`."""

import os
from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.errors import UsageError


@click.command("mount")
@naming.GENERATION
@click.argument("directory", metavar="DIRECTORY", type=click.Path(), shell_complete=naming.directories)
@options.common
def command(generation: str, directory: str, **values: Any) -> None:
    """Mount a generation, read-only.

    It stays mounted, and is kept by that, until `sysmut umount DIRECTORY`.
    """
    require_root()
    from sysmut import generations, toplevel
    from sysmut.generations.mounting import Outside, mount

    console = options.console(values)
    config = options.settings(values)
    try:
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint="name a directory that is there") from None
    path = os.path.realpath(directory)  # now: to enter a namespace is to leave the working directory
    outside = Outside()
    with toplevel.opened(config) as top, toplevel.locked(top):
        target = generations.find(generations.read(top), generation, generations.booted(top))
        mount(top, target, place, outside)
    if console.as_json:
        console.json({"version": 1, "generation": target, "mounted_on": path})
    else:
        console.note(f"generation {target} is mounted on {path}, read-only; to unmount it: sysmut umount {path}")
