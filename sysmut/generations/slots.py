"""The slots, as text."""

from collections.abc import Mapping
from typing import Any

from sysmut.generations.model import State


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
