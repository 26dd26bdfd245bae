"""What the verbs that only look have in common."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sysmut.config import Config


def planned(top: Any, config: Config, *, explained: bool = True) -> Any:
    """What syscln would do now, with what is open in a session called so; with every reason, if it is to be
    explained."""
    from sysmut import cleanup, toplevel

    retention = cleanup.Retention.of(config)
    with toplevel.locked(top):
        planned = cleanup.plan(*cleanup.survey(top, described=retention.given, explained=explained), retention)
        return cleanup.without_sessions(top, planned)


def entries(top: Any, plan: Any, booted: str | None, sizes: Mapping[str, int], config: Config) -> list[Any]:
    """Every generation as a value of the overview room, newest first."""
    from sysmut import cleanup, overview

    fates = overview.Fates(
        reasons={verdict.generation: verdict.reasons for verdict in plan.verdicts},
        doomed=frozenset(plan.doomed),
        open=frozenset(verdict.generation for verdict in plan.verdicts if verdict.reasons == (cleanup.OPEN,)),
        subvolumes=plan.subvolumes,
    )
    return overview.collect(top, plan.state, booted, fates, sizes, config)


def sizes(top: Any, plan: Any, *, counted: bool, tick: Callable[[str], None]) -> dict[str, int]:
    """What each generation holds by itself, where that is known or to be counted."""
    from sysmut import overview

    return overview.exclusive(top, plan.subvolumes, counted=counted, tick=tick)


def width() -> int | None:
    """The columns of the terminal on standard output; None where it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return None
