"""What a session keeps for itself, its script, log and record, is root's alone: during it, after it, however it ended,
whatever the umask; and nothing of it is in the generation."""

import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab, kill, sh, wait_until, without_coverage
from tests.test_concurrency import descendants, is_running

SECRET = "the password is opensesame"
SCRIPT = f"#!/bin/sh -e\n# {SECRET}\necho '{SECRET}'; echo waiting; until [ -e /home/go ]; do sleep 0.02; done\n"
UMASKS = [pytest.param(mask, id=f"umask {mask:03o}") for mask in (0o000, 0o022, 0o777)]


class Session:
    """A session whose script holds a secret, and waits; it has begun."""

    def __init__(self, lab: Lab, script: Path, umask: int, *options: str, end: str = "") -> None:
        script.write_text(SCRIPT + end)
        self.process = lab.start("--script", script, *options, umask=umask, env=without_coverage())
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(2)]
        assert lines == [f"{SECRET}\n", "waiting\n"], self.process.communicate(timeout=60)
        (name,) = lab.generations - {FIRST}
        self.directory = lab.top / "snapshots" / name


def _open_to_others(directory: Path) -> list[str]:
    """What lies in the directory, but for a generation's root, that others than root could read."""
    found = []
    for path in directory.rglob("*"):
        inside = path.relative_to(directory).parts[0].startswith("@")
        if not inside and stat.S_IMODE(path.lstat().st_mode) & 0o077:
            found.append(f"{path}: {path.lstat().st_mode:o}")
    return found


def _traces(directory: Path) -> list[str]:
    """What is in a generation that was not in the one that it was made from, or has the secret in it."""
    root = directory / "@"
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    before = directory.parent / FIRST / "@"
    new = names - {str(path.relative_to(before)) for path in before.rglob("*")}
    told = subprocess.run(["grep", "-rlF", SECRET, root], check=False, capture_output=True, text=True).stdout
    return [*sorted(new), *told.splitlines()]


def _scripts(process: "subprocess.Popen[str]") -> Iterator[Path]:
    """The directory with the script, as it is in the session."""
    for pid in descendants(process.pid):
        path = Path(f"/proc/{pid}/root/run/session")
        if path.is_dir():
            yield path


@pytest.mark.parametrize("umask", UMASKS)
def test_during_a_session_and_after_it_all_of_its_own_is_roots_alone(lab: Lab, tmp_path: Path, umask: int) -> None:
    session = Session(lab, tmp_path / "script", umask)
    directory = next(_scripts(session.process))
    assert [path.read_text() for path in directory.iterdir()] == [SCRIPT]
    assert stat.S_IMODE(directory.lstat().st_mode) == 0o700
    assert _open_to_others(directory) == []
    assert sorted(os.listdir(session.directory)) == ["@", "sysmut.log"]
    assert _open_to_others(session.directory) == []
    status, said = lab.finish(session.process)
    assert status == 0, said
    assert sorted(os.listdir(session.directory)) == ["@", "sysmut.json", "sysmut.log"]
    assert SECRET in (session.directory / "sysmut.log").read_text()
    assert _open_to_others(session.directory) == []
    assert _traces(session.directory) == []


@pytest.mark.parametrize("umask", UMASKS)
def test_what_is_kept_of_a_session_that_failed_is_roots_alone(lab: Lab, tmp_path: Path, umask: int) -> None:
    session = Session(lab, tmp_path / "script", umask, "--keep-failed", end="exit 3\n")
    assert lab.finish(session.process)[0] == 3
    assert "sysmut.log" in os.listdir(session.directory)
    assert _open_to_others(session.directory) == []
    assert _traces(session.directory) == []


@pytest.mark.parametrize("umask", UMASKS)
def test_what_is_left_of_a_session_that_was_killed_is_roots_alone(lab: Lab, tmp_path: Path, umask: int) -> None:
    session = Session(lab, tmp_path / "script", umask)
    below = descendants(session.process.pid)
    kill(session.process, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, below)))
    assert "sysmut.log" in os.listdir(session.directory)
    assert _open_to_others(session.directory) == []
    # The empty file that the resolver file was bound over, which nobody could take away any more.
    assert _traces(session.directory) in ([], ["etc/resolv.conf"])


def test_nothing_of_it_is_open_to_others_even_for_the_moment_that_it_is_made(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(f"# {SECRET}\n")
    command = lab.command("sysmut", "--script", tmp_path / "script")
    trace = [
        "strace",
        "-f",
        "-qq",
        "-s",
        "300",
        "-e",
        "trace=open,openat,openat2,creat,mkdir",
        "-o",
        str(tmp_path / "trace"),
    ]
    sh(*trace, *command, umask=0, env=without_coverage())
    made = re.findall(r'"([^"]*)"[^"]*O_CREAT[^"]*?,? (?:mode=)?(0[0-7]*)', (tmp_path / "trace").read_text())
    own = {name: int(mode, 8) for name, mode in made if re.search(r"sysmut\.(log|json)|script", name)}
    assert len(own) == 3, made
    assert {name: mode for name, mode in own.items() if mode & 0o077} == {}
