"""What the user should know about a source, and about what is on the filesystem already."""

import os

from sysmut import btrfs, layout
from sysmut.fstab import Entry
from sysmut.install.model import Source
from sysmut.toplevel import TopLevel

_SHOWN = 5


def shown(paths: tuple[str, ...]) -> str:
    """The paths, or the first of many."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(f"/{path}" for path in paths[:_SHOWN]) + more


def on(
    top: TopLevel, source: Source, entries: tuple[Entry, ...], commons: tuple[str, ...], old: tuple[str, ...]
) -> tuple[str, ...]:
    """The notes on a source with this fstab; `old` is what will be cleared away."""
    return (*_on_nested(source, commons), *_on_fstab(entries), *_on_filesystem(top, old))


def _on_nested(source: Source, commons: tuple[str, ...]) -> list[str]:
    inside = tuple(f"{path.lstrip('/')}/" for path in commons)
    sealed = tuple(path for path in source.nested if not f"{path}/".startswith(inside))
    if not sealed:
        return []
    return [
        f"will be read-only, as parts of the generation: the subvolumes {shown(sealed)}; --common would keep them out"
    ]


def _on_fstab(entries: tuple[Entry, ...]) -> list[str]:
    notes = []
    for entry in entries:
        if entry.target == "/boot":
            notes.append(
                f"/boot is on another filesystem ({entry.source}): the kernels there are no part of a generation, and "
                "a boot menu for /current/0/@/boot cannot find them"
            )
        if entry.fstype == "swap" and entry.source.startswith("/") and not entry.source.startswith("/dev/"):
            notes.append(
                f"the swap file {entry.source} cannot be used in a read-only root: take its line out of /fstab"
            )
    return notes


def _on_filesystem(top: TopLevel, old: tuple[str, ...]) -> list[str]:
    notes = []
    try:
        known = {layout.generation(name) for name in os.listdir(top.at(layout.SNAPSHOTS))} - set(old)
    except FileNotFoundError:
        known = set()
    if known:
        notes.append(f"{len(known)} in snapshots/ already, which no slot will hold: syscln deletes what is not pinned")
    number = btrfs.default_subvolume(top.fd)
    if number != btrfs.FS_TREE:
        notes.append(
            f"the filesystem's default subvolume is {number}, and rEFInd boots only from 5: "
            "btrfs subvolume set-default 5 / mends it"
        )
    return notes
