"""What files differ between two generations, held against a walk through both in full."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sysmut import btrfs
from sysmut.changes import candidates, files, roots, sending
from sysmut.changes.files import FileChange
from sysmut.changes.tree import Tree
from sysmut.errors import BadData, Busy
from sysmut.toplevel import TopLevel
from tests.lab import FIRST, Lab, sh
from tests.mutator import Facts, Mutator, differences, facts, snapshot

SECOND = "20260102000000AbCdEfGh"
CANNOT_SEND = 1175
"""A course of events after which Linux 6.18 sends nothing, but ENOENT."""


@pytest.fixture
def bare_lab(make_lab: Callable[..., Lab], tmp_path: Path) -> Lab:
    """A layout whose generation has nothing in it but its fstab."""
    (tmp_path / "etc").mkdir()
    made = make_lab()
    made.lay_out(tmp_path)
    return made


@contextlib.contextmanager
def top_of(lab: Lab) -> Iterator[TopLevel]:
    """The top level as the code has it, without a mount namespace of its own."""
    fd = os.open(lab.top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield TopLevel(str(lab.top), fd, lab.uuid, "0:0")
    finally:
        os.close(fd)


def changes(lab: Lab, before: str = FIRST, after: str = SECOND) -> list[FileChange]:
    with top_of(lab) as top:
        return files.of_generations(top, before, after)


def told(lab: Lab, before: str = FIRST, after: str = SECOND) -> list[str]:
    """The same as lines: the kind, the path, and the old one of what was renamed."""
    return [
        " ".join([change.kind, change.path, *([change.before] if change.before is not None else [])])
        for change in changes(lab, before, after)
    ]


@contextlib.contextmanager
def first(lab: Lab) -> Iterator[Path]:
    """The first generation, to put something into."""
    with lab.unsealed(FIRST) as root:
        yield root


@contextlib.contextmanager
def second(lab: Lab) -> Iterator[Path]:
    """The second generation, made of the first, to be changed."""
    yield snapshot(lab, FIRST, SECOND)
    lab.seal(SECOND)


def without_renames(found: Sequence[FileChange], before: dict[str, Facts], after: dict[str, Facts]) -> dict[str, str]:
    """Path -> kind, with each rename, which was seen to be one, as a removal and an addition."""
    kinds: dict[str, str] = {}
    for change in found:
        pairs = [(change.path, str(change.kind))]
        if change.kind == "renamed":
            assert change.before is not None
            assert before[change.before] == after[change.path], change
            pairs = [(change.before, "removed"), (change.path, "added")]
        for path, kind in pairs:
            assert path not in kinds, path
            kinds[path] = kind
    return kinds


@pytest.mark.parametrize("seed", [*range(12), CANNOT_SEND])
def test_random_changes_are_told_as_a_walk_through_both_tells_them(bare_lab: Lab, seed: int) -> None:
    source = FIRST
    for number, steps in enumerate((80, 1, 3, 10, 40, 100, 300)):
        name = f"2026020{number}000000AbCdEfGh"
        mutator = Mutator(snapshot(bare_lab, source, name), seed * 100 + number)
        mutator.run(steps)
        bare_lab.seal(name)
        for before, after in ((source, name), (name, source), (FIRST, name)):
            pair = facts(bare_lab.root(before)), facts(bare_lab.root(after))
            found = without_renames(changes(bare_lab, before, after), *pair)
            assert found == differences(*pair), mutator.done
        source = name


@pytest.mark.parametrize("seed", range(4))
def test_roots_that_were_made_apart_are_compared_by_what_they_hold(bare_lab: Lab, tmp_path: Path, seed: int) -> None:
    """Their inodes have the same numbers, and nothing else in common."""
    for name in ("20260301000000AbCdEfGh", "20260302000000AbCdEfGh"):
        root = bare_lab.add_generation(name, tmp_path, sealed=False)
        Mutator(root, seed).run(60)
        Mutator(root, seed + int(name[7])).run(20)
        bare_lab.seal(name)
    pair = [facts(bare_lab.root(name)) for name in (name[:7] + "1" + name[8:], name)]
    found = without_renames(changes(bare_lab, name[:7] + "1" + name[8:], name), *pair)
    for each in pair:
        each.pop("/etc/fstab", None)
    assert found == differences(*pair)


def test_an_inode_of_another_root_is_not_taken_for_the_same_for_its_number(bare_lab: Lab, tmp_path: Path) -> None:
    ids = ("20260301000000AbCdEfGh", "20260302000000AbCdEfGh")
    roots_made = [bare_lab.add_generation(name, tmp_path, sealed=False) for name in ids]
    for number, root in enumerate(roots_made):
        (root / "link").symlink_to(f"target{number}")
        (root / f"file{number}").touch()
        bare_lab.seal(ids[number])
    assert roots_made[0].joinpath("link").lstat().st_ino == roots_made[1].joinpath("link").lstat().st_ino
    assert roots_made[0].joinpath("file0").lstat().st_ino == roots_made[1].joinpath("file1").lstat().st_ino
    assert told(bare_lab, *ids) == ["removed /file0", "added /file1", "modified /link"]


# -- the kinds ------------------------------------------------------------------------------------


def test_each_kind_of_change_is_told_by_path(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        for name in ("bin/tool", "etc/conf", "etc/mode", "etc/times", "old/file", "old/deep/file", "gone/file", "kind"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
    with second(bare_lab) as root:
        (root / "etc/conf").write_text("other")
        (root / "etc/mode").chmod(0o600)
        os.utime(root / "etc/times", (1, 1))
        (root / "old").rename(root / "etc/new")
        sh("rm", "-r", root / "gone")
        (root / "bin/sub").mkdir()
        (root / "bin/sub/more").write_text("")
        (root / "kind").unlink()
        (root / "kind").symlink_to("bin")
    assert told(bare_lab) == [
        "added /bin/sub",
        "added /bin/sub/more",
        "modified /etc/conf",
        "attributes /etc/mode",
        "renamed /etc/new /old",
        "renamed /etc/new/deep /old/deep",
        "renamed /etc/new/deep/file /old/deep/file",
        "renamed /etc/new/file /old/file",
        "removed /gone",
        "removed /gone/file",
        "modified /kind",
    ]


def test_a_file_that_an_upgrade_renames_over_another_is_modified(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        (root / "tool").write_text("1")
        (root / "same").write_text("1")
    with second(bare_lab) as root:
        for name, text in (("tool", "2"), ("same", "1")):
            (root / f"{name}.dpkg-new").write_text(text)
            (root / f"{name}.dpkg-new").rename(root / name)
    assert told(bare_lab) == ["modified /tool"]


def test_what_was_renamed_and_changed_is_removed_and_added(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        (root / "a").write_text("1")
        (root / "c").write_text("1")
    with second(bare_lab) as root:
        (root / "a").rename(root / "b")
        (root / "b").write_text("2")
        (root / "c").rename(root / "d")
        (root / "d").chmod(0o4755)
    assert told(bare_lab) == ["removed /a", "added /b", "removed /c", "added /d"]


def test_a_generation_is_the_same_as_itself_and_as_its_snapshot(bare_lab: Lab) -> None:
    with second(bare_lab):
        pass
    assert told(bare_lab) == []
    assert told(bare_lab, FIRST, FIRST) == []


def test_a_file_is_modified_under_all_its_names(bare_lab: Lab) -> None:
    """The kernel tells one of them. So many names do not fit into one item of the inode, nor into one answer."""
    names = [f"{number:03}{'x' * 200}" for number in range(400)]
    with first(bare_lab) as root:
        (root / "d/e").mkdir(parents=True)
        (root / "file").write_text("1")
        for name in names:
            os.link(root / "file", root / "d/e" / name)
    with second(bare_lab) as root:
        (root / "file").write_text("2")
    assert told(bare_lab) == [*(f"modified /d/e/{name}" for name in names), "modified /file"]


def test_a_name_in_a_directory_that_was_renamed_is_one_of_the_file_too(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        (root / "d/e").mkdir(parents=True)
        (root / "file").write_text("1")
        os.link(root / "file", root / "d/e/name")
    with second(bare_lab) as root:
        (root / "d").rename(root / "b")
        (root / "file").chmod(0o600)
    expected = ["renamed /b /d", "renamed /b/e /d/e", "added /b/e/name", "removed /d/e/name", "attributes /file"]
    assert told(bare_lab) == expected


def test_names_that_stay_are_modified_with_the_one_that_was_written_to(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        (root / "d").mkdir()
        (root / "a").write_text("1")
        for name in ("b", "d/c", "d/gone"):
            os.link(root / "a", root / name)
    with second(bare_lab) as root:
        (root / "b").write_text("2")
        (root / "d/gone").unlink()
        os.link(root / "a", root / "d/new")
    expected = ["modified /a", "modified /b", "modified /d/c", "removed /d/gone", "added /d/new"]
    assert told(bare_lab) == expected


# -- fstab ----------------------------------------------------------------------------------------


def test_an_fstab_that_names_its_own_generation_is_no_change(bare_lab: Lab) -> None:
    bare_lab.add_generation(SECOND)
    assert (bare_lab.root(FIRST) / "etc/fstab").read_text() != (bare_lab.root(SECOND) / "etc/fstab").read_text()
    assert told(bare_lab) == []


def test_an_fstab_that_differs_otherwise_is_a_change(bare_lab: Lab) -> None:
    path = bare_lab.add_generation(SECOND, sealed=False) / "etc/fstab"
    path.write_text(path.read_text() + "tmpfs /var/tmp tmpfs defaults 0 0\n")
    bare_lab.seal(SECOND)
    assert told(bare_lab) == ["modified /etc/fstab"]


def test_an_fstab_that_names_another_generation_than_its_own_is_a_change(bare_lab: Lab) -> None:
    path = bare_lab.add_generation(SECOND, sealed=False) / "etc/fstab"
    path.write_text(path.read_text().replace(SECOND, f"{SECOND}0"))
    bare_lab.seal(SECOND)
    assert told(bare_lab) == ["modified /etc/fstab"]


def test_a_generation_is_not_taken_for_another_whose_id_begins_alike(bare_lab: Lab) -> None:
    path = "etc/fstab"
    with first(bare_lab) as root:
        (root / path).write_text(f"/snapshots/{FIRST}1\n")
    root = bare_lab.add_generation(SECOND, sealed=False)
    (root / path).write_text(f"/snapshots/{SECOND}1\n")
    bare_lab.seal(SECOND)
    assert told(bare_lab) == ["modified /etc/fstab"]


def test_an_fstab_with_another_mode_is_told_as_such(bare_lab: Lab) -> None:
    (bare_lab.add_generation(SECOND, sealed=False) / "etc/fstab").chmod(0o600)
    bare_lab.seal(SECOND)
    assert told(bare_lab) == ["attributes /etc/fstab"]


# -- subvolumes -----------------------------------------------------------------------------------


def test_subvolumes_in_a_root_are_compared_in_their_place(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        for name in ("both", "gone", "replaced"):
            sh("btrfs", "subvolume", "create", root / name)
            (root / name / "file").write_text("1")
            (root / name / "other").write_text("1")
        sh("btrfs", "property", "set", "-ts", root / "gone", "ro", "true")
    with second(bare_lab) as root:
        for name in ("both", "new"):
            if (root / name).exists():
                (root / name).rmdir()
            sh("btrfs", "subvolume", "snapshot", bare_lab.root(FIRST) / "both", root / name)
        (root / "both/file").write_text("2")
        (root / "replaced").rmdir()
        (root / "replaced").mkdir()
        (root / "replaced/file").write_text("1")
        (root / "gone").rmdir()
        sh("btrfs", "property", "set", "-ts", root / "both", "ro", "true")
        sh("btrfs", "property", "set", "-ts", root / "new", "ro", "true")
    with first(bare_lab) as root:
        for name in ("both", "replaced"):
            sh("btrfs", "property", "set", "-ts", root / name, "ro", "true")
    assert told(bare_lab) == [
        "modified /both/file",
        "removed /gone",
        "removed /gone/file",
        "removed /gone/other",
        "added /new",
        "added /new/file",
        "added /new/other",
        "removed /replaced/other",
    ]


def test_subvolumes_beside_the_root_are_told_by_their_names(bare_lab: Lab) -> None:
    with second(bare_lab):
        pass
    for name, generation in (("@both", FIRST), ("@gone", FIRST), ("@new", SECOND)):
        path = bare_lab.top / "snapshots" / generation / name
        sh("btrfs", "subvolume", "create", path)
        (path / "dir").mkdir()
        (path / "dir/file").write_text("1")
    other = bare_lab.top / "snapshots" / SECOND / "@both"
    sh("btrfs", "subvolume", "snapshot", bare_lab.top / "snapshots" / FIRST / "@both", other)
    (other / "dir").rename(other / "moved")
    for path in bare_lab.top.glob("snapshots/*/@?*"):
        sh("btrfs", "property", "set", "-ts", path, "ro", "true")
    assert told(bare_lab) == [
        "renamed @both/moved @both/dir",
        "renamed @both/moved/file @both/dir/file",
        "removed @gone",
        "removed @gone/dir",
        "removed @gone/dir/file",
        "added @new",
        "added @new/dir",
        "added @new/dir/file",
    ]


@pytest.mark.parametrize("which", [FIRST, SECOND])
def test_a_generation_that_is_not_sealed_is_refused(bare_lab: Lab, which: str) -> None:
    with second(bare_lab):
        pass
    bare_lab.seal(which, sealed=False)
    with pytest.raises(BadData, match=f"generation {which} is not sealed"):
        changes(bare_lab)


def test_a_generation_that_is_removed_meanwhile_is_not_taken_for_an_empty_one(bare_lab: Lab) -> None:
    root = str(bare_lab.root(FIRST))

    def look(then: Callable[[], object]) -> None:
        with roots.kept(root):
            then()
            os.stat(f"{root}/nothing")

    with pytest.raises(FileNotFoundError):
        look(lambda: None)
    with pytest.raises(Busy, match="was removed"), roots.kept(root):
        btrfs.unseal(root)
    btrfs.seal(root)
    with pytest.raises(Busy, match="was removed"):
        look(lambda: btrfs.delete(root))
    with pytest.raises(FileNotFoundError), roots.kept(root):
        pass


# -- hostile roots --------------------------------------------------------------------------------


def test_links_in_the_place_of_directories_lead_nowhere(bare_lab: Lab, tmp_path: Path) -> None:
    """What a link in one root leads to on the host is not what the other root has in that directory."""
    (tmp_path / "file").write_text("1")
    with first(bare_lab) as root:
        (root / "lib").symlink_to(tmp_path)
        (root / "bin").mkdir()
        (root / "bin/file").write_text("1")
    with second(bare_lab) as root:
        (root / "lib").unlink()
        (root / "lib").mkdir()
        (root / "lib/file").write_text("1")
        (root / "bin/file").unlink()
        (root / "bin").rmdir()
        (root / "bin").symlink_to(tmp_path)
    assert told(bare_lab) == ["modified /bin", "removed /bin/file", "modified /lib", "added /lib/file"]


def test_names_are_kept_byte_by_byte(bare_lab: Lab) -> None:
    with second(bare_lab) as root:
        (root / "line\nend").write_text("")
        (root / "\udcff").write_text("")
    assert told(bare_lab) == ["added /line\nend", "added /\udcff"]


@pytest.mark.timeout(60)
def test_a_hole_of_any_size_is_not_read(bare_lab: Lab) -> None:
    with first(bare_lab) as root, open(root / "hole", "wb") as file:
        file.truncate(2**62)
        os.pwrite(file.fileno(), b"1", 2**61)
    with second(bare_lab) as root, open(root / "hole", "r+b") as file:
        os.pwrite(file.fileno(), b"1", 2**61)
        file.flush()
        os.fsync(file.fileno())
    assert told(bare_lab) == []
    with bare_lab.unsealed(SECOND) as root, open(root / "hole", "r+b") as file:
        os.pwrite(file.fileno(), b"2", 2**60)
    assert told(bare_lab) == ["modified /hole"]


@contextlib.contextmanager
def deep(root: Path, levels: int = 20, *, make: bool) -> Iterator[None]:
    """Be in a directory whose path is too long to name."""
    home = os.open(".", os.O_RDONLY)
    try:
        os.chdir(root)
        for _ in range(levels):
            if make:
                os.mkdir("d" * 250)
            os.chdir("d" * 250)
        yield
    finally:
        os.fchdir(home)
        os.close(home)


def test_what_is_deeper_than_a_path_can_be_long_is_told_by_the_directory_above_it(bare_lab: Lab) -> None:
    with second(bare_lab) as root:
        with deep(root, make=True):
            Path("file").write_text("1")
        (root / "file").write_text("")
    *inner, last, outer = told(bare_lab)
    assert outer == "added /file"
    assert inner == ["added " + f"/{'d' * 250}" * number for number in range(1, len(inner) + 1)]
    assert last == "modified " + f"/{'d' * 250}" * (len(inner) + 1)


def test_a_change_deeper_than_a_path_can_be_long_counts_as_one(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        with deep(root, make=True):
            Path("file").write_text("1")
        (root / "file").write_text("1")
        (root / "same").write_text("")
    with second(bare_lab) as root:
        with deep(root, make=False):
            Path("file").write_text("2")
        (root / "file").write_text("2")
    last, outer = told(bare_lab)
    assert outer == "modified /file"
    assert last.startswith(f"modified /{'d' * 250}/")


@pytest.mark.parametrize("levels", [1500])
def test_a_tree_deeper_than_pythons_stack_is_compared(bare_lab: Lab, levels: int) -> None:
    with first(bare_lab) as root:
        sh("mkdir", "-p", root / "/".join("d" * levels))
    with second(bare_lab) as root:
        (root / "d").rename(root / "e")
        (root / "e" / "/".join("d" * (levels - 1)) / "file").write_text("")
    found = told(bare_lab)
    assert len(found) == levels + 1
    assert found[0] == "renamed /e /d"
    assert found[-1] == f"added /e/{'d/' * (levels - 1)}file"


# -- what it costs --------------------------------------------------------------------------------


def test_a_root_ten_times_as_large_costs_no_more(bare_lab: Lab) -> None:
    """The kernel sends as much, and as many paths are looked at."""
    costs = []
    for number, count in enumerate((300, 3000)):
        before, after = f"2026040{number}000000AbCdEfGh", f"2026050{number}000000AbCdEfGh"
        root = snapshot(bare_lab, FIRST, before)
        for index in range(count):
            (root / f"d{index // 100}").mkdir(exist_ok=True)
            (root / f"d{index // 100}/{index}").write_text("1")
        bare_lab.seal(before)
        root = snapshot(bare_lab, before, after)
        for index in range(20):
            (root / "new").write_text("2")
            (root / "new").rename(root / f"d2/{200 + index}")
        bare_lab.seal(after)
        pair = str(bare_lab.root(before)), str(bare_lab.root(after))
        found = candidates.Candidates(Tree(pair[0]), Tree(pair[1]))
        found.add_pair("/")
        costs.append((sum(1 for _ in sending.between(*pair)), len(found.paths)))
        assert len(changes(bare_lab, before, after)) == 20
    assert costs[0] == costs[1]
    assert costs[0][1] < 50


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_file_that_nobody_wrote_to_is_not_read(bare_lab: Lab) -> None:
    with first(bare_lab) as root:
        for name in ("mode", "old", "link"):
            (root / name).write_bytes(os.urandom(16 * 2**20))
    with second(bare_lab) as root:
        (root / "mode").chmod(0o600)
        (root / "old").rename(root / "new")
        os.link(root / "link", root / "more")
        os.utime(root / "link")
    before = _bytes_read()
    assert told(bare_lab) == ["attributes /mode", "added /more", "renamed /new /old"]
    assert _bytes_read() - before < 2**20


# -- sending --------------------------------------------------------------------------------------


def test_a_stream_that_is_not_read_to_its_end_leaves_no_thread(bare_lab: Lab) -> None:
    with second(bare_lab) as root:
        for number in range(3000):
            (root / f"{number}{'x' * 100}").touch()
    stream = sending.between(str(bare_lab.root(FIRST)), str(bare_lab.root(SECOND)))
    next(stream)
    assert threading.active_count() > 1
    stream.close()  # type: ignore[attr-defined]
    assert [thread.name for thread in threading.enumerate() if "_send" in thread.name] == []


def test_what_the_kernel_says_is_what_is_raised(bare_lab: Lab) -> None:
    root = snapshot(bare_lab, FIRST, SECOND)
    with pytest.raises(PermissionError, match=SECOND):
        list(sending.between(str(bare_lab.root(FIRST)), str(root)))
