"""What a root holds, and what differs between two of them, as values. No I/O."""

from collections.abc import Iterable, Mapping
from typing import Literal

from sysmut.values import frozen

Inventory = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Of each package manager with a database, each package's versions: sorted as text, each as often as it is
installed. There are several of a kernel of rpm's, and of a package of rpm's for two architectures."""


_SIGNS = {"added": "+", "removed": "-", "changed": ""}


@frozen
class Change:
    """A package of which not the same versions are there, before and after."""

    manager: str
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """What happened to the package."""
        if not self.before:
            return "added"
        return "changed" if self.after else "removed"

    def __str__(self) -> str:
        versions = " -> ".join(", ".join(each) for each in (self.before, self.after) if each)
        return f"{_SIGNS[self.kind]}{self.name} {versions}"

    def to_json(self) -> dict[str, object]:
        """The value as JSON has it."""
        return {
            "manager": self.manager,
            "name": self.name,
            "kind": self.kind,
            "before": list(self.before),
            "after": list(self.after),
        }


@frozen
class Tally:
    """How many packages were added, removed and changed; as text `+3 -1 ~12`, without what there is none of."""

    added: int
    removed: int
    changed: int

    def __str__(self) -> str:
        counts = (("+", self.added), ("-", self.removed), ("~", self.changed))
        return " ".join(f"{sign}{count}" for sign, count in counts if count)


def compare(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """What differs, sorted by name."""
    found = []
    for manager in before.keys() | after.keys():
        old, new = before.get(manager, {}), after.get(manager, {})
        # All at once, in C: of thousands of packages few differ.
        names = {name for name, _ in old.items() ^ new.items()}
        found += [Change(manager, name, old.get(name, ()), new.get(name, ())) for name in names]
    return tuple(sorted(found, key=lambda change: (change.name, change.manager)))


def tally(changes: Iterable[Change]) -> Tally:
    """How many changes there are of each kind."""
    kinds = [change.kind for change in changes]
    return Tally(*(kinds.count(kind) for kind in ("added", "removed", "changed")))
