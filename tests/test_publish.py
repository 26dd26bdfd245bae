"""Publishing: what a failing system call leaves, and that nothing is reported before it is durable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import FIRST, Finished, Lab, clean_environment, sh


def injected(lab: Lab, fault: str, *arguments: str) -> Finished:
    """A run of sysmut in which a system call fails, as strace's `--inject` has it."""
    strace = ["strace", "-qq", "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}", "-o", os.devnull]
    return subprocess.run(
        [*strace, *lab.command("sysmut", *arguments)],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        timeout=60,
    )


@pytest.mark.parametrize(
    "fault",
    ["syncfs:error=EIO:when=1", "rename:error=EIO:when=1", "symlink:error=ENOSPC:when=3", "symlink:error=EIO:when=5"],
)
def test_a_failure_before_the_rename_leaves_all_as_it_was(lab: Lab, fault: str) -> None:
    before = lab.picture()
    done = injected(lab, fault, "run", "--", "true")
    assert done.returncode == (73 if "ENOSPC" in fault else 71), done.stderr
    assert "slots are as before" in done.stderr
    assert "published" not in done.stderr
    assert lab.picture() == before


def test_a_disk_that_does_not_confirm_is_said_and_nothing_is_undone_after_the_rename(lab: Lab) -> None:
    done = injected(lab, "syncfs:error=EIO:when=2", "run", "--", "true")
    assert done.returncode == 71
    assert "did not confirm" in done.stderr
    assert "published" not in done.stderr
    new = lab.slots[0]
    assert lab.slots == [new, FIRST, FIRST, FIRST]
    assert (lab.root(new) / "etc/fstab").exists()
    assert lab.syscln().returncode == 0
    assert lab.slots[0] == new


def test_activation_reports_a_disk_that_does_not_confirm(lab: Lab) -> None:
    lab.session(":")
    done = injected(lab, "syncfs:error=EIO:when=2", "activate", "1")
    assert (done.returncode, lab.slots[0]) == (71, FIRST)
    before = lab.picture()
    assert injected(lab, "syncfs:error=EIO:when=1", "activate", "1").returncode == 71
    assert lab.picture() == before


def test_a_link_set_that_current_names_is_never_taken_back(lab: Lab) -> None:
    code = (
        "import os\n"
        "rename = os.rename\n"
        "def late(source, target, **where):\n"
        "    rename(source, target, **where)\n"
        "    if target.endswith('/current'):\n"
        "        raise OSError(5, 'too late', target)\n"
        "os.rename = late\n"
        "from sysmut.cli import main\n"
        "main()\n"
    )
    lab.session(":")
    second = lab.slots[0]
    command = [sys.executable, "-c", code, "--root", str(lab.top), "activate", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 71
    assert lab.slots == [FIRST, second, second, second]


def test_there_are_two_syncs_and_the_rename_is_between_them(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    wanted = "trace=syncfs,fsync,fdatasync,sync,rename"
    sh("strace", "-qq", "-e", wanted, "-e", "signal=none", "-o", trace, *lab.command("sysmut", "run", "--", "true"))
    calls = [line for line in trace.read_text().splitlines() if "/.coverage" not in line]
    kinds = [line.partition("(")[0] for line in calls if "sync" in line or '/current"' in line]
    assert kinds == ["syncfs", "rename", "syncfs"]


def test_a_stale_link_from_a_run_that_was_cut_off_is_replaced(lab: Lab) -> None:
    (lab.top / "next/current").symlink_to("./links/gone")
    lab.session(":")
    assert lab.slots[0] != FIRST
    assert os.listdir(lab.top / "next") == []


def test_a_missing_next_is_made(lab: Lab) -> None:
    (lab.top / "next").rmdir()
    lab.session(":")
    assert lab.slots[0] != FIRST
