"""What may go, and making it go: `plan` decides and touches nothing, `execute` deletes.

Two guards keep a generation, each enough alone: `plan` keeps what is reachable, and `execute` keeps
what is in use at the moment of deletion, whatever the plan says. The kernel itself deletes a
mounted subvolume without a word, and empties the running root.

Retention keeps some of what is neither. It is never asked about what the guards keep, and the guards
never about it.
"""

from sysmut.cleanup.executing import execute
from sysmut.cleanup.model import NOT_REFERENCED, NOT_SEALED, OPEN, Facts, Made, Plan, Report, Shortfall, Verdict
from sysmut.cleanup.planning import only, plan, survey, without_sessions
from sysmut.cleanup.retention import Retention
from sysmut.cleanup.room import make_room

__all__ = [
    "NOT_REFERENCED",
    "NOT_SEALED",
    "OPEN",
    "Facts",
    "Made",
    "Plan",
    "Report",
    "Retention",
    "Shortfall",
    "Verdict",
    "execute",
    "make_room",
    "only",
    "plan",
    "survey",
    "without_sessions",
]
