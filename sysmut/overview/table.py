"""The generations as a table: within the width of a terminal, or whole."""

from collections.abc import Sequence

from sysmut import layout
from sysmut.overview.model import Entry
from sysmut.text import age, fitted, size
from sysmut.values import frozen

_HEADINGS = ("SLOTS", "FLAGS", "GENERATION", "MADE", "KERNEL", "PACKAGES", "SIZE", "DESCRIPTION")
_FIELDS = len(_HEADINGS)
_WIDE = 100
"""Columns from which on there is room to tell when a generation was made, and not only how long ago that is."""

_NARROWER = ((4, 13), (7, 11), (4, 8), (5, 9))
"""Which columns become how narrow where the terminal is, one after another: kernel, description, packages."""

_MOST_SLOTS = 12


@frozen
class Layout:
    """How the table is to look."""

    now: float
    """Seconds since 1970."""
    width: int | None = None
    """Columns of the terminal; None where there is none: then nothing is cut."""


def fields(entry: Entry) -> tuple[str, ...]:
    """The fields of one generation, whole, for scripts: times are ISO 8601 in UTC, sizes bytes; `-` is nothing."""
    tally = entry.packages
    found = (
        ",".join(map(str, entry.slots)),
        entry.flags,
        entry.generation,
        "" if entry.made is None else layout.timestamp(entry.made),
        entry.kernel or "",
        "" if tally is None else str(tally) or "=",
        "" if entry.exclusive is None else str(entry.exclusive),
        _said(entry),
    )
    return tuple(field or "-" for field in found)


def lines(entries: Sequence[Entry], how: Layout) -> list[str]:
    """The table, with headings. A column in which there is nothing is left out."""
    rows = [_HEADINGS, *(_row(entry, how) for entry in entries)]
    shown = [number for number in range(_FIELDS) if number < 4 or any(row[number] for row in rows[1:])]
    widths = {number: max(len(row[number]) for row in rows) for number in shown}
    if how.width is not None:
        _narrow(widths, how.width - len(shown) + 1)
    return [" ".join(_cell(row[number], number, widths) for number in shown).rstrip() for row in rows]


def _row(entry: Entry, how: Layout) -> tuple[str, ...]:
    slots = ",".join(map(str, entry.slots))
    tally = entry.packages
    found = (
        slots if len(slots) <= _MOST_SLOTS else fitted(slots, _MOST_SLOTS),
        entry.flags,
        entry.generation,
        _when(entry.made, how),
        entry.kernel or "",
        "" if tally is None else str(tally) or "=",
        "" if entry.exclusive is None else size(entry.exclusive),
        _said(entry),
    )
    return tuple(map(_printable, found))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def _said(entry: Entry) -> str:
    """The description, behind the names of pins."""
    return " ".join([*(f"[{pin}]" for pin in entry.pins), entry.description]).strip()


def _when(made: int | None, how: Layout) -> str:
    if made is None:
        return ""
    if how.width is not None and how.width < _WIDE:
        return age(how.now - made)
    return layout.timestamp(made)[:16].replace("T", " ") + "Z"


def _narrow(widths: dict[int, int], room: int) -> None:
    """Take from the columns that can be narrower what is too much."""
    for number, least in _NARROWER:
        excess = sum(widths.values()) - room
        if number in widths and excess > 0:
            widths[number] = max(min(least, widths[number]), widths[number] - excess)


def _cell(text: str, number: int, widths: dict[int, int]) -> str:
    width = widths[number]
    return f"{text:>{width}}" if number == 6 else f"{fitted(text, width):{width}}"
