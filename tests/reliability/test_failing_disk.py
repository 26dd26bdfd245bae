"""The disk fails at the Nth write, for every N of a run; what had been reported as done is there afterwards."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sysmut import layout
from tests.lab import wait_until
from tests.reliability.apart import apart
from tests.reliability.scratch import forget_devices
from tests.reliability.table import Row
from tests.reliability.truth import Claim, Manifest, judge, manifest, slots_of
from tests.reliability.workload import CHANGE, RecordedLab, small_root
from tests.reliability.zygote import Zygote

_SESSION = ("run", "--", "sh", "-ec", CHANGE)
_RUN = (("sysmut", *_SESSION), ("sysmut", "activate", "1"), ("syscln",), ("sysmut", *_SESSION), ("syscln",))


@dataclass
class Outcome:
    """What a run on a failing disk has reported, and what may be there of what it has not."""

    claim: Claim
    manifests: dict[str, Manifest]
    unsure: bool = False
    """The rename was done, and the disk did not confirm it, which was said."""
    wrong: list[str] = field(default_factory=list)


class Disk:
    """A lab on a disk that can fail, as it was in the beginning for each run."""

    def __init__(self, directory: Path, zygote: Zygote) -> None:
        self.lab = RecordedLab(directory)
        self._zygote = zygote
        self.lab.lay_out(small_root(directory / "root", Path(shutil.which("busybox") or "")), commons=("/home",))
        self._unmount()
        self.lab.recorder.keep()

    def _mount(self) -> None:
        forget_devices()
        self.lab.mount()

    def _unmount(self) -> None:
        super(RecordedLab, self.lab).close()
        wait_until(lambda: not self._is_attached())

    def _is_attached(self) -> bool:
        found = Path("/sys/block").glob("loop*/loop/backing_file")
        return any(path.read_text().strip() == str(self.lab.image) for path in found if path.exists())

    def run(self, writes: int | None, *, once: bool) -> tuple[Outcome, int]:
        """The whole run on a disk of which so many writes succeed; and how many came."""
        self.lab.recorder.restore()
        self._mount()
        try:
            slots = self.lab.slots
            known = {name: manifest(self.lab.root(name)) for name in slots}
            outcome = Outcome(Claim(slots, slots), known)
            before = self.lab.recorder.writes
            self.lab.recorder.fail_after(writes, once=once)
            for command in _RUN:
                self._step(outcome, *command)
            return outcome, self.lab.recorder.writes - before
        finally:
            self._unmount()
            self.lab.recorder.fail_after(None)

    def _step(self, outcome: Outcome, program: str, *arguments: str) -> None:
        verb, rest = arguments[:1], arguments[1:]
        done = self._zygote.run(program, *verb, "--root", self.lab.top, "--json", *rest)
        if done.returncode:
            outcome.unsure = outcome.unsure or "in place, but" in done.stderr
            if done.returncode not in range(64, 79) or done.returncode == 70:
                outcome.wrong.append(f"{program} {verb} ended with {done.returncode}: {done.stderr}")
            return
        told = json.loads(done.stdout)
        if program == "syscln":
            outcome.claim = replace(outcome.claim, gone=outcome.claim.gone | set(told["deleted"]))
            return
        slots = told["slots"]
        outcome.claim = replace(outcome.claim, slots=slots, coming=slots)
        outcome.unsure = False
        if slots[0] not in outcome.manifests:
            outcome.manifests[slots[0]] = manifest(self.lab.root(slots[0]))

    def look(self, outcome: Outcome) -> tuple[list[str], list[str]]:
        """What is broken, and what is lost, when the disk works again and is mounted anew."""
        self._mount()
        try:
            if outcome.unsure:
                slots = slots_of(str(self.lab.top))
                if tuple(slots) == layout.rotate(tuple(outcome.claim.slots), slots[0]):
                    outcome.claim = replace(outcome.claim, coming=slots)
                    outcome.manifests.setdefault(slots[0], manifest(self.lab.root(slots[0])))
            verdict = judge(str(self.lab.top), outcome.claim, outcome.manifests)
            return outcome.wrong + verdict.broken + list(self._go_on()), verdict.lost
        finally:
            self._unmount()

    def _go_on(self) -> Iterator[str]:
        for program, *arguments in (("syscln",), ("sysmut", *_SESSION)):
            verb, rest = arguments[:1], arguments[1:]
            done = self._zygote.run(program, *verb, "--root", self.lab.top, *rest)
            if done.returncode:
                yield f"the next {program}: {done.returncode} {done.stderr}"
            if program == "syscln" and self.lab.generations != set(self.lab.slots):
                yield f"the next syscln left {self.lab.generations}"


@dataclass
class Found:
    """What a search found."""

    points: int = 0
    broken: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)


@apart
def search(directory: Path, every: int, *, once: bool, prepare: str = "") -> Found:
    """Let the disk fail after every so many writes of a whole run."""
    result = Found()
    with Zygote(prepare) as zygote:
        disk = Disk(directory, zygote)
        try:
            whole, writes = disk.run(None, once=False)
            assert len(whole.manifests) == 3
            assert disk.look(whole) == ([], [])
            for number in range(0, writes, every):
                outcome, _ = disk.run(number, once=once)
                broken, lost = disk.look(outcome)
                result.points += 1
                result.broken += bool(broken)
                result.lost += bool(lost)
                result.faults += [f"after {number} writes: {fault}" for fault in (*broken, *lost)]
        finally:
            disk.lab.close()
    assert result.points >= 100 // every
    return result


@pytest.mark.parametrize("every", [pytest.param(9, id="quick"), pytest.param(1, id="long", marks=pytest.mark.long)])
@pytest.mark.parametrize("once", [False, True], ids=["all", "one"])
def test_what_was_reported_before_the_disk_failed_is_there_afterwards(
    root_user: None, tmp_path: Path, record: Callable[[Row], None], every: int, once: bool
) -> None:
    found = search(tmp_path, every, once=once)
    assert found.faults[:20] == []
    what = "one write fails, for each of a run" if once else "all writes from the Nth on fail, for each N of a run"
    record(Row(3, what, found.points, found.broken, found.lost))


def test_without_the_sync_after_the_rename_it_would_not_be_there(
    root_user: None, tmp_path: Path, record: Callable[[Row], None]
) -> None:
    found = search(tmp_path, 7, once=False, prepare="tests.reliability.orders:no_sync_after")
    assert found.lost > 0
    record(
        Row(3, "no sync after, all writes from the Nth on fail", found.points, found.broken, found.lost, control=True)
    )
