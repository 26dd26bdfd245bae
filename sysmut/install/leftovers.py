"""What a run that was cut off (kill -9, power) has left: told from everything else, and cleared away.

Only where there is no `current`; where there is one, syscln sees to it.
"""

import os

from sysmut import btrfs, generations, layout, toplevel
from sysmut.install.commons import TEMPORARY
from sysmut.toplevel import TopLevel

VERB = "init"


def find(top: TopLevel) -> tuple[str, ...]:
    """Half-made generations and commons, as paths from the top level."""
    names = [layout.generation(name) for name in _names(top, layout.SNAPSHOTS) if _is_half_made(top, name)]
    names += [f"{layout.COMMONS}/{name}" for name in _names(top, layout.COMMONS) if name.startswith(TEMPORARY)]
    return tuple(names)


def _names(top: TopLevel, directory: str) -> list[str]:
    try:
        return sorted(os.listdir(top.at(directory)))
    except FileNotFoundError:
        return []


def _is_half_made(top: TopLevel, generation: str) -> bool:
    """Whether its record says that an init began it, and it was never sealed: a sealed one may have
    been booted, before somebody lost `current`."""
    record = generations.read_record(top, generation)
    if record is None or record.get("command", [])[:1] != [VERB] or record.get("ended"):
        return False
    root = top.at(layout.root(generation))
    return not (btrfs.is_subvolume(root) and btrfs.is_sealed(root))


def clear(top: TopLevel, paths: tuple[str, ...]) -> None:
    """Delete what `find` found. The caller holds the lock that keeps other installations out."""
    for path in paths:
        if layout.owner_of(path) is None:
            btrfs.delete_tree(top.at(path))
            continue
        with toplevel.claimed(top.at(path)) as claimed:
            if claimed is not None:
                generations.remove(top, os.path.basename(path))
