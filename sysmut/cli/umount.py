"""`sysmut umount DIR|X`."""

import os
from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import require_root
from sysmut.errors import UsageError


@click.command("umount")
@naming.argument("place", metavar="DIRECTORY|GENERATION")
@options.common
def command(place: str, **values: Any) -> None:
    """Unmount what `mount` has mounted.

    A GENERATION is unmounted wherever it is, but never from /. What has a slash in it is a directory.
    """
    require_root()
    from sysmut.generations import mounting

    console = options.console(values)
    if "/" in place or os.path.ismount(place):
        point = os.path.realpath(place)
        unmounted = {point: mounting.unmount(point)}
    else:
        unmounted = _by_name(place, values)
    if console.as_json:
        told = [{"generation": generation, "directory": point} for point, generation in unmounted.items()]
        console.json({"version": 1, "unmounted": told})
        return
    for point, generation in unmounted.items():
        console.note(f"generation {generation} is no longer mounted on {point}")


def _by_name(name: str, values: dict[str, Any]) -> dict[str, str]:
    """Unmount the generation of that name wherever it is; where that was."""
    from sysmut import generations, toplevel
    from sysmut.generations import mounting

    outside = mounting.Outside()
    with toplevel.opened(options.settings(values)) as top:
        target = generations.find(generations.read(top), name, generations.booted(top))
        with outside.entered():
            points = mounting.mounted(top.device, target)
            if not points:
                raise UsageError(f"generation {target} is not mounted", hint="findmnt -t btrfs shows what is mounted")
            return {point: mounting.unmount(point) for point in reversed(points)}
