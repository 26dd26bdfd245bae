"""Pins, descriptions and deletion by hand: what keeps a generation, and what it is called."""

import json
import os
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab, sh

OTHER = "20260202000000AbCdEfGh"


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A second generation that nothing refers to."""
    lab.add_generation(OTHER)
    return lab


def test_a_pin_keeps_a_generation_and_names_it(two: Lab) -> None:
    done = two.sysmut("pin", OTHER, "good")
    assert (done.returncode, done.stderr) == (0, f"generation {OTHER} is pinned as good\n")
    assert os.readlink(two.top / "pins/good") == f"../snapshots/{OTHER}"
    assert two.syscln().returncode == 0
    assert OTHER in two.generations
    assert two.json("status")["pins"] == {"good": OTHER}
    assert two.sysmut("activate", "good").returncode == 0
    assert two.slots[0] == OTHER


def test_a_pin_that_is_there_already_is_nothing_to_do_and_is_not_moved_to_another(two: Lab) -> None:
    assert two.sysmut("pin", OTHER, "good").returncode == 0
    again = two.sysmut("pin", OTHER, "good")
    assert (again.returncode, again.stderr.startswith("nothing to do")) == (0, True)
    other = two.sysmut("pin", FIRST, "good")
    assert other.returncode == 64
    assert f"there is a pin good already, of {OTHER} (take it away first: sysmut unpin good)" in other.stderr
    assert os.readlink(two.top / "pins/good") == f"../snapshots/{OTHER}"


def test_without_a_name_the_pin_has_the_id(two: Lab) -> None:
    assert two.sysmut("pin", OTHER[:8]).returncode == 0
    assert two.json("status")["pins"] == {OTHER: OTHER}
    assert two.sysmut("unpin", OTHER).returncode == 0
    assert two.json("status")["pins"] == {}


@pytest.mark.parametrize(
    "name", ["0", "17", "booted", "", "-x", ".x", "a/b", "a b", "ä", "x" * 65, "list", "session", "a\n"]
)
def test_a_name_that_means_something_else_or_cannot_stand_in_a_menu_is_refused(two: Lab, name: str) -> None:
    done = two.sysmut("pin", OTHER, "--", name) if name.startswith("-") else two.sysmut("pin", OTHER, name)
    assert done.returncode == 64
    assert "a pin cannot be called" in done.stderr
    assert not (two.top / "pins").exists() or os.listdir(two.top / "pins") == []


def test_a_pin_cannot_have_the_id_of_another_generation(two: Lab) -> None:
    assert "the id of another generation" in two.sysmut("pin", FIRST, OTHER).stderr


def test_what_is_not_sealed_or_open_in_a_session_cannot_be_pinned(two: Lab) -> None:
    two.seal(OTHER, sealed=False)
    done = two.sysmut("pin", OTHER, "good")
    assert (done.returncode, "not sealed" in done.stderr) == (65, True)
    process = two.start_waiting()
    (open_one,) = two.generations - {FIRST, OTHER}
    done = two.sysmut("pin", open_one, "good")
    assert (done.returncode, "open in a session" in done.stderr) == (75, True)
    assert two.finish(process)[0] == 0


def test_unpin_takes_away_also_what_leads_nowhere_and_says_what_becomes_of_the_generation(two: Lab) -> None:
    two.sysmut("pin", OTHER, "good")
    assert f"generation {OTHER} goes when syscln runs" in two.sysmut("unpin", "good").stderr
    two.sysmut("pin", FIRST, "first")
    assert f"generation {FIRST} is kept: slot 0, slot 1" in two.sysmut("unpin", "first").stderr
    (two.top / "pins/lost").symlink_to("../snapshots/gone")
    assert two.sysmut("unpin", "lost").returncode == 0
    assert os.listdir(two.top / "pins") == []
    done = two.sysmut("unpin", "good")
    assert (done.returncode, "there is no pin 'good'" in done.stderr) == (64, True)


def test_unpin_says_that_what_is_mounted_stays(two: Lab, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    two.sysmut("pin", OTHER, "good")
    two.sysmut("mount", OTHER, tmp_path / "here")
    try:
        assert f"is kept: mounted on {tmp_path}/here" in two.sysmut("unpin", "good").stderr
    finally:
        two.sysmut("umount", OTHER)


def test_a_file_in_the_place_of_a_pin_and_a_link_in_the_place_of_pins_are_left_alone(two: Lab, tmp_path: Path) -> None:
    (two.top / "pins").mkdir()
    (two.top / "pins/file").write_text("mine")
    assert two.sysmut("unpin", "file").returncode == 65
    assert (two.top / "pins/file").read_text() == "mine"
    sh("rm", "-r", two.top / "pins")
    (two.top / "pins").symlink_to(tmp_path)
    assert two.sysmut("pin", OTHER, "good").returncode == 69
    assert list(tmp_path.iterdir()) == []


def test_a_description_is_kept_in_the_record_beside_the_sealed_generation(two: Lab) -> None:
    assert two.sysmut("describe", OTHER, "before the big upgrade").returncode == 0
    record = json.loads((two.top / "snapshots" / OTHER / "sysmut.json").read_text())
    assert record == {"version": 1, "generation": OTHER, "description": "before the big upgrade"}
    assert two.is_sealed(OTHER)
    two.session("touch /new", "--description", "first words")
    made = two.slots[0]
    before = json.loads((two.top / "snapshots" / made / "sysmut.json").read_text())
    assert two.sysmut("describe", "0", "other words").returncode == 0
    after = json.loads((two.top / "snapshots" / made / "sysmut.json").read_text())
    assert after == {**before, "description": "other words"}
    assert "other words" in two.sysmut("status").stdout
    assert two.sysmut("describe", "0", "").returncode == 0
    assert "other words" not in two.sysmut("list").stdout


def test_what_a_session_has_open_is_not_described(two: Lab) -> None:
    process = two.start_waiting()
    (open_one,) = two.generations - {FIRST, OTHER}
    assert two.sysmut("describe", open_one, "words").returncode == 75
    assert two.finish(process)[0] == 0


def test_delete_deletes_what_nothing_refers_to_and_nothing_else(two: Lab) -> None:
    two.add_generation("20260303000000AbCdEfGh")
    before = two.link_sets
    assert two.sysmut("delete", "--dry-run", OTHER).stderr == f"generation {OTHER} would be deleted\n"
    assert OTHER in two.generations
    done = two.sysmut("delete", OTHER)
    assert (done.returncode, done.stderr) == (0, "deleted 1 generation\n")
    assert two.generations == {FIRST, "20260303000000AbCdEfGh"}
    assert two.link_sets == before


def test_delete_refuses_what_is_kept_says_by_what_and_then_deletes_none(two: Lab) -> None:
    slot = two.sysmut("delete", OTHER, "0")
    assert (slot.returncode, "is kept: slot 0, slot 1" in slot.stderr) == (64, True)
    two.sysmut("pin", OTHER, "good")
    pinned = two.sysmut("delete", OTHER)
    assert (pinned.returncode, "is kept: pin good (sysmut unpin good)" in pinned.stderr) == (64, True)
    two.sysmut("unpin", "good")
    process = two.start_waiting()
    (open_one,) = two.generations - {FIRST, OTHER}
    opened = two.sysmut("delete", OTHER, open_one)
    assert (opened.returncode, "is kept: open in a session" in opened.stderr) == (75, True)
    assert two.finish(process)[0] == 0
    assert OTHER in two.generations


def test_delete_refuses_what_is_mounted(two: Lab, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert two.sysmut("mount", OTHER, tmp_path / "here").returncode == 0
    try:
        done = two.sysmut("delete", OTHER)
        assert (done.returncode, f"mounted on {tmp_path}/here" in done.stderr) == (75, True)
    finally:
        assert two.sysmut("umount", OTHER).returncode == 0
    assert two.sysmut("delete", OTHER).returncode == 0


def test_json_of_each(two: Lab) -> None:
    assert two.json("pin", OTHER, "good") == {
        "version": 1,
        "changed": True,
        "pin": "good",
        "generation": OTHER,
        "pins": {"good": OTHER},
    }
    assert two.json("unpin", "good")["pins"] == {}
    assert two.json("describe", OTHER, "x") == {"version": 1, "generation": OTHER, "description": "x"}
    assert two.json("delete", OTHER)["deleted"] == [OTHER]
