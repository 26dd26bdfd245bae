"""How the cost grows: each case at four sizes and at none, the sizes in an order that is shuffled in each round."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.fitting import Fit, exponent, slope
from tests.bench.measuring import RunFailed, Sample, Spread, timed
from tests.bench.programs import Programs
from tests.bench.stage import Stage

GENERATIONS, FILES, CHANGES = "generations", "files in the root", "files changed"
"""What grows."""

_NOISE = 0.001
"""Seconds that a time may grow by without being said to grow."""


@dataclass
class Growth:
    """What a command took, by size."""

    name: str
    what: str
    """What grows."""
    samples: dict[int, list[Sample]] = field(default_factory=dict)

    def wall(self, size: int) -> Spread:
        """The wall time at a size, in seconds."""
        return Spread.of([sample.wall for sample in self.samples[size]])

    @property
    def sizes(self) -> list[int]:
        return sorted(self.samples)

    def fit(self, kind: str = "wall") -> Fit:
        """The exponent, of the wall time or the time on a processor (`cpu`): by the fastest run of each size, for
        whatever else the machine does can only add to it. The time at size 0 is taken off where there is one."""
        times = {n: sorted(float(getattr(sample, kind)) for sample in found) for n, found in self.samples.items()}
        least = {n: found[0] for n, found in times.items() if n}
        if 0 not in times:
            return slope(least)
        nothing = times[0]
        return exponent(least, nothing[0], nothing[len(nothing) // 2] - nothing[0] + _NOISE)


def with_generations(
    stage: Stage,
    programs: Programs,
    sizes: Sequence[int],
    runs: int,
    chance: random.Random,
    tell: Callable[[str], None],
) -> list[Growth]:
    """What looks, and what activates and deletes, with so many generations in no slot, and with none."""
    lookers: dict[str, Callable[[], list[str]]] = {
        "`sysmut status`": lambda: programs.sysmut(stage, "status"),
        "`sysmut list`": lambda: programs.sysmut(stage, "list"),
        "`syscln --dry-run`": lambda: programs.syscln(stage, "--dry-run"),
        "`sysmut activate`": lambda: programs.sysmut(stage, "activate", "1"),
    }
    found = {name: Growth(name, GENERATIONS) for name in (*lookers, "`syscln`")}
    for number in range(runs):
        tell(f"number of generations, round {number + 1} of {runs}")
        for size in chance.sample([0, *sizes], len(sizes) + 1):
            stage.fill(size)
            for name in chance.sample(list(lookers), len(lookers)):
                found[name].samples.setdefault(size, []).append(timed(lookers[name]()))
                stage.put_back_links()
            found["`syscln`"].samples.setdefault(size, []).append(timed(programs.syscln(stage)))
            if stage.extra:
                raise RunFailed(f"syscln left {len(stage.extra)} of {size} generations")
            stage.restore()
    return list(found.values())


def with_files(
    stages: dict[int, tuple[Stage, str]], programs: Programs, runs: int, chance: random.Random,
    tell: Callable[[str], None],
) -> list[Growth]:  # fmt: skip
    """A session, and a difference of one small package, in roots of so many files. Each size has a stage, and the
    generation on it that has the package."""
    session, difference = Growth("a session", FILES), Growth("`sysmut diff`", FILES)
    for number in range(runs):
        tell(f"size of the root, round {number + 1} of {runs}")
        for size in chance.sample(list(stages), len(stages)):
            stage, changed = stages[size]
            command = programs.sysmut(stage, "run", "--", "/bin/true")
            session.samples.setdefault(size, []).append(timed(command))
            stage.restore()
            command = programs.sysmut(stage, "diff", stage.base[0], changed)
            difference.samples.setdefault(size, []).append(timed(command))
    return [session, difference]


def with_changes(
    stage: Stage, changed: dict[int, str], programs: Programs, runs: int, chance: random.Random,
    tell: Callable[[str], None],
) -> Growth:  # fmt: skip
    """A difference of so many files, by the generation in which they are changed."""
    found = Growth("`sysmut diff`", CHANGES)
    for number in range(runs):
        tell(f"size of the change, round {number + 1} of {runs}")
        for size in chance.sample(list(changed), len(changed)):
            command = programs.sysmut(stage, "diff", stage.base[0], changed[size])
            found.samples.setdefault(size, []).append(timed(command))
    return found
