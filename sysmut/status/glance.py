"""Is all well, as far as that can be told without reading kernels?"""

from sysmut import btrfs
from sysmut.config import Config
from sysmut.status.model import Status
from sysmut.text import size
from sysmut.values import frozen

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""The exit statuses of the Monitoring Plugins' guidelines."""

LEVELS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

_SPARE = 0.05
"""The part of a filesystem that should be free: below it, upgrades begin to fail one day."""


@frozen
class Problem:
    """Something that is not well."""

    level: int
    message: str


def glance(status: Status, config: Config) -> list[Problem]:
    """What is not well, the worst first."""
    return worst_first([*_of_links(status), *circumstances(status, config)])


def circumstances(status: Status, config: Config) -> list[Problem]:
    """What is not well, apart from the links and the filesystem itself."""
    return [*_of_booting(status), *_of_fallbacks(status), *_of_space(status, config)]


def worst_first(problems: list[Problem]) -> list[Problem]:
    """The problems by their level; those of one level stay in their order."""
    return sorted(problems, key=lambda problem: -problem.level)


def _of_links(status: Status) -> list[Problem]:
    found = []
    if status.state.slots[0] is None:
        found.append(
            Problem(CRITICAL, "slot 0 leads nowhere: make a generation that is there slot 0 (sysmut activate)")
        )
    elif None in status.state.slots:
        found.append(Problem(WARNING, "a slot leads nowhere; the next session or activation drops it from the slots"))
    for name in status.rootless:
        where = ", ".join(status.state.references(name))
        level = CRITICAL if name == status.state.slots[0] else WARNING
        found.append(Problem(level, f"{where}: generation {name} has no root any more"))
    if status.default_subvolume != btrfs.FS_TREE:
        found.append(
            Problem(
                CRITICAL,
                f"the filesystem's default subvolume is {status.default_subvolume}, and rEFInd boots only from 5: "
                "btrfs subvolume set-default 5 /",
            )
        )
    return found


def _of_booting(status: Status) -> list[Problem]:
    first = status.state.slots[0]
    if status.booted is None or first is None or status.booted == first:
        return []
    where = "" if status.booted in status.state.slots else ", and is in no slot"
    return [Problem(WARNING, f"the running system is not slot 0{where}; a reboot brings slot 0, {first}")]


def _of_fallbacks(status: Status) -> list[Problem]:
    slots = status.state.slots
    if len(slots) > 1 and len(set(slots)) == 1:
        return [Problem(WARNING, "every slot holds the same generation: there is nothing to fall back to")]
    return []


def _of_space(status: Status, config: Config) -> list[Problem]:
    if status.free < config.min_free:
        return [Problem(CRITICAL, f"only {size(status.free)} are free, less than min_free: no session can begin")]
    if status.free < _SPARE * status.total:
        return [Problem(WARNING, f"only {size(status.free)} of {size(status.total)} are free: run syscln")]
    return []
