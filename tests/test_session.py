"""A session, from snapshot to published or discarded, on a real btrfs."""

import json
import os
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab


def test_a_session_publishes_a_sealed_generation_as_slot_0(lab: Lab) -> None:
    done = lab.session("echo changed >/etc/new")
    new = lab.slots[0]
    assert lab.slots == [new, FIRST, FIRST, FIRST]
    assert lab.is_sealed(new)
    assert (lab.root(new) / "etc/new").read_text() == "changed\n"
    assert not (lab.root(FIRST) / "etc/new").exists()
    assert f"subvol=/snapshots/{new}/@" in (lab.root(new) / "etc/fstab").read_text()
    assert f"generation {new} is slot 0 now" in done.stderr


@pytest.mark.parametrize(("script", "status"), [("exit 1", 1), ("exit 64", 64), ("kill -9 $$", 137)])
def test_a_script_that_fails_changes_nothing_and_its_status_passes_through(lab: Lab, script: str, status: int) -> None:
    before = lab.picture()
    lab.session(f"echo changed >/etc/new; {script}", status=status)
    assert lab.picture() == before


def test_a_script_without_an_interpreter_line_stops_at_the_first_error(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "upgrade"
    script.write_text("false\necho went on >/etc/new\n")
    before = lab.picture()
    assert lab.sysmut("--script", script).returncode == 1
    assert lab.picture() == before


def test_the_record_and_the_log_beside_the_root_are_readable_by_root_alone(lab: Lab) -> None:
    lab.session("echo hello; echo problem >&2", "--description", "a test")
    directory = lab.top / "snapshots" / lab.slots[0]
    record = json.loads((directory / "sysmut.json").read_text())
    assert (record["source"], record["description"]) == (FIRST, "a test")
    assert sorted((directory / "sysmut.log").read_text().splitlines()) == ["hello", "problem"]
    for name in ("sysmut.json", "sysmut.log"):
        assert os.stat(directory / name).st_mode & 0o777 == 0o600
