"""The generations, each as one value."""

from collections.abc import Mapping
from typing import Any

from sysmut import btrfs, generations, layout, packages
from sysmut.boot import kernels
from sysmut.config import Config
from sysmut.errors import BadData
from sysmut.generations import State
from sysmut.packages import Tally
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_LOOKED_INTO = 20
"""How many generations that have no record, or none of a kernel (the wiki's scripts write none), are looked into,
which costs milliseconds each: the newest."""


@frozen
class Fates:
    """What is to become of the generations, as the cleanup room has planned it."""

    reasons: Mapping[str, tuple[str, ...]]
    """Generation -> why it is kept or, for one in `doomed`, why it goes."""
    doomed: frozenset[str]
    open: frozenset[str]
    """What a session has open."""
    subvolumes: Mapping[str, tuple[tuple[str, int], ...]]
    """Generation -> path in it and id of each of its subvolumes."""

    def number(self, generation: str) -> int:
        """The id of its root: the greater, the newer. One that has none yet, or none any more, is newest."""
        return next((number for path, number in self.subvolumes.get(generation, ()) if path == layout.ROOT), 2**64)


@frozen
class Entry:
    """One generation."""

    generation: str
    slots: tuple[int, ...]
    pins: tuple[str, ...]
    flags: str
    """Of `NDTPS-`: now booted, default, on trial, pinned, open in a session, to be collected."""
    made: int | None
    """Seconds since 1970."""
    source: str | None
    kernel: str | None
    packages: Tally | None
    """Against the source; None where it is not known."""
    exclusive: int | None
    """Bytes that no other generation holds; None where they have not been counted."""
    description: str
    reasons: tuple[str, ...]
    """Why it is kept, or why it goes."""


def collect(
    top: TopLevel, state: State, booted: str | None, fates: Fates, sizes: Mapping[str, int], config: Config
) -> list[Entry]:
    """Every generation, newest first."""
    slots: dict[str | None, list[int]] = {}
    for number, name in enumerate(state.slots):
        slots.setdefault(name, []).append(number)
    pins: dict[str, list[str]] = {}
    for pin, name in state.pins.items():
        pins.setdefault(name, []).append(pin)
    entries = []
    unrecorded = 0
    for name in sorted(fates.reasons, key=lambda name: (fates.number(name), name), reverse=True):
        record = generations.read_record(top, name) or {}
        unrecorded += record.get("kernel") is None
        known = _Known(top, name, record, config, look=record.get("kernel") is None and unrecorded <= _LOOKED_INTO)
        here, pinned = slots.get(name, []), pins.get(name, [])
        flags = (
            ("N", name == booted), ("D", 0 in here), ("T", name == state.trial), ("P", bool(pinned)),
            ("S", name in fates.open), ("-", name in fates.doomed),
        )  # fmt: skip
        entries.append(
            Entry(
                generation=name,
                slots=tuple(here),
                pins=tuple(pinned),
                flags="".join(letter for letter, holds in flags if holds),
                made=known.made(),
                source=known.source(),
                kernel=known.kernel(),
                packages=known.packages(),
                exclusive=sizes.get(name),
                description=str(record.get("description") or ""),
                reasons=fates.reasons[name],
            )
        )
    return entries


@frozen
class _Known:
    """What is known of a generation: by its record, else by a look into it."""

    top: TopLevel
    name: str
    record: Mapping[str, Any]
    config: Config
    look: bool

    @property
    def _root(self) -> str:
        return self.top.at(layout.root(self.name))

    def made(self) -> int | None:
        by_id = layout.made(self.name)
        if by_id is not None:
            return by_id
        try:
            return btrfs.made(self._root)
        except OSError:  # there is none
            return None

    def source(self) -> str | None:
        source = self.record.get("source")
        return source if isinstance(source, str) else None

    def kernel(self) -> str | None:
        if not self.look:
            kernel = self.record.get("kernel")
            return kernel if isinstance(kernel, str) else None
        try:
            return kernels.label(self._root, self.config.kernel)
        except OSError:
            return None

    def packages(self) -> Tally | None:
        counts = [self.record.get(f"packages_{what}") for what in ("added", "removed", "changed")]
        if all(isinstance(count, int) for count in counts):
            return Tally(*counts)  # type: ignore[arg-type]
        source = self.source()
        if not self.look or source is None:
            return None
        try:
            return packages.tally(packages.changes(self.top.at(layout.root(source)), self._root))
        except (BadData, OSError):  # such as a source that is gone
            return None


def to_json(entry: Entry) -> dict[str, Any]:
    """The value as JSON has it."""
    tally = entry.packages
    return {
        "generation": entry.generation,
        "slots": list(entry.slots),
        "pins": list(entry.pins),
        "booted": "N" in entry.flags,
        "default": "D" in entry.flags,
        "trial": "T" in entry.flags,
        "open": "S" in entry.flags,
        "keep": "-" not in entry.flags,
        "reasons": list(entry.reasons),
        "made": None if entry.made is None else layout.timestamp(entry.made),
        "source": entry.source,
        "kernel": entry.kernel,
        "packages": tally and {"added": tally.added, "removed": tally.removed, "changed": tally.changed},
        "exclusive_bytes": entry.exclusive,
        "description": entry.description,
    }
