"""Eight at once, of everything: nothing that was acknowledged is lost, nothing that is referred to is collected."""

import fcntl
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sysmut import layout
from tests.lab import FIRST, Lab, sh, wait_until
from tests.reliability.crowd import SESSIONS, Crowd, Done, draw
from tests.reliability.table import Row
from tests.reliability.watcher import Seen, Watching
from tests.test_concurrency import mounted_somewhere

WORKERS = 8
GONE = "no generation is named"
OVERTAKEN = "another session published first"


# -- each operation --------------------------------------------------------------------------------------


def _is_expected(done: Done) -> bool:
    """Whether the operation ended as one of its kind may."""
    kind, error = done.operation.kind, done.told.get("error", {})
    if error.get("status") == 64:  # an id that was told to somebody, and collected since
        return done.operation.slot is None and GONE in error["message"] and (kind in SESSIONS or kind == "activate")
    if kind == "kill" and done.status in (-9, -15, 143):
        return done.status % 128 in (-done.operation.signal % 128, done.operation.signal)
    if kind in ("failing", "kept"):
        return done.status == 7 and error["origin"] == "script"
    if kind in ("publish", "changed", "kill"):
        return done.told.get("outcome") == "published" or (done.status == 75 and OVERTAKEN in error["message"])
    if kind == "unchanged":  # unless its source was collected meanwhile: then nobody can tell
        return done.status == 0 or (done.status == 75 and OVERTAKEN in error["message"])
    return done.status == 0 and not done.told.get("failed")


def _unexpected(all_done: Iterable[Done]) -> list[str]:
    return [
        f"{each.operation.name} ({each.operation.kind} {each.asked}): {each.status} {each.said[-300:]}"
        for each in all_done
        if not _is_expected(each)
    ]


# -- the order of the link sets ----------------------------------------------------------------------------


def _lost(all_done: list[Done], seen: Seen) -> list[str]:
    """The changes that were acknowledged, and are not in the order of what was in force exactly once; or stand
    in it before one whose end was before their beginning."""
    found = []
    place = {name: number for number, name in enumerate(seen.order)}
    latest = 0
    acknowledged = sorted((each for each in all_done if each.acknowledged), key=lambda each: each.ended)
    ended: list[tuple[int, int]] = [(-1, 0)]  # each end, and the last place among what had ended by then
    for each in acknowledged:
        name = each.acknowledged or ""
        if seen.order.count(name) != 1:
            found.append(f"{each.operation.name}: {name} was in force {seen.order.count(name)} times")
        latest = max(latest, place.get(name, 0))
        ended.append((each.ended, latest))
    for each in all_done:
        told = each.told.get("current")
        before = max(last for end, last in ended if end < each.began)
        if told is not None and place.get(told, -1) < before + bool(each.acknowledged):
            found.append(
                f"{each.operation.name} ({each.operation.kind}) was told of {told}, after {seen.order[before]}"
            )
    return found


def _illegal(all_done: list[Done], seen: Seen, first: str) -> list[str]:
    """The steps from one link set to the next that no operation may make."""
    by_set = {each.acknowledged: each for each in all_done if each.acknowledged}
    slots = {**{name: each.told["slots"] for name, each in by_set.items()}, **seen.slots}
    killed = {each.operation.name for each in all_done if each.operation.kind == "kill" and each.status}
    found = [] if seen.order[0] == first else [f"the order begins with {seen.order[0]}"]
    for before, after in zip(seen.order, seen.order[1:], strict=False):
        old, new, done = slots.get(before), slots.get(after), by_set.get(after)
        if done is not None and done.told["slots"] != new:
            found.append(f"{done.operation.name} was told of {done.told['slots']} in {after}, where {new} is")
        if old is None or new is None:
            continue
        if tuple(new) != layout.rotate(tuple(old), new[0]):
            found.append(f"after {old} came {new}")
        maker = seen.makers.get(new[0])
        if done is None and maker is not None and maker not in killed:
            found.append(f"nobody owns up to {after}, whose slot 0 is from {maker}")
        if done is not None and done.operation.kind in SESSIONS:
            found += _wrong_session(done, old, maker)
    return found


def _wrong_session(done: Done, old: list[str], maker: str | None) -> list[str]:
    """What is wrong with a session that was published after these slots: it must be made from them."""
    slot, source = done.operation.slot, done.told["source"]
    found = []
    if slot is not None and old[slot] != source:
        found.append(f"{done.operation.name} was made from {source}, and published over {old}")
    if done.operation.kind == "unchanged":
        return found if source not in old else [f"{done.operation.name}: nothing had changed, and it was published"]
    if maker not in (None, done.operation.name):
        found.append(f"{done.operation.name} is said to be published, and slot 0 is from {maker}")
    return found


# -- the end ---------------------------------------------------------------------------------------------


def _left(lab: Lab, pins: set[str]) -> list[str]:
    """What is there, after syscln, that nothing refers to; and what is not there."""
    device = sh("findmnt", "-n", "-o", "MAJ:MIN", lab.top).strip()
    wait_until(lambda: not any(mounted_somewhere(f" {device} {what}") for what in ("/ /run/sysmut ", "/snapshots/")))
    said = lab.syscln().stderr
    lab.session(":", "--slots", "4")  # removes what one that was cut off has left in next/
    done = lab.syscln()
    wanted = {*lab.slots, *pins}
    subvolumes = {line.split(" path ")[1] for line in sh("btrfs", "subvolume", "list", lab.top).splitlines()}
    expected = {
        "syscln's status": (0, done.returncode),
        "generations": (wanted, lab.generations),
        "subvolumes": ({"commons/@home", *(f"snapshots/{name}/@" for name in wanted)}, subvolumes),
        "link sets": ({Path(os.readlink(lab.top / "current")).name}, lab.link_sets),
        "next/": ([], os.listdir(lab.top / "next")),
        "sealed": ([], [name for name in wanted if not lab.is_sealed(name)]),
        "beside @": ([], [n for name in wanted for n in set(os.listdir(lab.root(name).parent)) - {"@", *OWN}]),
        "loop devices": (1, len(sh("losetup", "-j", lab.image).splitlines())),
    }
    faults = [f"{what}: {was!r}, not {should!r} ({said})" for what, (should, was) in expected.items() if was != should]
    return [*faults, *([] if lab.syscln().stderr == "" else ["a second syscln found more to do"])]


OWN = ("sysmut.json", "sysmut.log")


@dataclass
class Found:
    """What a search found, and how far it went."""

    operations: int = 0
    readings: int = 0
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """By the watcher."""


def _crowd(lab: Lab, seed: int, number: int, found: Found) -> None:
    """One crowd on a new top level."""
    first = _link_set(lab)
    crowd = Crowd(lab)
    with Watching(lab.top) as watching:
        crowd.work([draw(seed, worker, number // WORKERS) for worker in range(WORKERS)])
    crowd.look_at_pins()
    seen, last = watching.seen, _link_set(lab)
    found.operations += len(crowd.done)
    found.readings += seen.readings
    found.lost += [*_lost(crowd.done, seen), *crowd.faults]
    found.lost += [] if last == seen.order[-1] else [f"current is {last}, and not {seen.order[-1]}"]
    found.broken += _unexpected(crowd.done) + _illegal(crowd.done, seen, first)
    found.seen += seen.faults
    try:
        found.broken += _left(lab, set(crowd.pins.values()))
    except (AssertionError, OSError) as error:
        found.broken.append(f"afterwards: {error}")
    if len(seen.order) < number / 10:
        found.broken.append(f"only {len(seen.order)} link sets were in force")


def _link_set(lab: Lab) -> str:
    return Path(os.readlink(lab.top / "current")).name


@pytest.fixture
def make_crowded(make_lab: Callable[..., Lab], small_root: Path) -> Callable[[], Lab]:
    """Makes labs whose first generation has a manifest too, and with a directory for pins."""

    def make() -> Lab:
        lab = make_lab()
        lab.lay_out(small_root, commons=("/home",))
        with lab.unsealed(FIRST) as root:
            (root / "data").mkdir()
            (root / "data/0").write_text("first 0\n")
            (root / "manifest").write_text("0:first 0\n")
        (lab.top / "pins").mkdir()
        return lab

    return make


@pytest.mark.parametrize(
    ("seeds", "number"),
    [
        pytest.param(range(1, 2), 600, id="quick"),
        pytest.param(range(2, 7), 2000, id="long", marks=pytest.mark.long),
    ],
)
def test_a_crowd_loses_nothing_and_current_is_whole_at_every_moment(
    make_crowded: Callable[[], Lab], record: Callable[[Row], None], seeds: range, number: int
) -> None:
    found = Found()
    for seed in seeds:
        _crowd(make_crowded(), seed, number, found)
    assert not found.lost, "\n".join(found.lost[:20])
    assert not found.broken, "\n".join(found.broken[:20])
    assert not found.seen, "\n".join(found.seen[:20])
    record(Row(5, "a crowd: operations by 8 processes", found.operations, len(found.broken), len(found.lost)))
    record(Row(5, "a crowd: readings of current meanwhile", found.readings, len(found.seen), 0))


def test_the_same_seed_draws_the_same_operations() -> None:
    assert draw(7, 3, 100) == draw(7, 3, 100)
    assert draw(7, 3, 100) != draw(7, 4, 100)
    assert {each.kind for each in draw(7, 3, 100)} > {"kill", "activate", "syscln", "pin"}


def test_a_session_whose_source_was_collected_meanwhile_counts_as_changed(lab: Lab) -> None:
    other = "20260202000000OtherOth"
    lab.add_generation(other)
    script = "echo waiting; until [ -e /home/go ]; do sleep 0.02; done"
    process = lab.start("run", other, "--drop-if-unchanged", "--", "sh", "-ec", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    assert lab.syscln().returncode == 0
    assert other not in lab.generations
    status, said = lab.finish(process)
    assert (status, "published" in said) == (0, True), said
    assert lab.slots[0] not in (FIRST, other)


def test_what_is_in_a_slot_can_be_activated_before_its_session_has_ended(lab: Lab) -> None:
    lab.session("true")
    lab.session("true")
    first, second, third, _ = lab.slots
    for name in (first, second):
        fd = os.open(lab.root(name).parent, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)  # as a session has it until its end, a moment after it has published
        try:
            done = lab.sysmut("activate", name)
        finally:
            os.close(fd)
        assert done.returncode == 0, done.stderr
    assert lab.slots == [second, first, third, third]
