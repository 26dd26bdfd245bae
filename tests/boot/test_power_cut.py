"""The power is cut at random moments while generations are made: every boot after it is of a whole one."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.boot.conftest import looping_disk
from tests.boot.disk import DiskLab
from tests.boot.trial import BOOTING, Trial, endure


def test_after_five_power_cuts_what_boots_is_whole_and_not_older_than_what_was_reported(
    five_power_cuts: Future[Trial],
) -> None:
    assert five_power_cuts.result().moments.total() == 5


@pytest.mark.long
def test_after_fifty_power_cuts_what_boots_is_whole_and_not_older_than_what_was_reported(
    make_disk: Callable[..., DiskLab], looping_root: Path, tmp_path: Path
) -> None:
    trial = endure(looping_disk(make_disk, looping_root, tmp_path / "menu"), looping_root, 50)
    assert {BOOTING, "STARTED", "CHANGED"} <= set(trial.moments)
