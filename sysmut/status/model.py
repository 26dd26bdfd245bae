"""How a system stands, as one value."""

from collections.abc import Mapping
from typing import Any

from sysmut import btrfs, generations, layout
from sysmut.generations import State
from sysmut.toplevel import TopLevel
from sysmut.values import frozen


@frozen
class Status:
    """How a system stands."""

    filesystem: str
    state: State
    booted: str | None
    """The generation that runs; None where the running system is not of this filesystem."""
    waiting: tuple[str, ...]
    """What syscln would delete."""
    number: int
    """How many generations there are."""
    free: int
    """Bytes."""
    total: int
    """Bytes that the filesystem has."""
    default_subvolume: int
    records: Mapping[str, Mapping[str, Any]]
    """Generation -> its record, of those that something refers to."""
    rootless: tuple[str, ...] = ()
    """Those that something refers to and that have no root: another program has deleted that."""


def collect(top: TopLevel, state: State, waiting: tuple[str, ...]) -> Status:
    """How the system stands; `waiting` is what a plan of the cleanup room would delete."""
    records = {name: generations.read_record(top, name) for name in state.referenced}
    return Status(
        filesystem=top.filesystem,
        state=state,
        booted=generations.booted(top),
        waiting=waiting,
        number=len(state.generations),
        free=top.free(),
        total=top.size(),
        default_subvolume=btrfs.default_subvolume(top.fd),
        rootless=tuple(name for name in sorted(state.referenced) if not btrfs.is_subvolume(top.at(layout.root(name)))),
        records={name: record for name, record in records.items() if record is not None},
    )
