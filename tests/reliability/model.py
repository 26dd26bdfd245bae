"""What slots, pins, sessions and collection come to, said once more in plain lists and sets."""

from collections.abc import Iterable
from dataclasses import dataclass, field

OPEN = "open in a session"
GARBAGE = "nothing refers to it"


def unique(names: Iterable[str]) -> list[str]:
    """Each name once, where it stands first."""
    return list(dict.fromkeys(names))


@dataclass
class Model:
    """A system. A generation is younger than those that stand before it in `made`."""

    slots: list[str]
    """A name that is not in `sealed` any more is a slot that leads nowhere."""
    sealed: dict[str, bool]
    """Every generation that there is."""
    made: list[str]
    pins: dict[str, str | int] = field(default_factory=dict)
    """To a generation, or by way of a slot."""
    trial: str | None = None
    open: dict[str, int] = field(default_factory=dict)
    """The generations of sessions that run -> how often there had been a publication when they began."""
    mounted: dict[str, str] = field(default_factory=dict)
    """Generation -> where."""
    published: int = 0

    def in_slot(self, number: int) -> str | None:
        return self.slots[number] if number < len(self.slots) and self.slots[number] in self.sealed else None

    def pinned(self) -> dict[str, str]:
        """The pins that lead to a generation."""
        found = {pin: self.in_slot(to) if isinstance(to, int) else to for pin, to in self.pins.items()}
        return {pin: name for pin, name in sorted(found.items()) if name in self.sealed and name is not None}

    def names(self) -> list[tuple[str, str | None]]:
        """What a user may call a generation, and which that is; names of nothing among them."""
        slots = [(str(number), self.in_slot(number)) for number in range(len(self.slots) + 1)]
        ids = [pair for name in self.sealed for pair in ((name, name), (name[:-1], name))]
        return [*slots, *ids, *self.pinned().items(), ("missing", None)]

    def add(self, name: str, *, sealed: bool) -> None:
        self.sealed[name] = sealed
        self.made.append(name)

    def publish(self, name: str, slots: int | None = None) -> None:
        """It becomes slot 0; the others keep their order."""
        count = slots or len(self.slots)
        order = unique([name, *(slot for slot in self.slots[:count] if slot in self.sealed)])
        self.slots = [order[min(number, len(order) - 1)] for number in range(count)]
        self.published += 1

    def activation(self, name: str | None) -> int:
        """The status with which it ends; 0 for nothing to do, too."""
        return 64 if name is None else 75 if name in self.open else 0 if self.sealed[name] else 65

    def activate(self, name: str) -> None:
        before = [self.in_slot(number) for number in range(len(self.slots))]
        kept, count = list(self.slots), self.published
        self.publish(name)
        if self.slots == before:
            self.slots, self.published = kept, count

    def rollback(self) -> str | None:
        """What a rollback goes to."""
        first, *others = self.slots
        known = [name for name in others if name in self.sealed and name != first]
        younger = [name for name in known if self.made.index(name) > self.made.index(first)]
        return None if not known or (first in self.sealed and younger) else known[0]

    def reasons(self, name: str) -> list[str]:
        """Why it stays; empty if it may go."""
        if name in self.open:
            return [OPEN]
        found = [f"slot {number}" for number, slot in enumerate(self.slots) if slot == name]
        found += [f"pin {pin}" for pin, to in self.pinned().items() if to == name]
        found += ["trial"] if self.trial == name else []
        return found + ([f"mounted on {self.mounted[name]}"] if name in self.mounted else [])

    def is_lasting(self, name: str) -> bool:
        """Whether it is sealed, and in a slot: syscln never deletes it, and no session that ends."""
        return self.sealed[name] and name in self.slots

    def garbage(self) -> list[str]:
        """What syscln deletes."""
        return sorted(name for name in self.sealed if not self.reasons(name))
