"""How a text file differs between two roots; and which of the changed files are meant."""

import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmut.changes.model import FileChange, in_order
from sysmut.changes.text import chosen, unified

Pair = tuple[Path, Path]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two roots, each with an /etc."""
    made = (tmp_path / "old", tmp_path / "new")
    for root in made:
        (root / "etc").mkdir(parents=True)
    return made


def shown(pair: Pair, path: str = "/etc/x") -> list[str]:
    return unified(str(pair[0]), str(pair[1]), path)


def by_diff(before: str, after: str, directory: Path) -> bytes:
    """What diff(1) shows, with the names that ours has."""
    for name, text in (("a", before), ("b", after)):
        (directory / name).write_bytes(text.encode(errors="surrogateescape"))
    command = ["diff", "-u", "--label", "a/etc/x", "--label", "b/etc/x", "a", "b"]
    return subprocess.run(command, cwd=directory, check=False, capture_output=True).stdout


LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "{\n", "\udcff\n", "\r\n", "e\x0bf\n"]), max_size=25)
TEXTS = st.builds(lambda lines, end: "".join(lines) + end, LINES, st.sampled_from(["", "z"]))


@given(TEXTS, TEXTS)
def test_patch_makes_of_the_old_file_the_new_one(before: str, after: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        roots = (Path(name) / "old", Path(name) / "new")
        for root, text in zip(roots, (before, after), strict=True):
            (root / "etc").mkdir(parents=True)
            (root / "etc/x").write_bytes(text.encode(errors="surrogateescape"))
        lines = shown(roots)
        if before == after:
            assert lines == []
            return
        patch = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        command = ["patch", "--binary", "-s", "-F0", "-p1", "-d", str(roots[0])]
        done = subprocess.run(command, input=patch, check=False, capture_output=True)
        assert done.returncode == 0, (done, patch)
        assert not after or (roots[0] / "etc/x").read_bytes() == (roots[1] / "etc/x").read_bytes()


def test_a_change_far_down_is_shown_as_diff_shows_it(pair: Pair, tmp_path: Path) -> None:
    old = [f"line {number}\n" for number in range(3000)]
    new = [*old[:2000], "new\n", *old[2001:2004], *old[2010:]]
    (pair[0] / "etc/x").write_text("".join(old))
    (pair[1] / "etc/x").write_text("".join(new))
    assert "".join(f"{line}\n" for line in shown(pair)).encode() == by_diff("".join(old), "".join(new), tmp_path)


def test_a_file_that_is_in_one_root_only_is_shown_whole(pair: Pair) -> None:
    (pair[1] / "etc/x").write_text("1\n2\n")
    assert shown(pair) == ["--- /dev/null", "+++ b/etc/x", "@@ -0,0 +1,2 @@", "+1", "+2"]
    assert shown((pair[1], pair[0])) == ["--- a/etc/x", "+++ /dev/null", "@@ -1,2 +0,0 @@", "-1", "-2"]


def test_a_symlink_is_shown_by_its_target_and_not_followed(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (pair[0] / "etc/x").write_text("1\n")
    (pair[1] / "etc/x").symlink_to(tmp_path / "secret")
    assert shown(pair)[3:] == ["-1", f"+-> {tmp_path}/secret"]


def test_a_link_in_the_place_of_a_directory_is_not_followed(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/x").write_text("secret\n")
    (pair[1] / "lib").symlink_to(tmp_path / "host")
    assert shown(pair, "/lib/x") == []


def test_directories_have_no_lines(pair: Pair) -> None:
    (pair[0] / "etc/x").mkdir()
    assert shown(pair) == []


@pytest.mark.timeout(20)
def test_what_has_no_lines_is_told_in_one(pair: Pair) -> None:
    """The fifo's other end is never opened."""
    (pair[0] / "etc/x").write_text("1\n")
    os.mkfifo(pair[1] / "etc/x")
    assert shown(pair) == ["/etc/x: is a fifo"]
    (pair[1] / "etc/x").unlink()
    (pair[1] / "etc/x").write_bytes(b"1\0")
    assert shown(pair) == ["/etc/x: differs (not a text file)"]
    (pair[1] / "etc/x").write_bytes(b"1\n" * 2**20)
    assert shown(pair) == ["/etc/x: differs (too large to show)"]
    assert shown(pair, "/etc/" + "x" * 300) == [f"/etc/{'x' * 300}: cannot be shown: File name too long"]


def _hostile(kind: str) -> tuple[list[str], list[str]]:
    number = random.Random(1)
    lines = [f"{index}\n" for index in range(20_000)]
    if kind == "backwards":
        return lines, lines[::-1]
    few = [f"{index % 99}\n" for index in range(3000)]
    return few, number.sample(few, 3000)


@pytest.mark.parametrize("kind", ["backwards", "each below what counts as often"])
def test_a_file_made_to_keep_difflib_busy_is_said_to_be_too_large(pair: Pair, kind: str) -> None:
    old, new = _hostile(kind)
    (pair[0] / "etc/x").write_text("".join(old))
    (pair[1] / "etc/x").write_text("".join(new))
    assert shown(pair) == ["/etc/x: differs (too large to show)"]


# -- what is meant --------------------------------------------------------------------------------


CHANGES = [
    FileChange("/bin/x", "added"),
    FileChange("/etc", "attributes"),
    FileChange("/etc/apt/x", "modified"),
    FileChange("/etcetera", "modified"),
    FileChange("/usr/new", "renamed", "/opt/old"),
    FileChange("@data/x", "modified"),
]


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        ([], ["/etc", "/etc/apt/x", "/bin/x", "/etcetera", "/usr/new", "@data/x"]),
        (["/"], ["/etc", "/etc/apt/x", "/bin/x", "/etcetera", "/usr/new", "@data/x"]),
        (["/etc"], ["/etc", "/etc/apt/x"]),
        (["etc/apt/"], ["/etc/apt/x"]),
        (["/bin/x", "/etc/apt/x"], ["/etc/apt/x", "/bin/x"]),
        (["/opt"], ["/usr/new"]),
        (["@data"], ["@data/x"]),
        (["/nothing"], []),
    ],
)
def test_a_path_means_a_file_or_all_that_is_below(patterns: list[str], meant: list[str]) -> None:
    assert chosen(CHANGES, patterns) == meant


def test_changes_are_in_the_order_of_a_tree() -> None:
    paths = ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/a.b", "@x", "@x/y"]
    assert [change.path for change in in_order(FileChange(path, "added") for path in reversed(paths))] == paths
