"""What syscln keeps although nothing refers to it, and what goes for the sake of free space."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmut import btrfs, cleanup, layout
from sysmut.cleanup import NOT_REFERENCED, NOT_SEALED, Facts, Made, Plan, Retention
from sysmut.config import Space
from sysmut.generations import State, Use
from tests.lab import FIRST, Finished, Lab, sh, start_of
from tests.terminal import Terminal
from tests.test_cleanup import NO_IN_USE, NO_PLAN, NO_REACHABLE, altered, in_use, refer_by_pin

DAY = 86400
NOW = 1_000_000 * DAY
OLD = "20250101000000OldOldOl"
"""The one that test_cleanup's helpers use and refer to."""
YOUNG = "20250102000000YoungYou"
MIB = 2**20

# -- what decides, without a filesystem --------------------------------------------------------------


def made(number: int, days: float, *, sealed: bool = True) -> Made:
    """A generation with this subvolume id, made so many days ago."""
    return Made(number, NOW - days * DAY, sealed)


def facts(generations: Mapping[str, Made], *, free: int = 50, size: int = 100) -> Facts:
    """These generations, on a filesystem of so many bytes."""
    return Facts(generations, NOW, free, size)


def planned(
    known: Facts, retention: Retention, *, slots: str = "Z", use: Use | None = None, more: tuple[str, ...] = ()
) -> Plan:
    state = State("L", tuple(slots), {}, None, frozenset((*known.made, *more)), frozenset("L"))
    return cleanup.plan(state, {}, use or Use({}, {}), known, retention)


def doomed(known: Facts, retention: Retention, **options: Any) -> str:
    return "".join(planned(known, retention, **options).doomed)


def reasons(plan: Plan) -> dict[str, tuple[bool, tuple[str, ...]]]:
    return {verdict.generation: (verdict.keep, verdict.reasons) for verdict in plan.verdicts}


FOUR = {"A": made(1, 40), "B": made(2, 30), "C": made(3, 20), "D": made(4, 10)}


def test_without_a_rule_all_that_nothing_refers_to_goes() -> None:
    assert doomed(facts(FOUR), Retention()) == "ABCD"
    assert not Retention(0, 0, None).given


def test_a_retention_without_facts_is_refused_and_dooms_nothing() -> None:
    state = State("L", ("A",), {}, None, frozenset("AB"), frozenset("L"))
    with pytest.raises(ValueError, match="no facts"):
        cleanup.plan(state, {}, Use({}, {}), None, Retention(keep=1))


def test_the_newest_are_kept_and_those_that_are_referred_to_count() -> None:
    assert doomed(facts(FOUR), Retention(keep=2)) == "AB"
    assert doomed(facts(FOUR), Retention(keep=2), slots="D") == "AB"
    assert doomed(facts(FOUR), Retention(keep=2), slots="A") == "B"
    assert doomed(facts(FOUR), Retention(keep=9)) == ""
    assert reasons(planned(facts(FOUR), Retention(keep=2), slots="D")) == {
        "A": (False, (NOT_REFERENCED,)),
        "B": (False, (NOT_REFERENCED,)),
        "C": (True, ("one of the 2 newest",)),
        "D": (True, ("slot 0", "one of the 2 newest")),
    }
    assert reasons(planned(facts(FOUR), Retention(keep=1)))["D"] == (True, ("the newest",))


def test_the_newest_are_those_that_btrfs_made_last_whatever_names_and_clocks_say() -> None:
    backwards = {"A": made(4, 40), "B": made(3, 30), "C": made(2, 20), "D": made(1, 10)}
    assert doomed(facts(backwards), Retention(keep=2)) == "CD"
    same = {name: made(7, 1) for name in "ABCD"}
    assert doomed(facts(same), Retention(keep=2)) == "AB"


def test_what_is_not_sealed_is_neither_kept_nor_counted() -> None:
    half = {**FOUR, "D": made(4, 0.1, sealed=False)}
    for rules in (Retention(keep=2), Retention(keep_days=35), Retention(keep_free=Space("1", 1))):
        found = reasons(planned(facts(half), rules, more=("E",)))
        for name in "DE":
            assert found[name] == (False, (NOT_REFERENCED, NOT_SEALED))
        assert found["B"][0]
    assert reasons(planned(facts(half), Retention(keep=1), slots="D"))["D"] == (True, ("slot 0",))


def test_the_young_are_kept_up_to_their_day() -> None:
    assert doomed(facts(FOUR), Retention(keep_days=20)) == "ABC"
    assert doomed(facts(FOUR), Retention(keep_days=20.001)) == "AB"
    assert doomed(facts({"A": made(1, 0.25)}), Retention(keep_days=0.25)) == "A"
    assert doomed(facts({"A": made(1, 0.24)}), Retention(keep_days=0.25)) == ""
    assert reasons(planned(facts(FOUR), Retention(keep_days=20.5), slots="D")) == {
        "A": (False, (NOT_REFERENCED,)),
        "B": (False, (NOT_REFERENCED,)),
        "C": (True, ("younger than 20.5 days",)),
        "D": (True, ("slot 0",)),
    }
    assert reasons(planned(facts({"A": made(1, 0)}), Retention(keep_days=1)))["A"][1] == ("younger than 1 day",)


def test_of_both_rules_that_counts_which_keeps_more() -> None:
    assert doomed(facts(FOUR), Retention(keep=1, keep_days=35)) == "A"
    assert doomed(facts(FOUR), Retention(keep=3, keep_days=15)) == "A"
    backwards = {"A": made(4, 40), "B": made(3, 30), "C": made(2, 20), "D": made(1, 10)}
    assert doomed(facts(backwards), Retention(keep=1, keep_days=15)) == "BC"
    assert reasons(planned(facts(FOUR), Retention(keep=1, keep_days=15)))["D"][1] == (
        "the newest", "younger than 15 days",
    )  # fmt: skip


def test_a_time_in_the_future_counts_as_that_of_the_next_one_or_as_now() -> None:
    ahead = {**FOUR, "B": made(2, -3650)}
    assert doomed(facts(ahead), Retention(keep_days=20.5)) == "A"
    assert doomed(facts(ahead), Retention(keep_days=19.5)) == "ABC"
    assert doomed(facts({**ahead, "C": made(3, -1)}), Retention(keep_days=10.5)) == "A"
    assert doomed(facts({**FOUR, "D": made(4, -3650)}), Retention(keep_days=0.001)) == "ABC"
    assert doomed(facts({name: made(number, -1) for number, name in enumerate("ABC")}), Retention(keep_days=1)) == ""


def test_a_clock_that_was_set_back_makes_none_but_its_own_generation_older() -> None:
    behind = {**FOUR, "D": made(4, 20_000)}
    assert doomed(facts(behind), Retention(keep_days=25)) == "ABD"
    assert doomed(facts(behind), Retention(keep=1, keep_days=25)) == "AB"


HALF = Space("50%", percent=50)


def test_while_so_much_is_free_all_is_kept_and_said_which_would_go_first() -> None:
    plan = planned(facts(FOUR, free=50), Retention(keep_free=HALF), slots="A")
    assert reasons(plan) == {
        "A": (True, ("slot 0",)),
        "B": (True, ("would go first if less than 50% were free",)),
        "C": (True, ("kept while 50% is free",)),
        "D": (True, ("kept while 50% is free",)),
    }
    assert (plan.spare, plan.short) == (("B", "C", "D"), False)


def test_when_less_is_free_the_oldest_goes() -> None:
    plan = planned(facts(FOUR, free=49), Retention(keep_free=HALF), slots="A")
    assert reasons(plan) == {
        "A": (True, ("slot 0",)),
        "B": (False, (NOT_REFERENCED, "oldest, to have 50% free")),
        "C": (True, ("kept once 50% is free",)),
        "D": (True, ("kept once 50% is free",)),
    }
    assert plan.short
    assert plan.at_once.doomed == ()
    assert doomed(facts({**FOUR, "A": made(9, 40)}, free=49), Retention(keep_free=HALF)) == "B"


def test_it_goes_also_where_another_rule_keeps_it_but_only_after_what_no_rule_keeps() -> None:
    for rules in (Retention(keep=2, keep_free=HALF), Retention(keep_days=25, keep_free=HALF)):
        plan = planned(facts(FOUR, free=49), rules)
        assert plan.doomed == plan.at_once.doomed == ("A", "B")
        assert reasons(plan)["C"][1][-1] == "goes next, if less than 50% is free then"
        assert plan.spare == ("C", "D")
        last = {name: FOUR[name] for name in "CD"}
        assert doomed(facts(last, free=49), rules) == "C"
        assert doomed(facts(last, free=50), rules) == ""


def test_nothing_goes_for_a_size_that_the_filesystem_does_not_have() -> None:
    assert doomed(facts(FOUR, free=99), Retention(keep_free=Space("101", 101))) == ""
    assert doomed(facts(FOUR, free=99), Retention(keep_free=Space("100", 100))) == "A"


NAMES = "ABCDEFGH"
AGES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1000.0])
GENERATIONS = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(1, 12), AGES, st.sampled_from([True, True, False]))
)
RULES = st.builds(
    Retention,
    st.integers(0, 9),
    st.sampled_from([0, 0.5, 1, 2, 2000]),
    st.sampled_from([None, Space("10", 10), HALF, Space("200", 200)]),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[State, Use, Facts]:
    """Generations of any age, some without `@`, referred to or in use; a filesystem that is more or less full."""
    found = {name: made(number, age, sealed=sealed) for name, (number, age, sealed) in draw(GENERATIONS).items()}
    names = sorted({*found, *draw(st.sets(st.sampled_from(NAMES), max_size=2))})
    some = st.sets(st.sampled_from(names or ["-"]), max_size=3)
    state = State("L", tuple(draw(some)) or (None,), {}, None, frozenset(names), frozenset("L"))
    return state, Use({}, dict.fromkeys(draw(some), "mounted")), facts(found, free=draw(st.integers(0, 100)))


def decide(situation: tuple[State, Use, Facts], retention: Retention) -> Plan:
    state, use, known = situation
    return cleanup.plan(state, {}, use, known, retention)


@given(situations(), RULES)
def test_no_rule_dooms_what_would_be_kept_without_it(situation: tuple[State, Use, Facts], rules: Retention) -> None:
    state, use, _ = situation
    plan = decide(situation, rules)
    assert set(plan.doomed) <= set(decide(situation, Retention()).doomed)
    assert not set(plan.doomed) & (state.referenced | use.names.keys())
    assert not set(plan.spare) & (state.referenced | use.names.keys())
    assert [verdict.generation for verdict in plan.verdicts] == sorted(state.generations)
    assert all(verdict.reasons for verdict in plan.verdicts)


@given(situations(), RULES)
def test_the_n_newest_that_are_sealed_are_kept_while_there_is_room(
    situation: tuple[State, Use, Facts], rules: Retention
) -> None:
    known = situation[2].made
    sealed = sorted((name for name in known if known[name].sealed), key=lambda name: (known[name].number, name))
    plan = decide(situation, rules)
    assert not set(plan.at_once.doomed) & set(sealed[max(0, len(sealed) - rules.keep) :])
    if not plan.short:
        assert plan.at_once == plan
    loose = set(decide(situation, Retention()).doomed)
    assert not (loose - set(sealed)) - set(plan.doomed) or not rules.given


@given(situations(), RULES, RULES)
def test_one_rule_more_deletes_nothing_more(
    situation: tuple[State, Use, Facts], rules: Retention, other: Retention
) -> None:
    few = Retention(rules.keep, rules.keep_days)
    more = Retention(max(rules.keep, other.keep), max(rules.keep_days, other.keep_days))
    assert set(decide(situation, more).doomed) <= set(decide(situation, few).doomed)


@given(situations(), RULES)
def test_for_free_space_one_more_goes_at_a_time_the_oldest_that_nothing_needs(
    situation: tuple[State, Use, Facts], rules: Retention
) -> None:
    known = situation[2].made
    plan = decide(situation, rules)
    ruled = Retention(rules.keep, rules.keep_days)
    without = set(decide(situation, ruled).doomed) if ruled.given or not rules.given else set(plan.at_once.doomed)
    extra = set(plan.doomed) - without
    assert set(plan.at_once.doomed) == without
    assert len(extra) <= 1
    if extra:
        assert plan.short
        assert not without
        loose = [name for name in decide(situation, Retention()).doomed if name in known and known[name].sealed]
        assert extra == {min(loose, key=lambda name: (known[name].number, name))}


# -- on a filesystem -----------------------------------------------------------------------------------


def numbered(count: int) -> list[str]:
    """Names of generations, which do not tell their order."""
    return [f"2025010{9 - number}000000Numbered" for number in range(count)]


def told(lab: Lab, *arguments: str, **options: Any) -> dict[str, tuple[bool, str]]:
    """What a dry run says of each generation."""
    done = lab.syscln("-n", "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    return {
        item["generation"]: (item["keep"], ", ".join(item["reasons"]))
        for item in json.loads(done.stdout)["generations"]
    }


def test_syscln_keeps_the_newest_by_btrfss_own_count(lab: Lab) -> None:
    names = numbered(4)
    for name in names:
        lab.add_generation(name)
    assert told(lab, "--keep", "2") == {
        FIRST: (True, "slot 0, slot 1, slot 2, slot 3"),
        names[0]: (False, "nothing refers to it"),
        names[1]: (False, "nothing refers to it"),
        names[2]: (True, "one of the 2 newest"),
        names[3]: (True, "one of the 2 newest"),
    }
    done = lab.syscln("--keep", "2", "-v")
    assert done.stderr.splitlines() == [
        "deleted 2 generations",
        f"deleted {names[1]}: nothing refers to it",
        f"deleted {names[0]}: nothing refers to it",
        f"kept {names[3]}: one of the 2 newest",
        f"kept {names[2]}: one of the 2 newest",
        f"kept {FIRST}: slot 0, slot 1, slot 2, slot 3",
    ]
    assert lab.generations == {FIRST, *names[2:]}
    again = lab.syscln("--keep", "2")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_it_does_not_keep_what_has_a_subvolume_that_can_be_written(lab: Lab) -> None:
    half, nested, beside, empty = (f"20250101000000{name}Nested" for name in ("Ha", "Ne", "Be", "Em"))
    lab.add_generation(half, sealed=False)
    root = lab.add_generation(nested, sealed=False)
    sh("btrfs", "subvolume", "create", root / "srv")
    lab.seal(nested)
    sh("btrfs", "subvolume", "create", lab.add_generation(beside).parent / "@data")
    (lab.top / "snapshots" / empty).mkdir()
    lab.add_generation(OLD)
    for rule in (("--keep", "9"), ("--keep-days", "100000"), ("--keep-free", "1M")):
        found = told(lab, *rule)
        for name in (half, nested, beside, empty):
            assert found[name] == (False, "nothing refers to it, not sealed")
        assert found[OLD][0]


def test_the_age_is_that_of_the_id_and_else_that_of_the_subvolume(lab: Lab) -> None:
    ahead = "29990101000000AheadOfU"
    for name in (OLD, "by-hand", ahead):
        lab.add_generation(name)
    found = told(lab, "--keep-days", "0.5")
    assert found["by-hand"] == found[ahead] == (True, "younger than 0.5 days")
    assert found[OLD] == (False, "nothing refers to it")
    done = lab.syscln("--keep-days", "0.5")
    assert done.returncode == 0, done.stderr
    assert lab.generations == {FIRST, "by-hand", ahead}


def test_the_settings_come_from_options_the_environment_and_the_file_and_status_counts_by_them(
    lab: Lab, tmp_path: Path
) -> None:
    names = numbered(3)
    for name in names:
        lab.add_generation(name)
    file = tmp_path / "sysmut.toml"

    def waiting(*arguments: str, text: str = "", **environment: str) -> set[str]:
        """What status calls waiting, which must be what syscln would delete."""
        file.write_text(text)
        options = ("--config", str(file), *arguments)
        done = lab.sysmut("status", "--json", *options, environment=environment)
        assert done.returncode == 0, done.stderr
        found = told(lab, *options, environment=environment)
        assert set(json.loads(done.stdout)["waiting"]) == {name for name, (keep, _) in found.items() if not keep}
        return set(json.loads(done.stdout)["waiting"])

    assert waiting() == set(names)
    assert waiting(text="keep = 1") == set(names[:2])
    assert waiting(text="keep = 1", SYSMUT_KEEP="2") == set(names[:1])
    assert waiting("--keep", "3", text="keep = 1", SYSMUT_KEEP="2") == set()
    assert waiting("--keep", "0", text="keep = 1", SYSMUT_KEEP="2") == set(names)
    assert waiting(text="keep_days = 99999.5") == set()
    assert waiting(SYSMUT_KEEP_DAYS="99999.5") == set()
    assert waiting(text='keep_free = "1M"') == set()
    assert waiting(SYSMUT_KEEP_FREE="1%") == set()
    assert waiting(text='keep_free = "99%"') == set(names[:1])


@pytest.mark.parametrize(
    "arguments",
    [("--keep", "-1"), ("--keep", "x"), ("--keep-days", "nan"), ("--keep-days", "-1"), ("--keep-free", "much")],
)
def test_what_cannot_be_meant_is_a_usage_error_in_one_line(lab: Lab, arguments: tuple[str, str]) -> None:
    lab.add_generation(OLD)
    done = lab.syscln(*arguments)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1
    assert arguments[0] in done.stderr
    assert OLD in lab.generations


def test_what_is_deleted_while_the_subvolumes_are_listed_is_left_out(lab: Lab) -> None:
    names = numbered(3)
    for name in names:
        lab.add_generation(name)
    fd = os.open(lab.top, os.O_RDONLY)
    try:
        found = btrfs.described(fd)
        first = next(found)[0]
        gone = next(name for name in names if name not in first)
        sh("btrfs", "subvolume", "delete", lab.root(gone))
        while btrfs.being_deleted(fd):
            btrfs.commit(fd)
        rest = [first, *(path for path, *_ in found)]
    finally:
        os.close(fd)
    kept = {FIRST, *names} - {gone}
    assert sorted(rest) == sorted((*(layout.root(name) for name in kept), "commons/@home"))


# -- free space ----------------------------------------------------------------------------------------

BIG = 48
"""MiB in each of the big generations."""


def free(lab: Lab) -> int:
    """MiB that are free when all is written."""
    sh("btrfs", "filesystem", "sync", lab.top)
    status = os.statvfs(lab.top)
    return status.f_bavail * status.f_frsize // MIB


@pytest.fixture
def full(make_lab: Callable[..., Lab], small_root: Path) -> Lab:
    """A small filesystem with five generations that nothing refers to, each big with what no other has."""
    lab = make_lab(512 * MIB)
    lab.lay_out(small_root, commons=("/home",))
    for name in (OLD, YOUNG, *numbered(3)):
        with (lab.add_generation(name, sealed=False) / "big").open("wb") as file:
            for _ in range(BIG):
                file.write(os.urandom(MIB))
        lab.seal(name)
    return lab


def for_two(lab: Lab) -> str:
    """The size to be free for which two of the big generations must go."""
    return f"{free(lab) + BIG + BIG // 2}M"


def gone(lab: Lab, done: Finished) -> set[str]:
    """The generations of `full` that this run has deleted."""
    assert done.returncode == 0, done.stderr
    return {FIRST, OLD, YOUNG, *numbered(3)} - lab.generations


def test_while_there_is_room_all_is_kept(full: Lab) -> None:
    done = full.syscln("--keep-free", f"{free(full) - 1}M")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert gone(full, done) == set()


@pytest.mark.parametrize("rules", [(), ("--keep", "5"), ("--keep-days", "99999")])
def test_the_oldest_go_one_after_another_until_so_much_is_free(full: Lab, rules: tuple[str, ...]) -> None:
    size = for_two(full)
    found = told(full, "--keep-free", size, *rules)
    assert found[OLD] == (False, f"nothing refers to it, oldest, to have {size} free")
    assert found[YOUNG][0]
    done = full.syscln("-v", "--keep-free", size, *rules)
    assert gone(full, done) == {OLD, YOUNG}
    assert f"deleted {YOUNG}: nothing refers to it, oldest, to have {size} free" in done.stderr.splitlines()
    assert f"kept {FIRST}: slot 0" in done.stderr
    assert free(full) >= int(size[:-1])


def test_what_no_rule_keeps_goes_first_and_may_be_enough(full: Lab) -> None:
    size = for_two(full)
    found = told(full, "--keep-free", size, "--keep", "3")
    assert {name for name, (keep, _) in found.items() if not keep} == {OLD, YOUNG}
    done = full.syscln("--keep-free", size, "--keep", "3")
    assert gone(full, done) == {OLD, YOUNG}
    assert done.stderr == "deleted 2 generations\n"


def test_after_what_no_rule_keeps_others_go_where_that_is_not_enough(full: Lab) -> None:
    done = full.syscln("--keep-free", for_two(full), "--keep", "4")
    assert gone(full, done) == {OLD, YOUNG}


def test_what_was_deleted_before_and_is_not_free_yet_is_waited_for(full: Lab) -> None:
    size = for_two(full)
    for name in (OLD, YOUNG):
        sh("btrfs", "subvolume", "delete", full.root(name))
    done = full.syscln("--keep-free", size)
    assert gone(full, done) == {OLD, YOUNG}  # their empty directories


def test_where_it_cannot_be_reached_all_that_may_go_is_gone_and_that_is_said(full: Lab) -> None:
    done = full.syscln("--keep-free", "95%")
    assert gone(full, done) == {OLD, YOUNG, *numbered(3)}
    warning, last = done.stderr.splitlines()
    assert "MiB of keep_free: nothing is left that may go" in warning
    assert last == "deleted 5 generations"
    again = full.syscln("--keep-free", "95%", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["shortfall"]["reason"] == "nothing is left that may go"
    assert len(again.stderr.splitlines()) == 1


def test_for_more_than_the_filesystem_has_nothing_goes(full: Lab) -> None:
    done = full.syscln("--keep-free", "20T")
    assert gone(full, done) == set()
    assert "the filesystem is smaller than that" in done.stderr
    assert told(full, "--keep-free", "20T")[OLD] == (True, "the filesystem is smaller than 20T")


NOT_LOCKED_WHILE_WAITING = """\
import fcntl, os
being_deleted = btrfs.being_deleted
def watching(fd):
    other = os.open("/run/sysmut/links", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    print("free to others", flush=True)
    return being_deleted(fd)
btrfs.being_deleted = watching
execute = executing.execute
def locked(*values):
    other = os.open("/run/sysmut/links", os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("locked", flush=True)
    os.close(other)
    return execute(*values)
executing.execute = locked"""


def test_each_one_is_deleted_under_the_lock_and_waited_for_without_it(full: Lab) -> None:
    done = altered(full, NOT_LOCKED_WHILE_WAITING, "--keep-free", for_two(full))
    assert gone(full, done) == {OLD, YOUNG}
    assert done.stdout.count("locked") == 2
    assert "free to others" in done.stdout


@contextlib.contextmanager
def held(lab: Lab, name: str) -> Iterator[None]:
    """Delete a generation by hand while a file of it is open, so that its space does not come back."""
    with (lab.root(name) / "big").open("rb"):
        sh("btrfs", "subvolume", "delete", lab.root(name))
        yield


@pytest.mark.parametrize(("brief", "endless"), [("_STILL", "_PATIENCE"), ("_PATIENCE", "_STILL")])
def test_where_the_kernel_does_not_get_on_nothing_more_is_deleted(full: Lab, brief: str, endless: str) -> None:
    size = for_two(full)
    with held(full, OLD):
        done = altered(full, f"room.{brief} = 0.3\nroom.{endless} = float('inf')", "--keep-free", size)
        assert gone(full, done) == {OLD}
        assert "the kernel has not given back the space of 1 deleted subvolume yet" in done.stderr
    done = full.syscln("--keep-free", size)
    assert gone(full, done) == {OLD, YOUNG}


def test_on_a_terminal_the_waiting_is_shown_after_a_while(full: Lab) -> None:
    code = "from sysmut.cleanup import room; room._STILL = 4; from sysmut.cli.syscln import main; main()"
    command = (*start_of("syscln")[:-1], code, "--root", str(full.top), "--keep-free", for_two(full))
    with held(full, OLD), Terminal(*command) as terminal:
        terminal.expect("waiting for the space of 1 deleted subvolume … ")
        terminal.wait()
        assert "\r\x1b[K" in terminal.seen
        assert "has not given back" in terminal.seen


# -- the two guards, under each rule -------------------------------------------------------------------

RULES_GIVEN = [("--keep", "1"), ("--keep-days", "0.001"), ("--keep-free", "95%"), ("--keep", "9", "--keep-free", "95%")]
"""By each of these OLD would go."""


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A lab with two generations that nothing refers to, and little that is free."""
    for name in (OLD, YOUNG):
        lab.add_generation(name)
    return lab


@pytest.mark.parametrize("rules", RULES_GIVEN)
@pytest.mark.parametrize("out", ["", NO_REACHABLE, NO_IN_USE, NO_PLAN])
def test_under_every_rule_either_guard_alone_keeps_what_is_pinned_and_mounted(
    two: Lab, tmp_path: Path, rules: tuple[str, ...], out: str
) -> None:
    refer_by_pin(two)
    with in_use(two, tmp_path / "mnt", "its root is mounted", own_namespace=True):
        done = altered(two, out, *rules)
        assert done.returncode == 0, done.stderr
        assert (two.root(OLD) / "bin/busybox").exists()
    if not out:
        assert f"kept {OLD}: pin good" in done.stderr
        assert (YOUNG in two.generations) == (rules == ("--keep", "1"))


@pytest.mark.parametrize("rules", RULES_GIVEN)
def test_under_every_rule_it_would_be_deleted_without_both_guards(
    two: Lab, tmp_path: Path, rules: tuple[str, ...]
) -> None:
    refer_by_pin(two)
    with in_use(two, tmp_path / "mnt", "its root is mounted", own_namespace=True):
        done = altered(two, f"{NO_REACHABLE}\n{NO_IN_USE}\nroom._STILL = 0.2", *rules)
        assert done.returncode == 0, done.stderr
        assert OLD not in two.generations


@pytest.mark.parametrize("rules", RULES_GIVEN)
def test_under_every_rule_what_is_open_in_a_session_stays_and_for_space_the_next_goes(
    two: Lab, rules: tuple[str, ...]
) -> None:
    fd = os.open(two.top / "snapshots" / OLD, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    done = two.syscln("-v", *rules)
    os.close(fd)
    assert done.returncode == 0, done.stderr
    assert f"kept {OLD}: open in a session" in done.stderr
    assert OLD in two.generations
    assert (YOUNG in two.generations) == (rules == ("--keep", "1"))
