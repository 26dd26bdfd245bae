"""One value that tells how a system stands; as text and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sysmut import btrfs, generations, layout
from sysmut.generations import State
from sysmut.toplevel import TopLevel


@dataclass(frozen=True)
class Status:
    """How a system stands."""

    filesystem: str
    state: State
    booted: str | None
    """The generation that runs; None where the running system is not of this filesystem."""
    waiting: tuple[str, ...]
    """What syscln would delete."""
    free: int
    """Bytes."""
    default_subvolume: int
    records: Mapping[str, Mapping[str, Any]]
    """Generation -> its record, of those in a slot."""


def collect(top: TopLevel, state: State, waiting: tuple[str, ...]) -> Status:
    """How the system stands; `waiting` is what a plan of the cleanup room would delete."""
    records = {name: generations.read_record(top, name) for name in state.referenced}
    return Status(
        filesystem=top.filesystem,
        state=state,
        booted=generations.booted(top),
        waiting=waiting,
        free=top.free(),
        default_subvolume=btrfs.default_subvolume(top.fd),
        records={name: record for name, record in records.items() if record is not None},
    )


def to_json(status: Status) -> dict[str, Any]:
    """The value as JSON has it. `slots` is in order; a slot that leads nowhere is null."""
    return {
        "version": 1,
        "filesystem": status.filesystem,
        "booted": status.booted,
        "current": status.state.link_set,
        "slots": list(status.state.slots),
        "pins": dict(status.state.pins),
        "trial": status.state.trial,
        "waiting": list(status.waiting),
        "free_bytes": status.free,
        "default_subvolume": status.default_subvolume,
        "records": dict(status.records),
    }


def slot_lines(state: State, booted: str | None, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The slots as a person reads them, a line each."""
    rows = []
    for number, name in enumerate(state.slots):
        notes = [] if name is None or name != booted else ["booted"]
        if number == 0:
            notes.append("boots by default")
        if name in state.slots[:number] and name is not None:
            notes.append(f"as slot {state.slots.index(name)}")
        said = str(records.get(name or "", {}).get("description") or "")
        shown = name if name is not None else "(leads nowhere: its generation is gone)"
        rows.append((number, shown, ", ".join(notes), said))
    width = max(len(notes) for _, _, notes, _ in rows)
    return [f"  {number}  {shown}  {notes:{width}}  {said}".rstrip() for number, shown, notes, said in rows]


def to_text(status: Status) -> list[str]:
    """The value as a person reads it, with what to do where something is amiss."""
    state = status.state
    booted = status.booted or "not a generation of this filesystem"
    lines = [
        f"filesystem  {status.filesystem}",
        f"booted      {booted}",
        f"current     {layout.link_set(state.link_set)}",
        "slots",
        *slot_lines(state, status.booted, status.records),
    ]
    lines += [f"pin         {pin} -> {name}" for pin, name in state.pins.items()]
    lines += [f"trial       {state.trial}"] if state.trial else []
    count = len(status.waiting)
    waiting = f"{count} generation{'s' if count != 1 else ''} for syscln to delete" if count else "nothing for syscln"
    lines += [f"waiting     {waiting}", f"free        {_size(status.free)}"]
    return lines + _advice(status)


def _advice(status: Status) -> list[str]:
    lines = []
    if status.booted is not None and status.booted != status.state.slots[0]:
        lines.append("note: the running system is not slot 0; a reboot brings slot 0")
    if None in status.state.slots:
        lines.append("note: a slot leads nowhere; the next session or activation drops it from the slots")
    if status.default_subvolume != btrfs.FS_TREE:
        lines.append(
            f"warning: the filesystem's default subvolume is {status.default_subvolume}, and rEFInd boots only "
            "from 5: btrfs subvolume set-default 5 /"
        )
    return lines


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
