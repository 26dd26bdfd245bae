"""The command line itself: what is told of errors, and what does not need btrfs or root."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sysmut.cli.frame import printable
from tests.lab import Finished, Lab, clean_environment, start_of


def run(program: str, *arguments: str, path: Path | None = None) -> Finished:
    environment = clean_environment(**({"PYTHONPATH": f"{path}:{Path(__file__).parents[1]}"} if path else {}))
    command = [*start_of(program), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("program", ["sysmut", "syscln"])
def test_help_and_version_need_neither_btrfs_nor_anything_else(program: str, tmp_path: Path) -> None:
    (tmp_path / "btrfsutil.py").write_text("raise ImportError('no such library')\n")
    for option in ("--help", "-h", "--version"):
        done = run(program, option, path=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert program in done.stdout


@pytest.mark.parametrize("program", ["sysmut", "syscln"])
def test_a_binding_that_does_not_match_the_library_is_one_clear_line(program: str, tmp_path: Path) -> None:
    (tmp_path / "btrfsutil.py").write_text("raise ImportError('undefined symbol: btrfs_util_x')\n")
    done = run(program, *(["status"] if program == "sysmut" else []), "--root", str(tmp_path), path=tmp_path)
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    for word in ("undefined symbol", "python3-btrfsutil", "py3-btrfs-progs", "Arch", "--system-site-packages"):
        assert word in done.stderr


def test_every_verb_has_help() -> None:
    for verb in ("init", "activate", "rollback", "run", "status", "session"):
        done = run("sysmut", verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "Usage: sysmut" in done.stdout


def test_options_may_come_before_the_verb_and_a_slot_is_no_verb(lab: Lab) -> None:
    before = [*start_of("sysmut"), "-q", "--root", str(lab.top), "--json"]
    done = subprocess.run([*before, "status"], check=False, capture_output=True, text=True, env=clean_environment())
    assert json.loads(done.stdout)["slots"] == lab.slots
    assert "no such option" in lab.sysmut("--script", "/dev/null", "status").stderr
    assert "no generation is named 'nonsense'" in lab.sysmut("--script", sys.executable, "nonsense").stderr


def test_an_option_that_names_the_top_level_beats_the_environment(lab: Lab) -> None:
    for name, value in (("SYSMUT_DEVICE", "/dev/nowhere"), ("SYSMUT_IMAGE", "/nowhere"), ("SYSMUT_ROOT", "/nowhere")):
        assert lab.sysmut("status", environment={name: value}).returncode == 0


def test_a_defect_is_one_line_with_its_place_and_a_traceback_only_under_verbose(tmp_path: Path) -> None:
    (tmp_path / "btrfsutil.py").write_text("raise RuntimeError('broken')\n")
    done = run("sysmut", "status", "--root", str(tmp_path), path=tmp_path)
    assert done.returncode == 70
    assert done.stderr.startswith("sysmut: a defect in sysmut: RuntimeError: broken (btrfsutil.py:1)")
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" in run("sysmut", "status", "-v", "--root", str(tmp_path), path=tmp_path).stderr


def test_a_reader_that_is_gone_is_no_traceback(lab: Lab) -> None:
    shell = ["sh", "-c", '"$@" | true; exit 0', "sh", *lab.command("sysmut", "status")]
    for _ in range(5):
        done = subprocess.run(shell, check=False, capture_output=True, text=True, env=clean_environment())
        assert done.stderr == ""


def test_control_characters_are_escaped() -> None:
    assert printable("a\nb\x1b[31m\x7f\x9bä") == "a\\x0ab\\x1b[31m\\x7f\\x9bä"


def test_status_tells_all(lab: Lab) -> None:
    lab.session(":", "--description", "the\nsecond")
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{lab.slots[1]}")
    (lab.top / "trial").symlink_to(f"./snapshots/{lab.slots[1]}")
    extra = "20260101000009AbCdEfGh"
    lab.add_generation(extra)
    lines = lab.sysmut("status").stdout.splitlines()
    assert lines[0] == f"filesystem  {lab.uuid}"
    assert "booted      not a generation of this filesystem" in lines
    assert f"  0  {lab.slots[0]}  boots by default  the\\x0asecond" in lines
    assert f"  3  {lab.slots[3]}  as slot 1" in lines
    assert f"pin         good -> {lab.slots[1]}" in lines
    assert f"trial       {lab.slots[1]}" in lines
    assert "waiting     1 generation for syscln to delete" in lines
    told = lab.json("status")
    assert (told["version"], told["waiting"], told["pins"]) == (1, [extra], {"good": lab.slots[1]})
    assert told["records"][lab.slots[0]]["description"] == "the\nsecond"


def test_status_says_what_is_amiss(lab: Lab) -> None:
    lab.link([*lab.slots[:3], "gone"], "20260101000002AbCdEfGh")
    number = lab.json("status")["default_subvolume"]
    assert number == 5
    subprocess.run(["btrfs", "subvolume", "set-default", lab.top / "commons/@home"], check=True)
    said = lab.sysmut("status").stdout
    assert "warning: a slot leads nowhere" in said
    assert "  3  (leads nowhere: its generation is gone)" in said
    assert "critical: the filesystem's default subvolume is" in said
    subprocess.run(["btrfs", "subvolume", "set-default", "5", lab.top], check=True)
    lab.session(":")
    assert None not in lab.json("status")["slots"]
