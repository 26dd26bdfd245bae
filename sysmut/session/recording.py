"""What is written down of a session: the generation's record, and a line of the history."""

import time
from collections.abc import Callable
from typing import Any

from sysmut import history, layout, packages
from sysmut.boot import kernels
from sysmut.config import Config
from sysmut.errors import BadData, from_oserror
from sysmut.generations import Draft, Record
from sysmut.session.environment import Program


def record(
    draft: Draft, source: str, slot: str, program: Program, description: str, began: float, config: Config,
    say: Callable[[str], None],
) -> Record:  # fmt: skip
    """The record of a generation that is about to be sealed, made from `source`, which the user called `slot`.
    `say` is told what could not be found out."""
    counted = _packages(draft, source, say)
    return Record(
        generation=draft.id,
        source=source,
        slot=int(slot) if len(slot) <= 3 and slot.isdigit() else None,
        command=program.shown,
        began=layout.timestamp(began),
        ended=layout.timestamp(time.time()),
        description=description,
        script_sha256=program.sha256,
        user=history.user(),
        kernel=kernels.label(draft.root, config.kernel),
        packages_added=counted.added if counted else None,
        packages_removed=counted.removed if counted else None,
        packages_changed=counted.changed if counted else None,
    )


def _packages(draft: Draft, source: str, say: Callable[[str], None]) -> packages.Tally | None:
    """How the packages differ from the source's; None where one of the databases cannot be read."""
    try:
        return packages.tally(packages.changes(draft.top.at(layout.root(source)), draft.root))
    except (BadData, OSError) as error:
        problem = from_oserror(error) if isinstance(error, OSError) else error
        say(f"the packages could not be counted: {problem.message}")
        return None


def note(
    draft: Draft, program: Program, description: str, began: float, event: str, tell: Callable[[str], None],
    **facts: Any,
) -> None:  # fmt: skip
    """Write into the history how a session ended."""
    history.note(
        draft.top,
        event,
        tell,
        generation=draft.id,
        command=program.shown,
        description=description or None,
        seconds=round(time.time() - began),
        **facts,
    )
