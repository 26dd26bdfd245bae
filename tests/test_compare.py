"""Two files, compared as they are found, whatever has come to be in their place."""

import os
import stat
from pathlib import Path

import pytest

from sysmut import compare


@pytest.fixture
def found(tmp_path: Path) -> tuple[str, str, os.stat_result, os.stat_result]:
    """Two files of the same content, and what lstat(2) said of them."""
    paths = (tmp_path / "old", tmp_path / "new")
    for path in paths:
        path.write_text("same")
    return str(paths[0]), str(paths[1]), paths[0].lstat(), paths[1].lstat()


def test_files_are_compared_by_content(found: tuple[str, str, os.stat_result, os.stat_result]) -> None:
    assert compare.same_but_attributes(*found)
    Path(found[1]).write_text("SAME")
    assert not compare.same_but_attributes(*found)


@pytest.mark.timeout(20)
def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(
    found: tuple[str, str, os.stat_result, os.stat_result],
) -> None:
    os.unlink(found[1])
    os.mkfifo(found[1])
    assert not compare.same_but_attributes(*found)


def test_a_link_in_the_place_of_a_file_is_not_followed(found: tuple[str, str, os.stat_result, os.stat_result]) -> None:
    os.unlink(found[1])
    os.symlink(found[0], found[1])
    with pytest.raises(OSError, match="symbolic links"):
        compare.same_but_attributes(*found)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_became_shorter_meanwhile_is_read_to_its_end(
    found: tuple[str, str, os.stat_result, os.stat_result], number: int
) -> None:
    for each in found[: number + 1]:
        os.truncate(str(each), 0)
    assert compare.same_but_attributes(*found) is (number == 1)


@pytest.mark.timeout(60)
def test_holes_are_passed_over(tmp_path: Path) -> None:
    paths = (tmp_path / "old", tmp_path / "new")
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(2**43)
            os.pwrite(file.fileno(), b"1", 2**42)
    statuses = [path.lstat() for path in paths]
    assert stat.S_ISREG(statuses[0].st_mode)
    assert compare.same_but_attributes(str(paths[0]), str(paths[1]), statuses[0], statuses[1])
    with open(paths[0], "r+b") as file:
        os.pwrite(file.fileno(), b"\0", 2**41)  # what is a hole in one is zeros in the other
    assert compare.same_but_attributes(str(paths[0]), str(paths[1]), statuses[0], statuses[1])
    with open(paths[0], "r+b") as file:
        os.pwrite(file.fileno(), b"1", 2**41)
    assert not compare.same_but_attributes(str(paths[0]), str(paths[1]), statuses[0], statuses[1])
