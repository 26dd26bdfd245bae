"""The power is cut: at every write of a disk's history, and with what lay between two flushes in any order.

Disks promise that what was written before a flush is there after it; of the rest any part may be, each write
whole in its sectors of 4 KiB, which is what btrfs itself builds on.
"""

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from tests.reliability.history import FLUSH, MARK, WRITE, Event
from tests.reliability.scratch import Scratch
from tests.reliability.truth import Claim, Manifest, Verdict, flaws, judge, slots_of
from tests.reliability.zygote import Zygote

_SECTOR = 4096

VIEWS = ("as the kernel mounts it", "as the boot loader sees it")


@dataclass
class Found:
    """What a search found, for each of the two views."""

    points: int = 0
    broken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VIEWS, 0))
    lost: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VIEWS, 0))
    continued: int = 0
    """At how many of the points the next collection and session were run."""
    stuck: int = 0
    """At how many of these they did not work."""
    faults: list[str] = field(default_factory=list)
    """In words, what is wrong where."""

    def add(self, point: str, view: str, verdict: Verdict) -> None:
        """Count what was found at a point."""
        self.broken[view] += bool(verdict.broken)
        self.lost[view] += bool(verdict.lost)
        self.faults += [f"{point}, {view}: {fault}" for fault in (*verdict.broken, *verdict.lost)]


def claims(events: Sequence[Event]) -> Iterator[Claim]:
    """For each event what had been reported as done when it happened, itself included if it is a mark."""
    ahead = [event.said["slots"] for event in events if event.kind == MARK and "slots" in event.said]
    claim = Claim(ahead[0], ahead[0], pins={})
    for event in events:
        if event.kind == MARK:
            said = event.said
            if "slots" in said:
                ahead.pop(0)
                claim = replace(claim, slots=said["slots"], coming=ahead[0] if ahead else said["slots"])
            claim = replace(claim, gone=claim.gone | set(said.get("gone", ())))
            if "pin" in said:
                claim = replace(claim, pins={**(claim.pins or {}), said["pin"]: said["generation"]})
        yield claim


def beginning(events: Sequence[Event]) -> int:
    """The number of the first mark, before which nothing counts."""
    return next(number for number, event in enumerate(events) if event.kind == MARK)


class Search:
    """Looks at one disk's history, from its first mark on."""

    def __init__(self, scratch: Scratch, events: Sequence[Event], manifests: Mapping[str, Manifest]) -> None:
        start = beginning(events)
        for event in events[:start]:
            event.apply(scratch.image)
        self._scratch = scratch
        self._events = events[start:]
        self._manifests = manifests

    def every_prefix(self, every: int, zygote: Zygote) -> Found:
        """A cut before each write, and after the last. At each `every`th, the next collection and the next
        session are run."""
        found = Found()
        waiting = True
        for number, (event, claim) in enumerate(zip(self._events, claims(self._events), strict=True)):
            if event.kind == MARK:
                waiting = True
            if event.changes:
                event.apply(self._scratch.image)
                waiting = True
            following = self._events[number + 1 : number + 2]
            if waiting and not (following and following[0].kind in (MARK, FLUSH)):
                self._look(found, f"write {number}", claim, (), zygote if found.points % every == 0 else None)
                waiting = False
        return found

    def between_flushes(self, tries: int, seed: int) -> Found:
        """At each flush, `tries` times: any part of what was written since the one before it is there."""
        found = Found()
        chance = random.Random(seed)
        pending: list[Event] = []
        for event, claim in zip(self._events, claims(self._events), strict=True):
            if event.changes:
                pending.append(event)
            elif event.kind == FLUSH:
                for number in range(tries if pending else 0):
                    part = tuple(_some(pending, chance))
                    self._look(found, f"{len(part)} of {len(pending)} writes, try {number}", claim, part, None)
                for written in pending:
                    written.apply(self._scratch.image)
                pending = []
        return found

    def _look(self, found: Found, point: str, claim: Claim, more: tuple[Event, ...], zygote: Zygote | None) -> None:
        found.points += 1
        kernel, loader = VIEWS

        def go_on(top: str) -> list[str]:
            wrong = _go_on(top, zygote) if zygote else []
            found.stuck += bool(wrong)
            return wrong

        found.add(point, loader, self._judge(self._scratch.as_the_boot_loader_sees_it(*more), claim))
        found.continued += zygote is not None
        found.add(point, kernel, self._judge(self._scratch.as_the_kernel_mounts_it(*more), claim, go_on))

    def _judge(
        self, view: AbstractContextManager[str], claim: Claim, more: Callable[[str], list[str]] = lambda _: []
    ) -> Verdict:
        try:
            with view as top:
                verdict = judge(top, claim, self._manifests)
                if not verdict.broken:
                    verdict.broken += more(top)
                return verdict
        except OSError as error:
            return Verdict([f"cannot be mounted: {error}"], [])


def _some(events: Iterable[Event], chance: random.Random) -> Iterator[Event]:
    """Any part of the events. A large write may be there in part, too: in any of its sectors."""
    for event in events:
        fate = chance.random()
        if fate < 0.45 or (fate < 0.6 and len(event.data) <= _SECTOR):
            yield event
        elif fate < 0.6 and event.kind == WRITE:
            for start in range(0, len(event.data), _SECTOR):
                if chance.random() < 0.5:
                    yield Event(WRITE, event.offset + start, event.data[start : start + _SECTOR])


def _go_on(top: str, zygote: Zygote) -> list[str]:
    """What does not work of the next collection and the next session."""
    before = slots_of(top)
    kept = {*before, *_pinned(top)}
    for program, arguments in (
        ("syscln", ("--root", top)),
        ("sysmut", ("run", "--root", top, "--", "sh", "-ec", "echo next > /data/next")),
    ):
        done = zygote.run(program, *arguments)
        if done.returncode:
            return [f"{program} ended with {done.returncode}: {done.stderr.strip()}"]
        if program == "syscln" and set(os.listdir(f"{top}/snapshots")) != kept:
            return [f"syscln left {os.listdir(f'{top}/snapshots')} of {kept}"]
    after = slots_of(top)
    expected = list(dict.fromkeys([after[0], *before]))[: len(before)]
    if after != expected + expected[-1:] * (len(before) - len(expected)):
        return [f"after a session the slots {before} are {after}"]
    with open(f"{top}/snapshots/{after[0]}/@/data/next", encoding="utf-8") as file:
        content = file.read()
    wrong = flaws(top, after[0], None)[:-1]  # nobody has its manifest
    return wrong + (["what the next session wrote is not there"] if content != "next\n" else [])


def _pinned(top: str) -> set[str]:
    try:
        return {os.path.basename(os.readlink(f"{top}/pins/{name}")) for name in os.listdir(f"{top}/pins")}
    except FileNotFoundError:
        return set()
