"""`sysmut mount`, `umount` and `shell`: looks at a generation that change nothing of it, nor of the host."""

import os
import subprocess
from pathlib import Path

import pytest

from sysmut import mounts
from tests.lab import FIRST, Lab, clean_environment, sh, start_of, wait_until
from tests.terminal import Terminal

OTHER = "20260202000000AbCdEfGh"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "a place"
    directory.mkdir()
    return directory


def mounted(directory: Path) -> mounts.Mount | None:
    return mounts.mounted_at(str(directory))


def test_a_generation_is_mounted_where_everybody_sees_it_read_only_and_unmounted_again(lab: Lab, place: Path) -> None:
    done = lab.sysmut("mount", "0", place)
    assert done.returncode == 0, done.stderr
    found = mounted(place)
    assert found is not None
    assert found.root == f"/snapshots/{FIRST}/@"
    assert (place / "bin/busybox").exists()
    options = next(
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "a\\040place" in line
    ).split()
    assert {"ro", "nosuid", "nodev"} <= set(options[5].split(","))
    assert lab.sysmut("umount", place).returncode == 0
    assert mounted(place) is None
    assert list(place.iterdir()) == []


def test_one_that_can_be_written_is_mounted_read_only_too(lab: Lab, place: Path) -> None:
    lab.add_generation(OTHER, sealed=False)
    assert lab.sysmut("mount", OTHER, place).returncode == 0
    try:
        with pytest.raises(OSError, match="Read-only file system"):
            (place / "file").touch()
    finally:
        assert lab.sysmut("umount", OTHER).returncode == 0


def test_the_way_to_unmount_it_is_told_as_it_can_be_typed_from_anywhere(lab: Lab, place: Path) -> None:
    done = lab.sysmut("mount", "0", place.name, cwd=place.parent)
    assert done.stderr.endswith(f"to unmount it: sysmut umount {place}\n")
    assert lab.sysmut("umount", place.name, cwd=place.parent).returncode == 0
    assert mounted(place) is None


def test_umount_by_name_finds_every_place_and_leaves_others_alone(lab: Lab, tmp_path: Path) -> None:
    lab.add_generation(OTHER)
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    lab.sysmut("mount", "0", tmp_path / "one")
    lab.sysmut("mount", "0", tmp_path / "two")
    lab.sysmut("mount", OTHER, tmp_path / "three")
    done = lab.json("umount", "0")
    assert {each["directory"] for each in done["unmounted"]} == {f"{tmp_path}/one", f"{tmp_path}/two"}
    assert mounted(tmp_path / "three") is not None
    assert lab.sysmut("umount", tmp_path / "three").returncode == 0
    done = lab.sysmut("umount", "0")
    assert (done.returncode, f"generation {FIRST} is not mounted" in done.stderr) == (64, True)


def test_what_is_no_generation_is_not_unmounted(lab: Lab, tmp_path: Path) -> None:
    for path in (lab.top, tmp_path, "/proc", "/"):
        done = lab.sysmut("umount", f"{path}/" if str(path) != "/" else "/")
        assert (done.returncode, "no generation is mounted there" in done.stderr) == (64, True)
    assert (lab.top / "current").is_symlink()


def test_a_mount_that_is_in_use_stays_and_says_so(lab: Lab, place: Path) -> None:
    lab.sysmut("mount", "0", place)
    fd = os.open(place, os.O_RDONLY)
    try:
        done = lab.sysmut("umount", place)
        assert (done.returncode, "in use" in done.stderr) == (75, True)
    finally:
        os.close(fd)
        assert lab.sysmut("umount", place).returncode == 0


def test_syscln_keeps_what_is_mounted(lab: Lab, place: Path) -> None:
    lab.add_generation(OTHER)
    lab.sysmut("mount", OTHER, place)
    try:
        assert lab.syscln().returncode == 0
        assert (place / "bin/busybox").exists()
    finally:
        lab.sysmut("umount", OTHER)
    assert lab.syscln().returncode == 0
    assert OTHER not in lab.generations


def test_a_directory_that_is_not_there_is_one_line_and_nothing_is_mounted(lab: Lab, tmp_path: Path) -> None:
    done = lab.sysmut("mount", "0", tmp_path / "nowhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (64, 1)


def test_an_image_stays_attached_for_as_long_as_its_generation_is_mounted(lab: Lab, place: Path) -> None:
    lab.close()
    image = ["--image", str(lab.image)]
    done = lab_free(*image, "mount", "0", str(place))
    assert done == 0
    try:
        assert (place / "bin/busybox").exists()
    finally:
        assert lab_free("umount", f"{place}/") == 0
    wait_until(lambda: str(lab.image) not in sh("losetup", "-a"))
    lab.mount()


def lab_free(*arguments: str) -> int:
    """Run sysmut without the lab's --root."""
    return subprocess.run([*start_of("sysmut"), *arguments], check=False, env=clean_environment()).returncode


def look(lab: Lab, script: str, *arguments: str, name: str = "0") -> tuple[int, str]:
    done = lab.sysmut("shell", name, *arguments, "--", "sh", "-c", script)
    return done.returncode, done.stdout + done.stderr


def test_a_command_sees_the_generation_and_its_status_is_passed_on(lab: Lab) -> None:
    assert look(lab, "cat /etc/os-release; exit 7") == (7, "ID=test\n")
    assert look(lab, "echo $SYSMUT_GENERATION $SYSMUT_READ_ONLY") == (0, f"{FIRST} 1\n")


def test_nothing_of_the_generation_and_the_commons_can_be_written_and_what_is_temporary_can(lab: Lab) -> None:
    status, said = look(lab, "touch /file; touch /home/file; touch /tmp/file && touch /run/file && echo well")
    assert (status, said.count("Read-only file system")) == (0, 2)
    assert said.startswith("well\n")
    assert lab.generations == {FIRST}
    assert not (lab.top / "commons/@home/file").exists()


def test_one_that_was_left_unsealed_can_be_looked_at_and_not_changed(lab: Lab) -> None:
    done = lab.sysmut("run", "--keep-failed", "--", "sh", "-c", "echo half >/half; false")
    assert done.returncode == 1
    (failed,) = lab.generations - {FIRST}
    status, said = look(lab, "cat /half; touch /file", name=failed)
    assert (status, "half\n" in said, "Read-only file system" in said) == (1, True, True)


def test_what_is_shown_of_the_host_is_read_only_whatever_was_asked_for(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hello\n")
    status, said = look(lab, "cat /home/word; touch /home/file", "--mount", f"{tmp_path}:/home:rw")
    assert (status, "hello" in said, "Read-only file system" in said) == (1, True, True)
    assert not (tmp_path / "file").exists()


def test_a_generation_that_is_looked_at_is_kept_and_can_be_activated(lab: Lab) -> None:
    lab.add_generation(OTHER)
    command = lab.command(
        "sysmut", "shell", OTHER, "--", "sh", "-c", "echo in; until [ -e /home/go ]; do sleep 0.02; done"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        assert lab.syscln().returncode == 0
        assert OTHER in lab.generations
        assert lab.sysmut("activate", OTHER).returncode == 0
        (lab.top / "commons/@home/go").touch()
        assert process.wait(30) == 0


def test_what_a_session_has_open_is_not_looked_at(lab: Lab) -> None:
    process = lab.start_waiting()
    (open_one,) = lab.generations - {FIRST}
    status, said = look(lab, "true", name=open_one)
    assert (status, "open in a session" in said) == (75, True)
    assert lab.finish(process)[0] == 0


def test_a_shell_needs_a_terminal_and_says_there_that_nothing_can_be_changed(lab: Lab) -> None:
    assert "needs a terminal" in lab.sysmut("shell", "0").stderr
    with Terminal(*lab.command("sysmut", "shell", "0")) as terminal:
        terminal.expect("read-only: nothing can be changed")
        terminal.expect("# ")
        terminal.send("touch /file\n")
        terminal.expect("Read-only file system")
        terminal.send("exit 5\n")
        assert terminal.wait() == 5
    assert [event["event"] for event in lab.json("log")["events"]] == ["made"]


def test_nothing_is_left_of_a_look(lab: Lab) -> None:
    before = lab.picture(), len(list(mounts.of_self()))
    look(lab, "sleep 100 & echo")
    assert (lab.picture(), len(list(mounts.of_self()))) == before
