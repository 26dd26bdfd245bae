"""The power is cut at every block write of many sessions, and in every other way that a disk allows."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import sh
from tests.reliability import history
from tests.reliability.apart import apart
from tests.reliability.cuts import VIEWS, Found, Search
from tests.reliability.history import Event
from tests.reliability.scratch import Scratch
from tests.reliability.table import Row
from tests.reliability.truth import Manifest
from tests.reliability.workload import RecordedLab, Workload, neighbour, small_root
from tests.reliability.zygote import Zygote

LONG = pytest.mark.long
Record = Callable[[Row], None]


@dataclass(frozen=True)
class Recording:
    """A disk's history, and what it is to be held against."""

    events: tuple[Event, ...]
    manifests: dict[str, Manifest]
    initial: Path
    backing: Path
    sessions: int


@apart
def record_rounds(directory: Path, sessions: int, prepare: str = "") -> Recording:
    """The history of a lab in which so many sessions, and the rest, are run."""
    busybox = shutil.which("busybox")
    assert busybox
    root = small_root(directory / "root", Path(busybox))
    lab = RecordedLab(directory)
    try:
        lab.lay_out(root, commons=("/home",))
        with Zygote(prepare) as zygote, neighbour(lab.top / "commons/@home"):
            work = Workload(lab, zygote, seed=sessions)
            work.begin()
            work.rounds(sessions)
    finally:
        lab.close()
    return Recording(tuple(history.read(lab.log)), work.manifests, lab.initial, lab.backing, sessions)


@contextmanager
def scratch_for(recording: Recording, directory: Path) -> Iterator[Scratch]:
    """A scratch whose image is the recording's disk as it was in the beginning."""
    for name in ("scratch", "mounted"):
        (directory / name).mkdir()
    scratch = Scratch(directory / "scratch", directory / "mounted", recording.initial)
    try:
        yield scratch
    finally:
        scratch.close()


@pytest.fixture(scope="module", params=[pytest.param(4, id="quick"), pytest.param(20, id="long", marks=LONG)])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A history of four sessions and more, in the long form of twenty."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    return record_rounds(tmp_path_factory.mktemp("recorded"), request.param)


def note(record: Record, what: str, found: Found, *, control: bool = False) -> None:
    """The rows of a search, one for each view. Unless it is a control, what is wrong is told first."""
    assert control or found.faults[:20] == []
    if control:
        record(Row(1, what, found.points, sum(found.broken.values()), sum(found.lost.values()), control=True))
        return
    for view in VIEWS:
        record(Row(1, f"{what}, {view}", found.points, found.broken[view], found.lost[view]))


def test_the_replayed_end_of_a_history_is_the_disk_itself(recording: Recording, tmp_path: Path) -> None:
    replayed = tmp_path / "replayed"
    sh("cp", "--sparse=always", recording.initial, replayed)
    image = os.open(replayed, os.O_RDWR)
    for event in recording.events:
        event.apply(image)
    os.close(image)
    assert replayed.read_bytes() == recording.backing.read_bytes()


@apart
def test_a_cut_at_any_write_leaves_the_old_or_the_new_and_what_works_on(
    recording: Recording, tmp_path: Path, record: Record
) -> None:
    every = 20 if recording.sessions < 20 else 1
    with scratch_for(recording, tmp_path) as scratch, Zygote() as zygote:
        found = Search(scratch, recording.events, recording.manifests).every_prefix(every, zygote)
    assert found.points > 50 * recording.sessions
    assert found.continued >= found.points // every
    note(record, "power cut at every block write of sessions, activations, pins and collections", found)
    record(Row(1, "the next collection and session at these points", found.continued, found.stuck, 0))


@apart
def test_a_cut_that_leaves_any_part_of_what_was_not_flushed_leaves_the_old_or_the_new(
    recording: Recording, tmp_path: Path, record: Record
) -> None:
    tries = 2 if recording.sessions < 20 else 25
    with scratch_for(recording, tmp_path) as scratch:
        found = Search(scratch, recording.events, recording.manifests).between_flushes(tries, seed=tries)
    assert found.points > 5 * tries * recording.sessions
    note(record, "power cut with any part of what was not flushed, in any order, torn", found)


@apart
@pytest.mark.parametrize("order", ["rename_then_fsync", "rename_then_commit", "no_sync_after"])
def test_orders_of_publishing_that_are_wrong_are_found_to_be(tmp_path: Path, record: Record, order: str) -> None:
    recording = record_rounds(tmp_path, 1, f"tests.reliability.orders:{order}")
    with scratch_for(recording, tmp_path) as scratch, Zygote() as zygote:
        found = Search(scratch, recording.events, recording.manifests).every_prefix(10**9, zygote)
    broken, lost = sum(found.broken.values()), sum(found.lost.values())
    assert (lost if order == "no_sync_after" else broken) > 0
    note(record, order.replace("_", " "), found, control=True)
