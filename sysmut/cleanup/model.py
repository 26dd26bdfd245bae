"""The values of this room: what is known, what is to be done, what was done."""

from collections.abc import Iterable, Iterator, Mapping

from sysmut.errors import SysmutError
from sysmut.generations import State, Use
from sysmut.values import frozen, replace

NOT_REFERENCED = "nothing refers to it"
NOT_SEALED = "not sealed"
OPEN = "open in a session"

Subvolumes = Mapping[str, tuple[tuple[str, int], ...]]
"""Generation -> path in it and id of each of its subvolumes, inner ones first."""


@frozen
class Made:
    """What btrfs's own index tells of a generation."""

    number: int
    """The id of its `@`. Ids only grow, whatever the clock did."""
    time: float
    """When it was made, in seconds since 1970: by its own id, else by btrfs."""
    sealed: bool
    """Whether all of its subvolumes are."""


@frozen
class Facts:
    """What retention goes by. A generation that is not in `made` has no `@`."""

    made: Mapping[str, Made]
    now: float
    """Seconds since 1970."""
    free: int
    """Bytes that can still be written."""
    size: int
    """Bytes of the filesystem."""


@frozen
class Verdict:
    """What is to become of one generation."""

    generation: str
    keep: bool
    reasons: tuple[str, ...]


@frozen
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
        verdicts = (replace(v, keep=v.keep or v.generation in spare) for v in self.verdicts)
        return replace(self, verdicts=tuple(verdicts))


@frozen
class Shortfall:
    """That less is free than should be, and why no more was done about it."""

    free_bytes: int
    wanted_bytes: int
    reason: str


class Report:
    """What was done. Each pair is a name and a reason."""

    def __init__(self, reasons: dict[str, tuple[str, ...]] | None = None) -> None:
        self.deleted: list[str] = []
        self.link_sets: list[str] = []
        self.kept: list[tuple[str, str]] = []
        """Planned to go, but found to be in use."""
        self.failed: list[tuple[str, SysmutError]] = []
        self.reasons = reasons or {}
        """What the plan said of each generation."""
        self.shortfall: Shortfall | None = None

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
