"""Is all well? For monitoring: a verdict in one line with the status that goes with it, and figures."""

from collections.abc import Sequence
from typing import Any

from sysmut import layout
from sysmut.boot import checking
from sysmut.boot.finding import Finding
from sysmut.config import Config
from sysmut.status.glance import CRITICAL, LEVELS, OK, UNKNOWN, WARNING, Problem, circumstances, worst_first
from sysmut.status.model import Status
from sysmut.text import size
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

__all__ = ["UNKNOWN", "Health", "judge", "to_json", "to_line"]


@frozen
class Health:
    """How a system is."""

    problems: tuple[Problem, ...]
    """The worst first."""
    boots: tuple[bool | None, ...]
    """Slot by slot: whether it would boot."""

    @property
    def level(self) -> int:
        return max((problem.level for problem in self.problems), default=OK)


def judge(top: TopLevel, status: Status, config: Config, menu: Sequence[Finding]) -> Health:
    """How the system is; `menu` is what has been found of the boot menu. Looks into every slot's kernel and
    initramfs, as `sysmut check` does."""
    state = status.state
    kernel = checking.is_to_boot(top, state.slots)
    names = {name for name in state.slots if name is not None}
    found = {name: _errors(checking.generation(top, name, config, kernel=kernel)) for name in names}
    problems = [
        Problem(level, str(finding))
        for finding in (*checking.filesystem(top, state), *menu)
        if (level := _level(finding)) != OK
    ]
    for name in sorted(names, key=state.slots.index):
        if found[name]:
            level = CRITICAL if name == state.slots[0] else WARNING
            where = ", ".join(said for said in state.references(name) if said.startswith("slot"))
            problems.append(Problem(level, f"{where} would not boot: {found[name][0]}"))
    boots = tuple(None if name is None else not found[name] for name in state.slots)
    return Health(tuple(worst_first([*problems, *circumstances(status, config)])), boots)


def _level(finding: Finding) -> int:
    """How bad it is: what keeps a fallback alone from booting is no more than a warning."""
    if finding.severity == "error":
        return WARNING if finding.where.startswith("slot ") and finding.where != "slot 0" else CRITICAL
    return WARNING if finding.severity == "warning" else OK


def _errors(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]


def to_line(health: Health, status: Status) -> str:
    """The verdict, and behind `|` the figures, as monitoring plugins write them."""
    said = "; ".join(problem.message for problem in health.problems)
    if not said:
        first = status.state.slots[0]
        different = len(set(status.state.slots)) - 1
        said = f"slot 0 is {first}, {different} to fall back to, {size(status.free)} free"
    figures = f"free={status.free}B;;;0;{status.total} waiting={len(status.waiting)} generations={status.number}"
    return f"SYSMUT {LEVELS[health.level]} - {said.replace('|', '/')} | {figures}"


def to_json(health: Health) -> dict[str, Any]:
    """The verdict as JSON has it."""
    return {
        "status": health.level,
        "verdict": LEVELS[health.level].lower(),
        "problems": [{"level": LEVELS[p.level].lower(), "message": layout.shown(p.message)} for p in health.problems],
        "boots": list(health.boots),
    }
