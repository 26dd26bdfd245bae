"""What differs between two directories that are walked through; and between a generation and the running system."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmut.changes.files import of_etc
from sysmut.changes.walk import of_directories
from sysmut.toplevel import TopLevel
from tests.lab import FIRST, Lab, sh, without_coverage
from tests.mutator import Mutator, differences, facts

SECOND = "20260102000000AbCdEfGh"

Pair = tuple[Path, Path]


def told(before: Path, after: Path) -> list[str]:
    return [f"{change.kind} {change.path}" for change in of_directories(str(before), str(after))]


@pytest.fixture
def pair(root_user: None, tmp_path: Path) -> Pair:
    """Two directories with a file in each, of the same times."""
    made = (tmp_path / "old", tmp_path / "new")
    for root in made:
        (root / "d").mkdir(parents=True)
        write(root / "d/file", "same")
    return made


def write(path: Path, text: str) -> None:
    """Write a file that was last modified at one and the same time."""
    path.write_text(text)
    os.utime(path, (1, 1))


@pytest.mark.parametrize("seed", range(8))
def test_random_changes_are_told_in_full(root_user: None, tmp_path: Path, seed: int) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    Mutator(before, seed).run(120)
    sh("cp", "-a", before, after)
    mutator = Mutator(after, seed + 100)
    mutator.run([3, 30, 200][seed % 3])
    found = {change.path: change.kind for change in of_directories(str(before), str(after))}
    assert found == differences(facts(before), facts(after)), mutator.done


def test_a_file_of_the_same_size_mode_and_time_is_not_read(pair: Pair) -> None:
    assert told(*pair) == []
    write(pair[1] / "d/file", "SAME")
    assert told(*pair) == []
    os.utime(pair[1] / "d/file", (2, 2))
    assert told(*pair) == ["modified /d/file"]
    write(pair[1] / "d/file", "same")
    os.utime(pair[1] / "d/file", (2, 2))
    assert told(*pair) == []


def test_owner_and_attributes_count_where_the_content_is_not_read(pair: Pair) -> None:
    os.chown(pair[1] / "d/file", 1, 1)
    os.setxattr(pair[1] / "d", "user.x", b"1")
    assert told(*pair) == ["attributes /d", "attributes /d/file"]


def test_what_is_mounted_on_is_left_out(pair: Pair) -> None:
    for root in pair:
        (root / "mnt").mkdir()
        write(root / "bound", "1" if root == pair[0] else "22")
    (pair[0] / "mnt/below").touch()
    write(pair[1] / "other", "")
    sh("mount", "-t", "tmpfs", "none", pair[1] / "mnt")
    sh("mount", "--bind", pair[1] / "other", pair[1] / "bound")
    try:
        (pair[1] / "mnt/new").touch()
        assert told(*pair) == ["added /other"]
    finally:
        sh("umount", pair[1] / "mnt", pair[1] / "bound")
    assert told(*pair) == ["modified /bound", "removed /mnt/below", "added /other"]


def test_links_are_compared_and_not_followed(pair: Pair) -> None:
    for root, target in zip(pair, ("/bin", "/etc"), strict=True):
        (root / "link").symlink_to(target)
        os.utime(root / "link", (1, 1), follow_symlinks=False)
    (pair[0] / "was").mkdir()
    (pair[0] / "was/file").touch()
    (pair[1] / "was").symlink_to("d")
    assert told(*pair) == ["modified /link", "modified /was", "removed /was/file"]


@pytest.mark.timeout(60)
def test_a_fifo_is_not_opened(pair: Pair) -> None:
    for root in pair:
        os.mkfifo(root / "fifo")
    assert told(*pair) == []
    (pair[0] / "fifo").unlink()
    write(pair[0] / "fifo", "")
    assert told(*pair) == ["modified /fifo"]


def test_a_tree_of_any_depth_is_walked_through(pair: Pair) -> None:
    home = os.open(".", os.O_RDONLY)
    try:
        for root in pair:
            os.chdir(root)
            for _ in range(3000):
                os.mkdir("x")
                os.chdir("x")
        found = told(*pair)
    finally:
        os.fchdir(home)
        os.close(home)
        sh("rm", "-r", *(root / "x" for root in pair))  # which pytest could not
    assert len(found) == 1
    assert found[0].startswith("modified /x/x/x")
    assert len(found[0]) > 3900


def test_etc_is_compared_by_paths_from_the_root(lab: Lab) -> None:
    root = lab.add_generation(SECOND, sealed=False)
    (root / "etc/new").touch()
    (root / "usr").mkdir()
    top = TopLevel(str(lab.top), -1, lab.uuid, "0:0")
    assert [f"{change.kind} {change.path}" for change in of_etc(top, FIRST, SECOND)] == ["added /etc/new"]
    (root / "etc/fstab").write_text("")
    found = [f"{change.kind} {change.path}" for change in of_etc(top, FIRST, SECOND)]
    assert found == ["modified /etc/fstab", "added /etc/new"]


# -- the running system ---------------------------------------------------------------------------

_IN_A_ROOT = """
import json, os, sys, threading
from sysmut import btrfs, mounts, syscalls
from sysmut.changes import files
from sysmut.toplevel import TopLevel
root, before = sys.argv[1:]
os.chroot(root)
os.chdir("/")
fd = os.open("/run/sysmut", os.O_RDONLY | os.O_DIRECTORY)
device = mounts.mounted_at("/run/sysmut").device
top = TopLevel("/run/sysmut", fd, btrfs.filesystem_id(fd, "/run/sysmut"), device)
found = files.of_running(top, before)
print(json.dumps([f"{change.kind} {change.path}" for change in found]))
"""


def running(
    lab: Lab, root: Path, before: str = FIRST, *, how: str = 'mount --bind "$1" "$1"', then: str = ":"
) -> list[str]:
    """What a process is told that has `root` as its root directory, mounted as a booted system has it."""
    script = (
        f'set -e; {how}; mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/run";'
        ' mkdir "$1/run/sysmut"; mount --bind "$2" "$1/run/sysmut"; touch "$1/run/more";'
        f' {then}; exec "$3" -c "$4" "$1" "$5"'
    )
    arguments = [str(root), str(lab.top), sys.executable, _IN_A_ROOT, before]
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=without_coverage())
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_running_generation_is_the_same_as_itself(lab: Lab) -> None:
    assert running(lab, lab.root(FIRST)) == []


def test_a_running_generation_that_is_sealed_is_compared_without_what_is_mounted(lab: Lab) -> None:
    (lab.add_generation(SECOND, sealed=False) / "etc/new").touch()
    lab.seal(SECOND)
    before = lab.picture()
    times = (lab.top / "snapshots").stat().st_mtime_ns
    assert running(lab, lab.root(SECOND)) == ["added /etc/new"]
    assert lab.picture() == before
    assert (lab.top / "snapshots").stat().st_mtime_ns == times, "a snapshot was made"


def test_a_running_root_is_walked_through_where_no_snapshot_can_be_made(lab: Lab) -> None:
    root = lab.add_generation(SECOND, sealed=False)
    (root / "etc/new").touch()
    assert running(lab, root, then='mount -o remount,bind,ro "$1/run/sysmut"') == ["added /etc/new"]


def test_a_running_root_that_can_be_written_to_is_compared_by_a_snapshot_that_goes(lab: Lab) -> None:
    root = lab.add_generation(SECOND, sealed=False)
    (root / "etc/new").touch()
    sh("btrfs", "subvolume", "create", root / "inner")
    (root / "inner/file").touch()
    before = lab.picture()
    assert running(lab, root) == ["added /etc/new", "added /inner", "added /inner/file"]
    assert lab.picture() == before


def test_a_running_root_that_is_no_generation_is_compared_too(lab: Lab) -> None:
    root = lab.top / "@rootfs"
    sh("btrfs", "subvolume", "snapshot", lab.root(FIRST), root)
    (root / "etc/new").touch()
    before = lab.picture()
    assert running(lab, root) == ["added /etc/new"]
    (root / "etc/fstab").write_text("")
    assert running(lab, root) == ["modified /etc/fstab", "added /etc/new"]
    assert lab.picture() == before


@contextlib.contextmanager
def overlay(lab: Lab, tmp_path: Path, lower: str) -> Iterator[Path]:
    """An overlay of a generation, as Alpine's overlaytmpfs makes it."""
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    sh("chmod", f"--reference={lab.root(lower)}", tmp_path / "upper")
    dirs = f"lowerdir={lab.root(lower)},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    sh("mount", "-t", "overlay", "none", "-o", dirs, tmp_path / "root")
    try:
        yield tmp_path / "root"
    finally:
        sh("umount", tmp_path / "root")


@pytest.fixture
def memory(root_user: None, tmp_path: Path) -> Iterator[Path]:
    """A directory on another filesystem than btrfs, whatever the tests lie on."""
    sh("mount", "-t", "tmpfs", "none", tmp_path)
    yield tmp_path
    sh("umount", tmp_path)


def test_an_overlay_that_runs_is_walked_through(lab: Lab, memory: Path) -> None:
    """What it lies over is told by where that is mounted, and so is what its fstab may name."""
    lab.add_generation(SECOND)
    with overlay(lab, memory, FIRST) as root:
        (root / "etc/new").touch()
        (root / "etc/passwd").write_text("x")
        (root / "etc/os-release").unlink()
        (root / "media/root-ro").mkdir(parents=True)
        before = lab.picture()
        expected = ["added /etc/new", "removed /etc/os-release", "modified /etc/passwd", "added /media"]
        lower = f'mount --bind {lab.root(FIRST)} "$1/media/root-ro"'
        assert running(lab, root, SECOND, how=lower) == expected
        expected = ["modified /etc/fstab", *expected, "added /media/root-ro"]
        assert running(lab, root, SECOND, how=":") == expected
        assert lab.picture() == before
