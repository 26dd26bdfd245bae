"""The history: what is written down, that it stays small, and that nothing depends on it."""

import json
import os
from pathlib import Path

import pytest

from sysmut import history, layout
from tests.lab import FIRST, Lab


def events(lab: Lab) -> list[tuple[str, str | None]]:
    """What the history tells, newest first: event and generation."""
    return [(event["event"], event.get("generation")) for event in lab.json("log")["events"]]


def published(lab: Lab, script: str = "touch /new", *arguments: str) -> str:
    lab.session(script, *arguments)
    return lab.slots[0]


def test_sessions_that_published_and_that_were_discarded_are_told_of_newest_first(lab: Lab) -> None:
    first = published(lab, "touch /new", "--description", "a new file")
    lab.session("exit 3", status=3)
    lab.session("true", "--drop-if-unchanged")
    told = lab.json("log")["events"]
    assert [event["event"] for event in told[:3]] == ["unchanged", "discarded", "published"]
    assert told[2]["generation"] == first
    assert told[2]["source"] == FIRST
    assert (told[2]["description"], told[2]["status"]) == ("a new file", 0)
    assert told[2]["command"] == ["sh", "-ec", "touch /new"]
    assert (told[1]["status"], told[1]["reason"]) == (3, "sh ended with status 3")


def test_activation_rollback_pins_and_collection_are_told_of(lab: Lab) -> None:
    first = published(lab)
    assert lab.sysmut("activate", FIRST).returncode == 0
    assert lab.sysmut("activate", first).returncode == 0
    assert lab.sysmut("rollback").returncode == 0
    assert lab.sysmut("pin", first, "good").returncode == 0
    assert lab.sysmut("unpin", "good").returncode == 0
    lab.add_generation("20260101000009AbCdEfGh")
    assert lab.syscln().returncode == 0
    told = lab.json("log")["events"]
    assert [event["event"] for event in told[:6]] == [
        *("collected", "unpinned", "pinned", "rolled back", "activated", "activated")
    ]
    assert told[0]["generations"] == ["20260101000009AbCdEfGh"]
    assert told[3]["instead_of"] == first


def test_a_generation_of_which_nothing_was_written_down_is_told_of_by_its_id(lab: Lab) -> None:
    lab.add_generation("20260203040506AbCdEfGh")
    told = lab.json("log")["events"]
    assert {"time": "2026-02-03T04:05:06Z", "event": "made", "generation": "20260203040506AbCdEfGh"} in told


def test_only_the_newest_are_shown_where_that_is_asked_for(lab: Lab) -> None:
    for number in range(3):
        published(lab, f"touch /{number}")
    done = lab.sysmut("log", "-n", "2")
    assert len(done.stdout.splitlines()) == 2
    assert lab.slots[0] in done.stdout.splitlines()[0]


def test_a_session_that_is_killed_needs_no_history(lab: Lab) -> None:
    (lab.top / "history").unlink(missing_ok=True)
    assert lab.sysmut("status").returncode == 0
    assert not (lab.top / "history").exists()
    assert lab.sysmut("log").returncode == 0


def test_lines_that_are_no_events_are_passed_over_and_a_torn_one_does_not_spoil_the_next(lab: Lab) -> None:
    (lab.top / "history").write_bytes(b'nonsense\n[1]\n{"event": 3, "time": "x"}\n\xff\xfe\n{"time": "2026-01-01T0')
    generation = published(lab)
    assert ("published", generation) in events(lab)
    assert len([event for event in events(lab) if event[0] == "published"]) == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_whatever_lies_in_its_place_a_session_publishes_and_nothing_outside_is_written(
    lab: Lab, tmp_path: Path, kind: str
) -> None:
    place = lab.top / "history"
    outside = tmp_path / "outside"
    outside.write_text("")
    match kind:
        case "link":
            place.symlink_to(outside)
        case "fifo":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
    done = lab.session("touch /new")
    assert lab.slots[0] != FIRST
    assert "could not be written into the history" in done.stderr
    assert outside.read_text() == ""


def test_it_is_readable_by_root_alone_for_command_lines_may_hold_secrets(lab: Lab) -> None:
    published(lab)
    assert (lab.top / "history").stat().st_mode & 0o777 == 0o600


def test_it_does_not_grow_without_end_and_what_is_newest_stays(lab: Lab) -> None:
    line = json.dumps({"time": "2026-01-01T00:00:00Z", "event": "published", "generation": "x" * 400}) + "\n"
    (lab.top / "history").write_text(line * (history.LIMIT // len(line)))
    generation = published(lab, "true", "--description", "y" * 600)
    size = (lab.top / "history").stat().st_size
    assert history.LIMIT // 3 < size < history.LIMIT
    lines = (lab.top / "history").read_text().splitlines()
    assert json.loads(lines[0])["generation"] == "x" * 400
    assert json.loads(lines[-1])["generation"] == generation


def test_a_long_list_of_names_is_cut_and_the_rest_counted(lab: Lab) -> None:
    for number in range(45):
        (lab.top / "snapshots" / f"202602010000{number:02}AbCdEfGh").mkdir()
    assert lab.syscln().returncode == 0
    told = lab.json("log")["events"][0]
    assert (told["event"], len(told["generations"]), told["more"]) == ("collected", 40, 5)
    assert "45 generations" in lab.sysmut("log", "-n", "1").stdout


def test_a_time_is_read_back_as_it_was_written() -> None:
    assert layout.seconds(layout.timestamp(1_700_000_000)) == 1_700_000_000
    assert layout.made("20231114221320AbCdEfGh") == 1_700_000_000
    for wrong in (
        "20231314221320AbCdEfGh",
        "2023111422132xAbCdEfGh",
        "20231114221320AbCdEfG1",
        "",
        "٢" * 14 + "AbCdEfGh",
    ):
        assert layout.made(wrong) is None
    for nothing in (None, 3, "yesterday", "2023-11-14T22:13:20"):
        assert layout.seconds(nothing) is None
