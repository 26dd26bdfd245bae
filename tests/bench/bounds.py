"""What sysmut is to keep to, and whether it did."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.growing import FILES, GENERATIONS
from tests.bench.measuring import Case, Spread, cpu_ratio, ratio, wall
from tests.bench.programs import BARE, PEER, PYTHON, START, SYSMUT
from tests.bench.run import Results

_ROUNDING = 0.05
"""An exponent is given to one place: this much above a bound is not more than it."""

_MANY = 1_000
"""From so many generations on, the start of the program does not matter to the time of each."""

_FLAT = 0.1
"""An exponent that is called about nothing."""

COMMITS = {"session": 4, "activate": 2, "syscln": 1, "syscln-0": 0, "status": 0, "list": 0, "diff": 0}
"""What docs/design.md needs: a snapshot and a seal commit by themselves, and each of two syncfs; what is deleted is
committed once; what only looks commits nothing."""


@dataclass(frozen=True)
class Bound:
    """One row of the table."""

    what: str
    limit: str
    found: str
    met: bool | None
    """None where it could not be told."""
    cpu: str = ""
    """The same by the time on a processor, which is steadier on a machine that is shared."""


def bounds(results: Results) -> list[Bound]:
    """Every bound, in the order of the table."""
    found = {case.name: case for case in results.cases}
    return [*_of_times(found), *_of_collections(found), *_of_commits(results), *_of_growth(results)]


def _of_times(found: dict[str, Case]) -> Iterator[Bound]:
    for name, other, limit in (
        ("session", PEER, 0.45),
        ("session", PYTHON, 1.5),
        ("session-debian", PEER, 0.45),
        ("session-debian", PYTHON, 1.5),
        ("syscln-0", START, 1.3),
        ("help", START, 1.5),
        ("status", START, 1.5),
    ):
        if name in found:
            yield _times(found[name], other, limit)


def _times(case: Case, other: str, limit: float) -> Bound:
    what = f"{case.title}: wall time, times that of the {other}"
    if other not in case.samples:
        return Bound(what, f"<= {limit}", "not measured", None)
    spread = ratio(case, SYSMUT, other)
    return Bound(what, f"<= {limit}", _spread(spread), spread.middle <= limit, _spread(cpu_ratio(case, SYSMUT, other)))


def _of_collections(found: dict[str, Case]) -> Iterator[Bound]:
    for case in found.values():
        if case.work == _MANY:
            yield _times(case, PEER, 0.03)
        if case.work >= _MANY and not case.name.endswith("-links"):
            each = wall(case, SYSMUT).middle / case.work * 1e6
            bare = wall(case, BARE).middle / case.work * 1e6
            what = f"{case.title}: time of each, times that of the bare call"
            spread = ratio(case, SYSMUT, BARE)
            yield Bound(what, "<= 2", f"{_spread(spread)}: {each:.0f} µs against {bare:.0f} µs", spread.middle <= 2)


def _of_commits(results: Results) -> Iterator[Bound]:
    for (name, who), counts in results.counts.items():
        if who != SYSMUT or name not in expected(results):
            continue
        wanted = expected(results)[name]
        floor = results.counts.get((name, PYTHON))
        beside = f"{counts.commits}" + (f"; the floor: {floor.commits}" if floor else "")
        yield Bound(f"commits of {name}", f"= {wanted}", beside, counts.commits == wanted)


def expected(results: Results) -> dict[str, int]:
    """How many commits each case needs."""
    found = {}
    for case in results.cases:
        kind = case.name.removesuffix("-debian")
        number = COMMITS.get("syscln" if case.work else kind)
        if number is not None:
            found[case.name] = number
    return found


def _of_growth(results: Results) -> Iterator[Bound]:
    for growth in results.growth:
        fit = growth.fit()
        what = f"{growth.name}: exponent with the number of {growth.what}"
        if growth.what == FILES:
            yield Bound(what, "about 0", str(fit), abs(fit.exponent) <= _FLAT, str(growth.fit("cpu")))
        elif growth.what == GENERATIONS:
            met = fit.flat or fit.exponent <= 1 + _ROUNDING
            yield Bound(what, "<= 1", str(fit), met, str(growth.fit("cpu")))


def _spread(spread: Spread) -> str:
    return f"{spread.middle:.2f} ({spread.low:.2f} to {spread.high:.2f})"
