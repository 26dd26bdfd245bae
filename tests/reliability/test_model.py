"""Slots and collection: whatever is done, in whatever order, disk and commands are as a simple model has them."""

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.lab import FIRST, Finished, Lab, sh, wait_until
from tests.reliability.model import GARBAGE, Model
from tests.reliability.table import Row
from tests.reliability.zygote import Zygote
from tests.test_concurrency import descendants, is_running

MOUNT_POINT = "/mnt"
PINS = ("good", "old", "x y")
FIRST_LINKS = "20260101000001AbCdEfGh"
_SUBVOL_GETFLAGS, _RDONLY = 0x80089419, 2


@dataclass(frozen=True)
class Waiting:
    """A session that waits to be told its exit status."""

    zygote: Zygote
    process: int
    number: int


class Bench:
    """The filesystem, and hands that do to it what a user may do without sysmut."""

    def __init__(self, lab: Lab, zygotes: list[Zygote]) -> None:
        self.lab = lab
        self.steps = 0
        self._zygote, *self.idle = zygotes
        self.waiting: dict[str, Waiting] = {}
        self._mounts: dict[str, subprocess.Popen[str]] = {}
        self._seed = lab.top / "seed"
        sh("btrfs", "subvolume", "snapshot", "-r", lab.root(FIRST), self._seed)

    def reset(self) -> None:
        """One generation in four slots, and nothing else."""
        for name in list(self.waiting):
            self.kill(name)
        for name in list(self._mounts):
            self.unmount(name)
        top = self.lab.top
        for name in self.lab.generations:
            self.lose(name)
        sh("rm", "-rf", top / "pins", top / "trial", *(top / "links" / name for name in self.lab.link_sets))
        (top / "snapshots" / FIRST).mkdir()
        sh("btrfs", "subvolume", "snapshot", "-r", self._seed, self.lab.root(FIRST))
        self.lab.link([FIRST] * 4, FIRST_LINKS)

    def run(self, program: str, *arguments: str) -> Finished:
        return self._zygote.run(program, "--root", self.lab.top, *arguments)

    def json(self, program: str, *arguments: str) -> Any:
        done = self.run(program, *arguments, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def is_sealed(self, name: str) -> bool:
        fd = os.open(self.lab.root(name), os.O_RDONLY)
        try:
            flags = fcntl.ioctl(fd, _SUBVOL_GETFLAGS, bytes(8))
        finally:
            os.close(fd)
        return bool(struct.unpack("=Q", flags)[0] & _RDONLY)

    @property
    def current(self) -> str:
        """The link set in force."""
        return Path(os.readlink(self.lab.top / "current")).name

    def link(self, path: str, target: str | None) -> None:
        """Make a link at the top level, or take it away."""
        link = self.lab.top / path
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        if target is not None:
            link.symlink_to(target)

    def lose(self, name: str) -> None:
        """Remove a generation, needed or not."""
        sh("btrfs", "subvolume", "delete", self.lab.root(name))
        sh("rm", "-r", self.lab.root(name).parent)

    def mount(self, name: str) -> None:
        """Mount a generation where one other process alone sees it: no session's namespace gets a copy."""
        script = f'mount --bind "$0" {MOUNT_POINT}; echo mounted; exec cat'
        command = ["unshare", "--mount", "sh", "-ec", script, str(self.lab.root(name))]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._mounts[name] = holder
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"

    def unmount(self, name: str) -> None:
        self._mounts.pop(name).communicate(timeout=60)

    # -- sessions that wait --------------------------------------------------------------------------

    def _home(self, name: str) -> Path:
        return self.lab.top / "commons/@home" / name

    def begin(self, source: str) -> str:
        """Start a session that waits; its generation."""
        number, before = self.steps, self.lab.generations
        script = f"touch /home/w{number}; until s=$(cat /home/go{number} 2>/dev/null); do sleep 0.02; done; exit $s"
        zygote = self.idle.pop()
        process = zygote.start("sysmut", "--root", self.lab.top, "run", source, "--", "sh", "-c", script)
        wait_until(lambda: self._home(f"w{number}").exists() or not is_running(process))
        (made,) = self.lab.generations - before
        self.waiting[made] = Waiting(zygote, process, number)
        return made

    def end(self, name: str, status: int) -> Finished:
        """Let its script end with this status."""
        waiting = self.waiting.pop(name)
        self._home("go").write_text(str(status))
        self._home("go").rename(self._home(f"go{waiting.number}"))
        self.idle.append(waiting.zygote)
        return waiting.zygote.finish()

    def kill(self, name: str) -> None:
        """End it as the kernel does that is out of memory; returns when nothing of it runs."""
        waiting = self.waiting.pop(name)
        below = descendants(waiting.process)
        os.kill(waiting.process, signal.SIGKILL)
        assert waiting.zygote.finish().returncode == -signal.SIGKILL
        self.idle.append(waiting.zygote)
        wait_until(lambda: not any(map(is_running, below)))


MOVES = (
    *("session", "session", "session", "session_for_other_slots", "session_that_fails", "session_from_slot_0"),
    *("session_begins", "session_begins", "session_ends", "session_ends", "session_is_stopped", "session_is_killed"),
    *("activation", "activation", "rollback", "rollback", "syscln", "syscln"),
    *("pin", "pin", "pin_of_a_slot", "no_pin", "trial", "no_trial", "mount", "mount", "loss"),
)
"""Each as likely as it is often here."""


class Machine(RuleBasedStateMachine):
    """Does the same to the disk and to the model."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.bench.reset()
        self.model = Model([FIRST] * 4, {FIRST: True}, [FIRST])
        self.links = {FIRST_LINKS}

    @rule(move=st.sampled_from(MOVES), which=st.integers(0, 29))
    def step(self, move: str, which: int) -> None:
        """One thing is done; `which` says to which generation."""
        self.bench.steps += 1
        getattr(self, move)(which)

    def generation(self, which: int) -> str:
        """Any; three times as likely one that is not sealed."""
        known = [*self.model.sealed, *[name for name, sealed in self.model.sealed.items() if not sealed] * 2]
        return known[which % len(known)]

    def waiting(self, which: int) -> str | None:
        """A session that waits."""
        known = list(self.model.open)
        return known[which % len(known)] if known else None

    def named(self, which: int) -> tuple[str, str | None]:
        """A name of a generation, and which that is."""
        known = self.model.names()
        return known[which * 7 % len(known)] if which % 3 else (self.generation(which), self.generation(which))

    def sysmut(self, *arguments: str, status: int) -> None:
        done = self.bench.run("sysmut", *arguments)
        assert done.returncode == status, done

    def add_made(self, *, sealed: bool) -> str:
        """Take the generation that is new on disk into the model."""
        (made,) = self.bench.lab.generations - set(self.model.sealed)
        self.model.add(made, sealed=sealed)
        return made

    # -- sessions ------------------------------------------------------------------------------------

    def session(self, which: int, slots: int | None = None) -> None:
        name, source = self.named(which)
        status = 64 if source is None else 0 if self.model.sealed[source] else 65
        options = [] if slots is None else ["--slots", str(slots)]
        self.sysmut("run", *options, name, "--", "sh", "-c", "echo x >/etc/made", status=status)
        if status == 0:
            self.model.publish(self.add_made(sealed=True), slots)

    def session_from_slot_0(self, _which: int) -> None:
        self.session(0)

    def session_for_other_slots(self, which: int) -> None:
        self.session(which, 1 + which % 6)

    def session_that_fails(self, which: int) -> None:
        source, kept = self.generation(which), which % 2 == 0
        status = 3 if self.model.sealed[source] else 65
        options = ["--keep-failed"] if kept else []
        self.sysmut("run", *options, source, "--", "sh", "-c", "echo x >/etc/made; exit 3", status=status)
        if kept and status == 3:
            self.add_made(sealed=False)

    def session_begins(self, which: int) -> None:
        source = self.generation(which)
        if self.bench.idle and self.model.sealed[source]:
            self.bench.begin(source)
            self.model.open[self.add_made(sealed=False)] = self.model.published

    def session_ends(self, which: int) -> None:
        if name := self.waiting(which):
            overtaken = self.model.open.pop(name) != self.model.published
            done = self.bench.end(name, 0)
            assert done.returncode == (75 if overtaken else 0), done
            self.model.sealed[name] = True
            if not overtaken:
                self.model.publish(name)

    def session_is_stopped(self, which: int) -> None:
        if name := self.waiting(which):
            del self.model.open[name]
            assert self.bench.end(name, 3).returncode == 3
            if not self.model.reasons(name):  # else somebody has come to need it
                del self.model.sealed[name]

    def session_is_killed(self, which: int) -> None:
        if name := self.waiting(which):
            del self.model.open[name]
            self.bench.kill(name)

    # -- what else sysmut does -----------------------------------------------------------------------

    def activation(self, which: int) -> None:
        name, target = self.named(which)
        status = self.model.activation(target)
        self.sysmut("activate" if which % 2 else "rollback", name, status=status)
        if target is not None and status == 0:
            self.model.activate(target)

    def rollback(self, _which: int) -> None:
        target = self.model.rollback()
        status = 0 if target is None else self.model.activation(target)
        self.sysmut("rollback", status=status)
        if target is not None and status == 0:
            self.model.activate(target)

    def syscln(self, _which: int) -> None:
        done = self.bench.run("syscln")
        garbage = self.model.garbage()
        told = f"deleted {len(garbage)} generation{'' if len(garbage) == 1 else 's'}\n" if garbage else ""
        assert (done.returncode, done.stdout, done.stderr) == (0, "", told)
        for name in garbage:
            del self.model.sealed[name]
        self.links = {self.bench.current}

    # -- by hand -------------------------------------------------------------------------------------

    def pin(self, which: int) -> None:
        self.model.pins[PINS[which % 3]] = name = self.generation(which)
        self.bench.link(f"pins/{PINS[which % 3]}", f"../snapshots/{name}")

    def pin_of_a_slot(self, which: int) -> None:
        self.model.pins[PINS[which % 3]] = which % 6
        self.bench.link(f"pins/{PINS[which % 3]}", f"../current/{which % 6}")

    def no_pin(self, which: int) -> None:
        self.model.pins.pop(PINS[which % 3], None)
        self.bench.link(f"pins/{PINS[which % 3]}", None)

    def trial(self, which: int) -> None:
        self.model.trial = self.generation(which)
        self.bench.link("trial", f"./snapshots/{self.model.trial}")

    def no_trial(self, _which: int) -> None:
        self.model.trial = None
        self.bench.link("trial", None)

    def mount(self, which: int) -> None:
        """Mount a generation, or unmount it."""
        name = self.generation(which)
        if self.model.mounted.pop(name, None):
            self.bench.unmount(name)
        else:
            self.bench.mount(name)
            self.model.mounted[name] = MOUNT_POINT

    def loss(self, which: int) -> None:
        """A generation is deleted, needed or not; but not the last that can be in a slot."""
        name = self.model.in_slot(which % 6) or self.generation(which)
        others = [other for other in self.model.sealed if other != name and self.model.is_lasting(other)]
        if others and name not in self.model.open and name not in self.model.mounted:
            self.bench.lose(name)
            del self.model.sealed[name]

    # -- what must be --------------------------------------------------------------------------------

    @invariant()
    def disk_and_commands_agree_with_the_model(self) -> None:
        lab, model = self.bench.lab, self.model
        assert lab.slots == model.slots
        assert lab.generations == set(model.sealed)
        assert {name: self.bench.is_sealed(name) for name in lab.generations} == model.sealed
        self.links.add(self.bench.current)
        assert lab.link_sets == self.links
        assert (lab.top / "seed/etc/fstab").exists()
        told = self.bench.json("syscln", "-n")
        reasons = {name: model.reasons(name) for name in sorted(model.sealed)}
        assert told["generations"] == [
            {"generation": name, "keep": bool(why), "reasons": why or [GARBAGE]} for name, why in reasons.items()
        ]
        assert told["link_sets"] == sorted(self.links - {self.bench.current})
        status = self.bench.json("sysmut", "status")
        assert {key: status[key] for key in ("slots", "pins", "trial", "waiting", "current", "booted")} == {
            "slots": [model.in_slot(number) for number in range(len(model.slots))],
            "pins": model.pinned(),
            "trial": model.trial if model.trial in model.sealed else None,
            "waiting": model.garbage(),
            "current": self.bench.current,
            "booted": None,
        }


@pytest.fixture
def bench(lab: Lab) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        made = Bench(lab, [stack.enter_context(Zygote()) for _ in range(3)])
        stack.callback(made.reset)
        yield made


@pytest.mark.parametrize(
    "examples", [pytest.param(10, id="quick"), pytest.param(100, id="long", marks=pytest.mark.long)]
)
def test_slots_and_collection_are_as_the_model_has_them(
    bench: Bench, examples: int, record: Callable[[Row], None]
) -> None:
    bound = type("Bound", (Machine,), {"bench": bench})
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )
    record(Row(6, "stateful model: slots and collection", bench.steps, 0, 0))
