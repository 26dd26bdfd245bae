"""The power is cut at random moments while generations are made, and what must be true then."""

import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.boot.disk import DiskLab
from tests.boot.guest import report
from tests.boot.looping import OnDisk, look
from tests.boot.machine import Machine
from tests.lab import FIRST

BOOTING = "BOOTING"
_EVENT = r"(MARKED|STARTED|CHANGED|PUBLISHED|CLEANED|FAILED) ([^\n]*)\n"
_WRITES_PER_SECOND = 60
"""Of the disk that is slowed down."""
_MOMENTS = (BOOTING, "MARKED", "STARTED", *("CHANGED",) * 4, "PUBLISHED", "CLEANED")
"""What is the last that is heard before a power cut. Between CHANGED, when the script has ended, and
PUBLISHED the most happens that could go wrong."""


@dataclass
class Trial:
    """What is known of the disk, from one power cut to the next."""

    disk: DiskLab
    pristine: Path
    dice: random.Random
    possible: list[str] = field(default_factory=lambda: [FIRST])
    """The generations that may be slot 0 now, in the order in which they were made: the one that was last
    reported as published, and those that were begun later."""
    default: str = FIRST
    """The one that the menu boots."""
    boot_time: float = 0.0
    """Seconds."""
    writes: dict[str, int] = field(default_factory=dict)
    """The most writes to the disk from what was told, the key, to what was told next."""
    heard: tuple[str, int] = ("", 0)
    """What was told last, and the number of writes until then."""
    moments: Counter[str] = field(default_factory=Counter)
    """How many power cuts came after what."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """What was found on the disk after how many."""

    def measure(self) -> None:
        """Boot, learn how much is written when, and cut the power as soon as a generation is reported."""
        began = time.monotonic()
        with Machine(self.disk.image) as machine:
            self.arrive(machine)
            self.boot_time = time.monotonic() - began
            slow_down(machine)
            while "CLEANED" not in self.writes or self.heard[0] != "PUBLISHED":
                self._next(machine)
        self._learn(machine)

    def cut(self) -> None:
        """Boot, and cut the power at a random moment."""
        moment = self.dice.choice(_MOMENTS)
        times = self.dice.randint(1, 2)
        with Machine(self.disk.image) as machine:
            if moment == BOOTING:
                time.sleep(self.dice.uniform(0, self.boot_time))
            else:
                self.arrive(machine)
                while moment != "MARKED" and times:
                    times -= self._next(machine) == moment
                most = self.writes[moment]
                wait_for_writes(machine, round(self.dice.triangular(0, most, most)))  # what matters comes last
        self._learn(machine)

    def arrive(self, machine: Machine) -> None:
        """Wait for the system, and see that it is the one that the menu had to boot, in all its parts."""
        kernel = machine.expect(r"Loaded initrd fr(\w{22})")[1].decode()
        booted = report(machine)
        initramfs = machine.expect(r"MARKED (\w*)\n")[1].decode()
        assert (kernel, initramfs, booted.name) == (self.default,) * 3
        assert booted.mounted("/")[0] == f"/snapshots/{self.default}/@"
        self.heard = ("MARKED", writes(machine))

    def _next(self, machine: Machine) -> str:
        event = machine.expect(_EVENT)[1].decode()
        assert event != "FAILED", machine.transcript[-4096:]
        before, count = self.heard
        self.heard = (event, writes(machine))
        self.writes[before] = max(self.writes.get(before, 0), self.heard[1] - count)
        return event

    def _learn(self, machine: Machine) -> None:
        """With the power off: what is on the disk, and is it what was reported?"""
        last = BOOTING
        for event, name in re.findall(f"^{_EVENT}", machine.transcript, re.MULTILINE):
            assert event != "FAILED", machine.transcript[-4096:]
            last = event
            if event == "STARTED":
                self.possible.append(name)
            elif event == "PUBLISHED":
                self.possible = [name]
        found = look(self.disk, self.pristine)
        outcome = self._judge(found)
        print(f"power cut after {last}: {outcome}: {found}")
        self.moments[last] += 1
        self.outcomes[outcome] += 1
        self.default = found.default
        self.possible = list(dict.fromkeys((found.default, found.slots[0])))

    def _judge(self, found: OnDisk) -> str:
        assert found.slots[0] in self.possible, f"{found}, and not one of {self.possible}"
        assert found.default in self.possible, f"{found}, and not one of {self.possible}"
        assert self.possible.index(found.default) <= self.possible.index(found.slots[0])
        if found.default != found.slots[0]:
            return "the menu in between"
        return "as reported" if found.default == self.possible[0] else "new, and not yet reported"


def writes(machine: Machine) -> int:
    """How many writes the disk has done since the machine was started."""
    (disk,) = [found for found in machine.qmp("query-blockstats") if found["device"] == "disk"]
    return int(disk["stats"]["wr_operations"])


def slow_down(machine: Machine) -> None:
    """Let the disk do few writes at a time, so that the power can be cut between any two of them."""
    unlimited = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd"), 0)
    machine.qmp("block_set_io_throttle", device="disk", iops_wr=_WRITES_PER_SECOND, **unlimited)


def wait_for_writes(machine: Machine, number: int) -> None:
    """Wait until so many writes more are done, or something is told."""
    slow_down(machine)
    wanted = writes(machine) + number
    told = len(machine.transcript)
    while writes(machine) < wanted and not re.search(_EVENT, machine.transcript[told:]):
        time.sleep(0.002)


def endure(disk: DiskLab, root: Path, cuts: int) -> Trial:
    """Cut the power so often, with a boot before each and one more at the end. POWER_CUT_SEED repeats the
    choices of a run."""
    seed = int(os.environ.get("POWER_CUT_SEED") or random.randrange(2**32))
    trial = Trial(disk, root, random.Random(seed))
    try:
        _endure(trial, cuts)
    except AssertionError as error:
        raise AssertionError(f"POWER_CUT_SEED={seed}: {error}") from error
    return trial


def _endure(trial: Trial, cuts: int) -> None:
    disk = trial.disk
    trial.measure()
    for _ in range(cuts - 1):
        trial.cut()
    with Machine(disk.image) as machine:
        trial.arrive(machine)
    print(f"{dict(trial.moments)} {dict(trial.outcomes)} {trial.writes}")
    assert trial.default != FIRST
    disk.mount()
    assert disk.sysmut("check").returncode == 0
    assert disk.syscln().returncode == 0
    assert disk.generations == set(disk.slots)
