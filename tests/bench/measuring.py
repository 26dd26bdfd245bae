"""One run on the clock, and many of them in an order that is shuffled anew in each round.

A run's ratios are taken within its round, so that what slows the whole machine for a while touches both sides.
"""

import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.lab import without_coverage


class RunFailed(Exception):
    """A program that is measured failed, or did not do what it was to do."""


@dataclass(frozen=True)
class Contender:
    """One program that does what a case is about."""

    name: str
    command: Callable[[], Sequence[str]]
    """Its command line, asked for before each run: there is a new id in it, for one."""
    typed: str = ""
    """What it reads from its standard input."""
    prepare: Callable[[], None] = lambda: None
    """Before each run, off the clock."""
    finish: Callable[[], None] = lambda: None
    """After each run: sees to it that it did what it was to do, and puts the state back."""
    commits: Callable[[], int] = lambda: 0
    """The count of commits of its filesystem."""
    tells: bool = False
    """Whether it prints the seconds that count."""

    def run(self) -> "Sample":
        """One run, with what goes before and after."""
        self.prepare()
        sample = timed(self.command(), self.typed)
        self.finish()
        return replace(sample, wall=float(sample.output)) if self.tells else sample


@dataclass(frozen=True)
class Sample:
    """What one run took, in seconds."""

    wall: float
    cpu: float
    """User and system, with all that it waited for."""
    output: str = ""


@dataclass
class Case:
    """What is measured, by whom."""

    name: str
    title: str
    contenders: list[Contender]
    most: int | None = None
    """How often at most, where that is less often than the rest."""
    work: int = 0
    """How many of what it does, where that is a number."""
    traced: bool = True
    """Whether its calls are counted, too, by a tracer."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)


def environment() -> dict[str, str]:
    """The environment of everything that is run: as where it is installed, with nothing of tests in it."""
    found = without_coverage()
    found["PATH"] = f"/usr/lib/execline/bin:{found.get('PATH', '')}:/usr/sbin:/sbin"
    found["LC_ALL"] = "C.UTF-8"
    return found


def timed(command: Sequence[str], typed: str = "") -> Sample:
    """Run a command that must succeed, on the clock."""
    with open(os.memfd_create("output"), "w+b") as output, open(os.memfd_create("input"), "w+b") as feed:
        feed.write(typed.encode())
        feed.seek(0)
        given = environment()
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=feed, stdout=output, stderr=output, env=given)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # a signal ends this program
            process.kill()
            raise
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise RunFailed(f"{' '.join(command)}: status {process.returncode}: {text[-1000:]}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, text)


def interleave(cases: Sequence[Case], runs: int, chance: random.Random, tell: Callable[[str], None]) -> None:
    """Run all of them so often, and keep what they took. A first run, which counts for nothing,
    goes before where they are many."""
    for number in range(-1, runs):
        tell(f"round {number + 1} of {runs}")
        for case in chance.sample(list(cases), len(cases)):
            if number >= (case.most or runs) or (number < 0 and case.most is not None):
                continue
            for contender in chance.sample(case.contenders, len(case.contenders)):
                sample = contender.run()
                if number >= 0:
                    case.samples.setdefault(contender.name, []).append(sample)


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one value at least."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, middle, high)


def wall(case: Case, name: str) -> Spread:
    """The wall time of one contender, in seconds."""
    return Spread.of([sample.wall for sample in case.samples[name]])


def cpu(case: Case, name: str) -> Spread:
    """Its time on a processor, in seconds."""
    return Spread.of([sample.cpu for sample in case.samples[name]])


def ratio(case: Case, name: str, other: str) -> Spread:
    """How many times as long as the other it took, round by round."""
    pairs = zip(case.samples[name], case.samples[other], strict=True)
    return Spread.of([one.wall / two.wall for one, two in pairs])


def cpu_ratio(case: Case, name: str, other: str) -> Spread:
    """The same of the time on a processor."""
    pairs = zip(case.samples[name], case.samples[other], strict=True)
    return Spread.of([one.cpu / two.cpu if two.cpu else 0.0 for one, two in pairs])
