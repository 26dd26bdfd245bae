"""What may go, and making it go: `plan` decides and touches nothing, `execute` deletes.

Two guards keep a generation, each enough alone: `plan` keeps what is reachable, and `execute` keeps
what is in use at the moment of deletion, whatever the plan says. The kernel itself deletes a
mounted subvolume without a word, and empties the running root.
"""

import dataclasses
import errno
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sysmut import btrfs, generations, layout, toplevel
from sysmut.errors import SysmutError, from_oserror
from sysmut.generations import State, Use, in_use
from sysmut.toplevel import TopLevel

NOT_REFERENCED = "nothing refers to it"
OPEN = "open in a session"

_FRESH = 0.05
"""Seconds for which a look at every process's mounts counts as of this moment."""


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
    subvolumes: Mapping[str, tuple[tuple[str, int], ...]]
    """Generation -> path in it and id of each of its subvolumes, inner ones first."""

    @property
    def doomed(self) -> tuple[str, ...]:
        return tuple(verdict.generation for verdict in self.verdicts if not verdict.keep)


@dataclass
class Report:
    """What was done. Each pair is a name and a reason."""

    deleted: list[str] = field(default_factory=list)
    link_sets: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    """Planned to go, but found to be in use."""
    failed: list[tuple[str, SysmutError]] = field(default_factory=list)


def survey(top: TopLevel) -> tuple[State, dict[str, tuple[tuple[str, int], ...]], Use]:
    """All that `plan` is told, read anew. For a plan that is carried out, the lock is held."""
    state = generations.read(top)
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, number in btrfs.subvolumes(top.fd):
        parts = path.split("/", 2)
        if parts[0] == layout.SNAPSHOTS and len(parts) == 3 and parts[1] in state.generations:
            found[parts[1]].append((parts[2], number))
    return state, {name: tuple(items) for name, items in found.items()}, in_use(top)


def plan(state: State, subvolumes: Mapping[str, tuple[tuple[str, int], ...]], use: Use) -> Plan:
    """What is to become of every generation, and which link sets go. Pure."""
    verdicts = []
    for name in sorted(state.generations):
        reasons = [*state.references(name), *_uses(name, subvolumes.get(name, ()), use)]
        verdicts.append(Verdict(name, bool(reasons), tuple(reasons) or (NOT_REFERENCED,)))
    return Plan(tuple(verdicts), tuple(sorted(state.link_sets - {state.link_set})), state, dict(subvolumes))


def _uses(name: str, subvolumes: Iterable[tuple[str, int]], use: Use) -> Iterator[str]:
    found = [use.subvolumes[number] for _, number in subvolumes if number in use.subvolumes]
    yield from dict.fromkeys([*found, *([use.names[name]] if name in use.names else [])])


def without_sessions(top: TopLevel, planned: Plan) -> Plan:
    """The plan with what is open in a session kept, and called so: to be shown, since `execute` looks
    anyway."""
    verdicts = []
    for verdict in planned.verdicts:
        try:
            with toplevel.claimed(top.at(layout.generation(verdict.generation))) as claimed:
                verdicts.append(verdict if claimed else Verdict(verdict.generation, True, (OPEN,)))
        except FileNotFoundError:
            continue  # gone since it was looked at
    return dataclasses.replace(planned, verdicts=tuple(verdicts))


def execute(top: TopLevel, planned: Plan) -> Report:
    """Delete what the plan says may go. The lock is held, and the plan was made under it.

    What turns out to be in use is kept; what cannot be deleted is reported, and the rest goes on.
    One sync at the end, if anything was done.
    """
    report = Report()
    guard = _Guard(top)
    for name in planned.doomed:
        try:
            with toplevel.claimed(top.at(layout.generation(name))) as claimed:
                subvolumes = planned.subvolumes.get(name, ())
                reason = guard.reason(name, subvolumes) if claimed else OPEN
                if reason:
                    report.kept.append((name, reason))
                else:
                    _delete(top, name, subvolumes, report)
        except OSError as error:
            if os.path.lexists(top.at(layout.generation(name))):  # else somebody else removed it
                report.failed.append((name, _explained(error)))
    for name in planned.link_sets:
        try:
            _remove_link_set(top, name, report)
        except OSError as error:
            report.failed.append((layout.link_set(name), from_oserror(error)))
    if report.deleted or report.link_sets:
        top.sync()
        btrfs.commit(top.fd)  # which syncfs(2) is too, but sets nobody to giving back the space: it took half a minute
    return report


class _Guard:
    """The second guard: what is in use now."""

    def __init__(self, top: TopLevel) -> None:
        self._top = top
        self._use = Use({}, {})
        self._looked = float("-inf")

    def reason(self, name: str, subvolumes: tuple[tuple[str, int], ...]) -> str | None:
        """Why the generation must stay, or None."""
        if time.monotonic() - self._looked > _FRESH:
            self._use = in_use(self._top)
            self._looked = time.monotonic()
        return next(_uses(name, subvolumes, self._use), None)


def _delete(top: TopLevel, name: str, subvolumes: tuple[tuple[str, int], ...], report: Report) -> None:
    others = generations.remove(top, name)
    if subvolumes or not others:
        report.deleted.append(name)
    if others:
        report.kept.append((name, f"its directory holds what is not sysmut's: {', '.join(sorted(others)[:3])}"))


def _remove_link_set(top: TopLevel, name: str, report: Report) -> None:
    path = top.at(layout.link_set(name))
    with os.scandir(path) as found:
        links = [entry.path for entry in found if entry.is_symlink()]
    for link in links:
        os.unlink(link)
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        report.kept.append((layout.link_set(name), "it holds what is not sysmut's"))
    else:
        report.link_sets.append(name)


def _explained(error: OSError) -> SysmutError:
    failure = from_oserror(error)
    if error.errno == errno.EPERM:
        failure.hint = (
            "it is being sent, holds an active swap file, or is the filesystem's default subvolume: "
            "btrfs subvolume get-default tells"
        )
    return failure
