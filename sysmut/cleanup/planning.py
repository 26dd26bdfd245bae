"""The look at what there is, and the decision."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from sysmut import btrfs, generations, layout, toplevel
from sysmut.cleanup.model import NOT_REFERENCED, OPEN, Facts, Made, Plan, Subvolumes, Verdict, uses
from sysmut.cleanup.retention import Retention, retain
from sysmut.generations import State, Use, in_use
from sysmut.toplevel import TopLevel
from sysmut.values import replace

_NO_RULE = Retention()

_Row = tuple[str, int, bool, float]
"""Of a subvolume: path, id, whether it is sealed, and when it was made."""


def survey(
    top: TopLevel, *, described: bool = False, explained: bool = True
) -> tuple[State, Subvolumes, Use, Facts | None]:
    """All that `plan` is told, read anew. For a plan that is carried out, the lock is held.

    The facts, which retention needs, are there only with `described`: they cost some microseconds more
    for each subvolume. They too come from btrfs's own index, and no generation is opened. Unless all is to be
    `explained`, nobody's mounts are looked at where everything is referred to.
    """
    state = generations.read(top)
    rows: dict[str, list[_Row]] = defaultdict(list)
    for path, number, sealed, created in _listed(top, described=described):
        parts = path.split("/", 2)
        if parts[0] == layout.SNAPSHOTS and len(parts) == 3 and parts[1] in state.generations:
            rows[parts[1]].append((parts[2], number, sealed, created))
    subvolumes = {name: tuple((path, number) for path, number, *_ in items) for name, items in rows.items()}
    use = in_use(top) if explained or state.generations - state.referenced else Use({}, {})
    return state, subvolumes, use, _facts(top, rows) if described else None


def _listed(top: TopLevel, *, described: bool) -> Iterable[_Row]:
    if described:
        return btrfs.described(top.fd)
    return ((path, number, True, 0.0) for path, number in btrfs.subvolumes(top.fd))


def _facts(top: TopLevel, rows: Mapping[str, list[_Row]]) -> Facts:
    made = {}
    for name, items in rows.items():
        for path, number, _, created in items:
            if path == layout.ROOT:
                by_name = layout.made(name)
                whole = all(sealed for _, _, sealed, _ in items)
                made[name] = Made(number, created if by_name is None else by_name, whole)
    return Facts(made, time.time(), top.free(), top.size())


def plan(
    state: State, subvolumes: Subvolumes, use: Use, facts: Facts | None = None, retention: Retention = _NO_RULE
) -> Plan:
    """What is to become of every generation, and which link sets go. Pure. A retention needs the facts."""
    verdicts = []
    for name in sorted(state.generations):
        reasons = [*state.references(name), *uses(name, subvolumes.get(name, ()), use)]
        verdicts.append(Verdict(name, bool(reasons), tuple(reasons) or (NOT_REFERENCED,)))
    planned = Plan(tuple(verdicts), tuple(sorted(state.link_sets - {state.link_set})), state, dict(subvolumes))
    if not retention.given:
        return planned
    if facts is None:
        raise ValueError("a retention, and no facts for it to go by")
    return retain(planned, retention, facts)


def only(planned: Plan, names: Collection[str]) -> Plan:
    """The plan for these generations alone, and no link sets."""
    verdicts = tuple(verdict for verdict in planned.verdicts if verdict.generation in names)
    return replace(planned, verdicts=verdicts, link_sets=())


def without_sessions(top: TopLevel, planned: Plan) -> Plan:
    """The plan with what is open in a session kept, and called so: to be shown, since `execute` looks
    anyway."""
    verdicts = []
    for verdict in planned.verdicts:
        try:
            with toplevel.claimed(top.at(layout.generation(verdict.generation))) as claimed:
                verdicts.append(verdict if claimed is not None else Verdict(verdict.generation, True, (OPEN,)))
        except FileNotFoundError:
            continue  # gone since it was looked at
    return replace(planned, verdicts=tuple(verdicts))
