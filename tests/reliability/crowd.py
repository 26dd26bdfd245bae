"""A crowd: workers that each carry out operations of every kind, drawn from a seed, on one top level at once.

What a worker does follows from the seed; which generations there are to choose from, and who comes first, is
the kernel's affair.
"""

import fcntl
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.lab import FIRST, Lab, without_coverage
from tests.reliability.zygote import Zygote

KINDS = {
    "publish": 20, "unchanged": 5, "changed": 5, "failing": 5, "kept": 5, "kill": 16, "activate": 12,
    "rollback": 6, "pin": 10, "syscln": 8, "preview": 4, "status": 6,
}  # fmt: skip
"""What is done, and how often among a hundred."""

MOMENTS = ("start", *(f"line {number}" for number in range(4)), "line 3", "staged", "staged", "staged")
"""When a session is killed: by what it has said, or when a link set is about to be put in force."""
_WRITE = (
    "rm -f /data/*; cd /data; for n in 0 1 2; do echo NAME $n >$n; echo line $n; done; "
    'grep "" * >/manifest; echo line 3'
)
"""A session's script: it names its operation in the generation, and says how far it has come."""
SESSIONS = {
    "publish": ([], _WRITE),
    "unchanged": (["--drop-if-unchanged"], "true"),
    "changed": (["--drop-if-unchanged"], _WRITE),
    "failing": ([], f"{_WRITE}; exit 7"),
    "kept": (["--keep-failed"], f"{_WRITE}; exit 7"),
    "kill": ([], _WRITE),
}


@dataclass(frozen=True)
class Operation:
    """One command, as drawn."""

    name: str
    worker: int
    kind: str
    slot: int | None
    """The slot that is meant; None: a generation by its id."""
    which: float
    """Which of the generations known by then, 0 to 1."""
    signal: signal.Signals
    moment: str
    """Of MOMENTS, for what is killed."""
    pause: float
    """Seconds from there to the kill."""


def draw(seed: int, worker: int, number: int) -> list[Operation]:
    """The operations of one worker."""
    chance = random.Random(f"{seed} {worker}")
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=number)
    return [
        Operation(
            name=f"{seed}-{worker}-{place}",
            worker=worker,
            kind=kind,
            slot=chance.choice([0, 0, 0, 1, 2, 3, None, None]),
            which=chance.random(),
            signal=chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]),
            moment=chance.choice(MOMENTS),
            pause=chance.choice([0.0, 0.0, chance.uniform(0, 0.05), chance.uniform(0, 0.3)]),
        )
        for place, kind in enumerate(kinds)
    ]


@dataclass(frozen=True)
class Done:
    """How an operation ended."""

    operation: Operation
    began: int
    """Its place among all beginnings and ends."""
    ended: int
    asked: str
    """The generation or slot that was named."""
    status: int
    told: dict[str, Any]
    said: str

    @property
    def acknowledged(self) -> str | None:
        """The link set that it says to have put in force."""
        changed = self.status == 0 and (self.told.get("outcome") == "published" or self.told.get("changed"))
        return self.told["current"] if changed else None


@dataclass
class Crowd:
    """Workers on one top level, and what they know together."""

    lab: Lab
    done: list[Done] = field(default_factory=list)
    known: list[str] = field(default_factory=lambda: [FIRST])
    """Generations that somebody was told of: published, or overtaken and kept."""
    pins: dict[str, str] = field(default_factory=dict)
    """Pin -> generation, of those that were there when the pin had been made."""
    faults: list[str] = field(default_factory=list)
    places: "itertools.count[int]" = field(default_factory=itertools.count)

    def work(self, operations: list[list[Operation]]) -> None:
        """Have a worker for each list carry it out; return when all are done."""
        threads = [threading.Thread(target=self._worker, args=(each,)) for each in operations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _worker(self, operations: list[Operation]) -> None:
        try:
            with Zygote() as zygote:
                pins: deque[str] = deque()
                for operation in operations:
                    if operation.kind == "pin":
                        self._pin_or_unpin(operation, pins)
                    else:
                        self._carry_out(operation, zygote)
        except BaseException as error:
            self.faults.append(f"a worker ended early: {error!r}")
            raise

    def _carry_out(self, operation: Operation, zygote: Zygote) -> None:
        asked = str(operation.slot) if operation.slot is not None else self._one_of_the_last(operation, 12)
        began = next(self.places)
        if operation.kind == "kill":
            status, output, said = self._killed(operation, asked)
        else:
            finished = zygote.run(*_command(operation, asked, str(self.lab.top)))
            status, output, said = finished.returncode, finished.stdout, finished.stderr
        told = json.loads(output) if output.strip() else {}
        self.done.append(Done(operation, began, next(self.places), asked, status, told, said))
        generation = told.get("generation") or told.get("error", {}).get("generation")
        if generation and operation.kind != "kept":
            self.known.append(generation)

    def _one_of_the_last(self, operation: Operation, number: int) -> str:
        choice = self.known[-number:]
        return choice[int(operation.which * len(choice))]

    def _killed(self, operation: Operation, asked: str) -> tuple[int, str, str]:
        """A session in a process of its own, that gets the signal at its moment."""
        process = self.lab.start(*_command(operation, asked, "")[3:], env=without_coverage())
        assert process.stderr is not None
        last = "line 3" if operation.moment == "staged" else operation.moment
        said = ""
        while last != "start" and f"{last}\n" not in said and (line := process.stderr.readline()):
            said += line
        while operation.moment == "staged" and process.poll() is None and not self._is_staged():
            time.sleep(0.0002)
        time.sleep(operation.pause)
        process.send_signal(operation.signal)
        output, rest = process.communicate(timeout=60)
        return process.returncode, output if process.returncode >= 0 else "", said + rest

    def _is_staged(self) -> bool:
        """Whether somebody, the one to be killed or another, is about to rename next/current."""
        return os.path.lexists(self.lab.top / "next/current")

    def _pin_or_unpin(self, operation: Operation, pins: "deque[str]") -> None:
        """A pin by ln, which takes no lock; or the end of an old one, until which its generation must be there.
        What a syscln had begun to delete before is none that was kept by the pin."""
        began = next(self.places)
        if len(pins) > 1:
            self._look_at(pins[0])
            self.pins.pop(pins[0])
            (self.lab.top / "pins" / pins.popleft()).unlink()
        else:
            link = self.lab.top / "pins" / operation.name
            generation = self._one_of_the_last(operation, 4)
            link.symlink_to(f"../snapshots/{generation}")
            wait_for_the_lock(self.lab)
            if self.lab.root(generation).exists():
                self.pins[operation.name] = generation
                pins.append(operation.name)
            else:
                link.unlink()
        self.done.append(Done(operation, began, next(self.places), "", 0, {}, ""))

    def _look_at(self, pin: str) -> None:
        root = self.lab.root(self.pins[pin])
        if not (root / "manifest").is_file():
            self.faults.append(f"pin {pin}: generation {self.pins[pin]} was collected")

    def look_at_pins(self) -> None:
        """What is pinned still must be there."""
        for pin in self.pins:
            self._look_at(pin)


def wait_for_the_lock(lab: Lab) -> None:
    """Return when nobody has the lock who had it before."""
    fd = os.open(lab.top / "links", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.close(fd)


def _command(operation: Operation, asked: str, top: str) -> list[str]:
    """The program, and its arguments."""
    start = ["--root", top, "--json"]
    if operation.kind in SESSIONS:
        options, script = SESSIONS[operation.kind]
        text = script.replace("NAME", operation.name)
        return ["sysmut", *start, "run", *options, asked, "--", "sh", "-ec", text]
    return {
        "activate": ["sysmut", *start, "activate", asked],
        "rollback": ["sysmut", *start, "rollback"],
        "status": ["sysmut", *start, "status"],
        "syscln": ["syscln", *start],
        "preview": ["syscln", *start, "-n"],
    }[operation.kind]
