"""What does not depend on the clock: memory, processes, system calls, commits. Each is counted in runs of its own."""

import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import Contender, RunFailed, environment

_STARTED = re.compile(r"^(?:\d+ +)?(?:clone3?|v?fork)\((?!.*CLONE_THREAD)")
_CALL = re.compile(r"^(?:\d+ +)?\w+\(")
# The peak of a process counts from its fork on, and would be at least that of this program. So a shell starts it, which
# then becomes what reads the peak of its children.
_PEAK = """\
"$@" >/dev/null 2>&1 || exit
exec "$0" -c "import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
"""


@dataclass(frozen=True)
class Counts:
    """What one run of a program comes to."""

    memory: int
    """The most that one of its processes had in memory, in KiB."""
    commits: int
    processes: int | None = None
    """How many were started, itself included; None where no tracer looked."""
    calls: int | None = None


def count(contender: Contender, *, runs: int, traced: bool) -> Counts:
    """Count what one run comes to, the median of so many; and, in one more, what a tracer sees."""
    memory, commits = [], []
    for _ in range(runs):
        contender.prepare()
        before = contender.commits()
        memory.append(_peak(contender))
        commits.append(contender.commits() - before)
        contender.finish()
    processes, calls = _traced(contender) if traced else (None, None)
    return Counts(int(statistics.median(memory)), int(statistics.median_low(commits)), processes, calls)


def _peak(contender: Contender) -> int:
    """The most memory of one of its processes, in KiB."""
    command = ["sh", "-c", _PEAK, sys.executable, *contender.command()]
    done = subprocess.run(
        command, input=contender.typed, capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode != 0:
        raise RunFailed(f"{contender.name}: status {done.returncode} when its memory was looked at: {done.stderr}")
    return int(done.stdout)


def _traced(contender: Contender) -> tuple[int, int]:
    """How many processes it starts, and how many system calls they make."""
    with tempfile.NamedTemporaryFile(prefix="calls-") as output:
        contender.prepare()
        done = subprocess.run(
            ["strace", "-f", "-qq", "-s", "0", "-o", output.name, *contender.command()],
            input=contender.typed, capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RunFailed(f"{contender.name}: status {done.returncode} under strace: {done.stderr[-1000:]}")
        contender.finish()
        lines = Path(output.name).read_text(errors="replace").splitlines()
    started = [line for line in lines if _STARTED.match(line) and " = -1 " not in line]
    return 1 + len(started), sum(1 for line in lines if _CALL.match(line))
