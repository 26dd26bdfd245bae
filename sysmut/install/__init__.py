"""Make a top level and take in the first generation.

`plan` reads, and decides everything; `execute` does what the plan says, or leaves nothing behind.
Until the first `current` is renamed into place, the last step of all, there is no system: what a
run that was cut off has left is garbage, and a later one clears it away.
"""

from sysmut.install.executing import Result, execute
from sysmut.install.model import Common, Plan, Request, Source, Watch, to_json, to_lines
from sysmut.install.planning import existing, plan

__all__ = [
    "Common",
    "Plan",
    "Request",
    "Result",
    "Source",
    "Watch",
    "execute",
    "existing",
    "plan",
    "to_json",
    "to_lines",
]
