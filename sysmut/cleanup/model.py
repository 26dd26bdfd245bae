"""The values of this room: what is known, what is to be done, what was done."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sysmut.errors import SysmutError
from sysmut.generations import State, Use

NOT_REFERENCED = "nothing refers to it"
NOT_SEALED = "not sealed"
OPEN = "open in a session"

Subvolumes = Mapping[str, tuple[tuple[str, int], ...]]
"""Generation -> path in it and id of each of its subvolumes, inner ones first."""


@dataclass(frozen=True)
class Made:
    """What btrfs's own index tells of a generation."""

    number: int
    """The id of its `@`. Ids only grow, whatever the clock did."""
    time: float
    """When it was made, in seconds since 1970: by its own id, else by btrfs."""
    sealed: bool
    """Whether all of its subvolumes are."""


@dataclass(frozen=True)
class Facts:
    """What retention goes by. A generation that is not in `made` has no `@`."""

    made: Mapping[str, Made]
    now: float
    """Seconds since 1970."""
    free: int
    """Bytes that can still be written."""
    size: int
    """Bytes of the filesystem."""


@dataclass(frozen=True)
class Verdict:
    """What is to become of one generation."""

    generation: str
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What syscln would do."""

    verdicts: tuple[Verdict, ...]
    link_sets: tuple[str, ...]
    """Those that are not in force."""
    state: State
    subvolumes: Subvolumes
    spare: tuple[str, ...] = ()
    """What may go for the sake of free space, the oldest first."""
    short: bool = False
    """Whether less is free than should be."""

    @property
    def doomed(self) -> tuple[str, ...]:
        return tuple(verdict.generation for verdict in self.verdicts if not verdict.keep)

    @property
    def at_once(self) -> "Plan":
        """The plan without what goes for the sake of free space: how much is free when the rest is gone is
        to be seen first."""
        spare = set(self.spare)
        verdicts = (dataclasses.replace(v, keep=v.keep or v.generation in spare) for v in self.verdicts)
        return dataclasses.replace(self, verdicts=tuple(verdicts))


@dataclass(frozen=True)
class Shortfall:
    """That less is free than should be, and why no more was done about it."""

    free_bytes: int
    wanted_bytes: int
    reason: str


@dataclass
class Report:
    """What was done. Each pair is a name and a reason."""

    deleted: list[str] = field(default_factory=list)
    link_sets: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    """Planned to go, but found to be in use."""
    failed: list[tuple[str, SysmutError]] = field(default_factory=list)
    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the plan said of each generation."""
    shortfall: Shortfall | None = None

    @property
    def tried(self) -> frozenset[str]:
        """The names of all that was to go."""
        return frozenset((*self.deleted, *self.link_sets, *(name for name, _ in (*self.kept, *self.failed))))

    def add(self, other: "Report") -> None:
        """Take in what was done after it."""
        self.deleted += other.deleted
        self.link_sets += other.link_sets
        self.kept += other.kept
        self.failed += other.failed
        self.reasons.update(other.reasons)


def uses(name: str, subvolumes: Iterable[tuple[str, int]], use: Use) -> Iterator[str]:
    """How the generation with these subvolumes is in use, each way once."""
    found = [use.subvolumes[number] for _, number in subvolumes if number in use.subvolumes]
    yield from dict.fromkeys([*found, *([use.names[name]] if name in use.names else [])])
