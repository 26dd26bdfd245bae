"""One value that tells how a system stands; as text and as JSON."""

from collections.abc import Sequence
from typing import Any

from sysmut import layout
from sysmut.generations import slot_lines
from sysmut.status.glance import LEVELS, Problem
from sysmut.status.model import Status, collect
from sysmut.text import counted, size

__all__ = ["Status", "collect", "to_json", "to_text"]


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
        "generations": status.number,
        "size_bytes": status.total,
        "free_bytes": status.free,
        "default_subvolume": status.default_subvolume,
        "records": dict(status.records),
    }


def to_text(status: Status, problems: Sequence[Problem]) -> list[str]:
    """The value as a person reads it, with what a glance has found to be amiss."""
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
    waiting = f"{counted(count, 'generation')} for syscln to delete" if count else "nothing for syscln"
    lines += [f"waiting     {waiting}", f"free        {size(status.free)} of {size(status.total)}"]
    lines += [f"{LEVELS[problem.level].lower()}: {problem.message}" for problem in problems]
    return lines if problems else [*lines, "all is well"]
