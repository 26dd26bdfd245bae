"""Each system call of a session, an activation and a collection fails, or is the last."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.reliability.apart import apart
from tests.reliability.failing import FAULTS, PROGRAMS, ROLES, Trial
from tests.reliability.table import Row
from tests.reliability.workload import small_root


@contextlib.contextmanager
def trial_in(directory: Path) -> Iterator[Trial]:
    """A lab to fail in."""
    lab = Lab(directory)
    with contextlib.ExitStack() as stack:
        stack.callback(lab.close)
        lab.lay_out(small_root(directory / "root", Path(shutil.which("busybox") or "")), commons=("/home",))
        yield Trial(lab, directory, stack)


@pytest.mark.parametrize("every", [pytest.param(9, id="quick"), pytest.param(1, id="long", marks=pytest.mark.long)])
@pytest.mark.parametrize("program", PROGRAMS)
@apart
def test_after_a_fault_at_any_call_it_is_the_old_or_the_new_and_the_next_run_works(
    root_user: None, tmp_path: Path, record: Callable[[Row], None], program: str, every: int
) -> None:
    with trial_in(tmp_path) as trial:
        points = [
            (role, call, fault) for role in ROLES[program] for call in trial.calls(program, role) for fault in FAULTS
        ]
        assert {"mkdir", "symlink", "rename", "syncfs", "ioctl", "unlink"} & {call.name for _, call, _ in points}
        for role, call, fault in points[::every]:
            trial.attempt(program, role, call, fault)
    report = trial.report
    assert report.faults == []
    assert report.points >= len(points[::every])
    record(Row(2, f"a fault at each call: {program}", report.points, report.broken, report.lost))


@apart
def test_a_resolver_file_that_stays_mounted_is_told(root_user: None, tmp_path: Path) -> None:
    with trial_in(tmp_path) as trial:
        (call,) = [call for call in trial.calls("session", "keeper") if call.name == "umount2"]
        trial.attempt("session", "keeper", call, "EIO")
        assert trial.report.faults == []
