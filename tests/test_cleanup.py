"""syscln: what goes, what stays, and the two guards that keep what is needed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sysmut import cleanup, layout, mounts
from sysmut.generations import State, Use
from sysmut.generations import in_use as in_use_of
from sysmut.mounts import Mount
from sysmut.toplevel import TopLevel
from tests.lab import FIRST, Finished, Lab, clean_environment, kill, sh, wait_until

OLD = "20250101000000OldOldOl"
OTHER = "20250202000000OtherOth"
IN_FORCE = "20260101000001AbCdEfGh"


def deletes(lab: Lab, *names: str) -> Finished:
    """syscln, which must delete exactly these."""
    before = lab.generations
    done = lab.syscln("-v")
    assert done.returncode == 0, done.stderr
    assert before - lab.generations == set(names), done.stderr
    return done


@contextlib.contextmanager
def waiting(lab: Lab) -> Iterator[None]:
    """A session that is open for as long as the context lasts, and is killed then."""
    session = lab.start_waiting()
    try:
        yield
    finally:
        kill(session)


def subvolumes(lab: Lab) -> set[str]:
    return set(lab.picture()["subvolumes"])


# -- what goes ---------------------------------------------------------------------------------------


def test_what_nothing_refers_to_goes_and_what_a_slot_a_pin_or_a_trial_names_stays(lab: Lab) -> None:
    slot, pinned, tried = (f"2025010100000{n}Referred" for n in range(3))
    for name in (OLD, OTHER, slot, pinned, tried):
        lab.add_generation(name)
    lab.link([FIRST, slot], "20260101000002InForceX")
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{pinned}")
    (lab.top / "trial").symlink_to(f"./snapshots/{tried}")
    deletes(lab, OLD, OTHER)
    assert lab.slots == [FIRST, slot]
    for name in (slot, pinned, tried):
        assert (lab.root(name) / "bin/busybox").exists()


def test_a_generation_goes_once_its_pin_is_gone(lab: Lab) -> None:
    lab.add_generation(OLD)
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{OLD}")
    deletes(lab)
    (lab.top / "pins/good").unlink()
    deletes(lab, OLD)


def test_link_sets_not_in_force_go(lab: Lab) -> None:
    for number in range(3):
        lab.link([FIRST], f"2025010100000{number}LinkSets")
    lab.link([FIRST], "20260101000002InForceX")
    done = lab.syscln("--json")
    assert lab.link_sets == {"20260101000002InForceX"}
    assert set(json.loads(done.stdout)["link_sets"]) == {IN_FORCE, *(f"2025010100000{n}LinkSets" for n in range(3))}


def test_what_killed_sessions_left_behind_goes(lab: Lab) -> None:
    lab.add_generation(OLD, sealed=False)
    (lab.top / "snapshots" / OLD / "sysmut.log").write_text("half of")
    for name in ("20250303000000EmptyDir", "20250303000000OnlyOwns", "20250303000000CutOffed"):
        (lab.top / "snapshots" / name).mkdir()
    for name in ("sysmut.json", "sysmut.log"):
        (lab.top / "snapshots/20250303000000OnlyOwns" / name).write_text("{}")
    (lab.top / "snapshots/20250303000000CutOffed/.sysmut.json.sysmut-new").write_text("{")
    (lab.top / "links/20250303000000EmptySet").mkdir()
    deletes(lab, OLD, "20250303000000EmptyDir", "20250303000000OnlyOwns", "20250303000000CutOffed")
    assert lab.link_sets == {IN_FORCE}


def test_a_stale_next_keeps_nothing_alive_and_the_next_session_replaces_it(lab: Lab) -> None:
    lab.add_generation(OLD)
    half = lab.top / "links/20250303000000HalfMade"
    half.mkdir()
    (half / "0").symlink_to(f"../../snapshots/{OLD}")
    (lab.top / "next/current").symlink_to("./links/20250303000000HalfMade")
    deletes(lab, OLD)
    assert lab.link_sets == {IN_FORCE}
    lab.session("true")
    assert os.listdir(lab.top / "next") == []


@pytest.mark.parametrize("sealed", [True, False])
def test_nested_subvolumes_and_several_beside_the_root_go(lab: Lab, sealed: bool) -> None:
    root = lab.add_generation(OLD, sealed=False)
    for path in ("srv", "srv/inner", "srv/inner/innermost", "var/lib"):
        sh("btrfs", "subvolume", "create", root / path)
    (root / "srv/inner/file").write_text("content")
    for name in ("@data", "@other"):
        sh("btrfs", "subvolume", "create", root.parent / name)
        sh("btrfs", "subvolume", "create", root.parent / name / "nested")
    if sealed:
        for path in ("@/srv/inner/innermost", "@/srv/inner", "@/srv", "@", "@data"):
            sh("btrfs", "property", "set", "-ts", root.parent / path, "ro", "true")
    deletes(lab, OLD)
    assert not any(OLD in path for path in subvolumes(lab))


@pytest.mark.parametrize("sealed", [True, False])
def test_the_immutable_flag_and_a_snapshot_that_inherited_it_stop_nothing(lab: Lab, sealed: bool) -> None:
    root = lab.add_generation(OLD, sealed=False)
    sh("btrfs", "subvolume", "create", root / "nested")
    (root / "srv").mkdir()
    sh("btrfs", "subvolume", "create", root / "srv/nested")
    sh("chattr", "+i", root / "nested", root / "srv", root)
    if sealed:
        lab.seal(OLD)
    lab.add_generation(OTHER, source=OLD)
    assert "i" in sh("lsattr", "-d", lab.root(OTHER)).split()[0]
    deletes(lab, OLD, OTHER)


def test_the_space_comes_back(lab: Lab) -> None:
    def free() -> int:
        sh("btrfs", "filesystem", "sync", lab.top)
        status = os.statvfs(lab.top)
        return status.f_bavail * status.f_frsize

    before = free()
    with (lab.add_generation(OLD, sealed=False) / "big").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(2**20))
    lab.seal(OLD)
    assert free() < before - 60 * 2**20
    deletes(lab, OLD)
    wait_until(lambda: free() > before - 4 * 2**20)


# -- what stays --------------------------------------------------------------------------------------


def test_files_of_others_stay_and_so_does_their_directory(lab: Lab) -> None:
    directory = lab.add_generation(OLD).parent
    (directory / "notes").write_text("mine")
    (directory / "link").symlink_to("/etc")
    done = deletes(lab)
    assert sorted(os.listdir(directory)) == ["link", "notes"]
    assert "link, notes" in done.stderr
    again = lab.syscln()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_what_is_not_a_directory_in_snapshots_or_links_is_left_alone(lab: Lab) -> None:
    outside = lab.top / "outside"
    outside.mkdir()
    sh("btrfs", "subvolume", "create", outside / "@")
    (outside / "0").symlink_to("nowhere")
    for place in ("snapshots", "links"):
        (lab.top / place / "20250101000000ASymlink").symlink_to("../outside")
        (lab.top / place / "20250101000000PlainFil").write_text("mine")
    deletes(lab)
    for place in ("snapshots", "links"):
        assert (lab.top / place / "20250101000000ASymlink").is_symlink()
        assert (lab.top / place / "20250101000000PlainFil").read_text() == "mine"
    assert sorted(os.listdir(outside)) == ["0", "@"]


def test_a_file_of_others_in_a_link_set_stays(lab: Lab) -> None:
    lab.link([FIRST], "20260101000002InForceX")
    (lab.top / "links" / IN_FORCE / "notes").write_text("mine")
    deletes(lab)
    assert os.listdir(lab.top / "links" / IN_FORCE) == ["notes"]


def test_nothing_outside_snapshots_and_links_is_touched_but_the_history(lab: Lab) -> None:
    for path in ("commons/@spare", "elsewhere", "elsewhere/@"):
        sh("btrfs", "subvolume", "create", lab.top / path)
    (lab.top / "empty").mkdir()
    (lab.top / "pins").mkdir()
    (lab.top / "pins/dangling").symlink_to("../snapshots/gone")
    (lab.top / "history").touch()
    lab.add_generation(OLD)

    def others() -> str:
        own = ("-path", "./snapshots", "-o", "-path", "./history")
        return sh("find", ".", "(", *own, ")", "-prune", "-o", "-printf", "%p %l %C@\n", cwd=lab.top)

    before = others()
    deletes(lab, OLD)
    assert others() == before


@pytest.mark.parametrize("place", ["snapshots", "links"])
def test_where_snapshots_or_links_is_itself_a_link_nothing_is_deleted(lab: Lab, place: str) -> None:
    lab.add_generation(OLD)
    (lab.top / place).rename(lab.top / "elsewhere")
    (lab.top / place).symlink_to("elsewhere")
    before = lab.picture()
    done = lab.syscln()
    assert done.returncode == 69
    assert place in done.stderr
    assert lab.picture() == before


@pytest.mark.parametrize(
    "target",
    [
        "/snapshots/{}",
        "../../snapshots/{}/",
        "../.././snapshots/../snapshots/{}",
        "../../alias",
        "../../snapshots/alias",
        "/chain",
        "../../../../../snapshots/{}",
    ],
)
def test_a_slot_reached_by_an_absolute_link_or_a_chain_of_links_is_kept(lab: Lab, target: str) -> None:
    lab.add_generation(OLD)
    lab.add_generation(OTHER)
    (lab.top / "alias").symlink_to(f"snapshots/{OLD}")
    (lab.top / "snapshots/alias").symlink_to(OLD)
    (lab.top / "chain").symlink_to("/alias")
    slot = lab.top / "links" / IN_FORCE / "1"
    slot.unlink()
    slot.symlink_to(target.format(OLD))
    deletes(lab, OTHER)


@pytest.mark.parametrize("target", ["/links/{}", "links/{}", "links/{}/", "./links/../links/{}"])
def test_current_may_be_spelled_in_other_ways(lab: Lab, target: str) -> None:
    (lab.top / "current").unlink()
    (lab.top / "current").symlink_to(target.format(IN_FORCE))
    lab.add_generation(OLD)
    deletes(lab, OLD)


@pytest.mark.parametrize(
    "target",
    ["./links/gone", "/etc", "./snapshots", "links", ".", "../links", "links/file", "links/alias", "links/a/b"],
)
def test_where_current_is_dangling_or_foreign_nothing_is_deleted(lab: Lab, target: str) -> None:
    lab.add_generation(OLD)
    (lab.top / "links/file").write_text("")
    (lab.top / "links/alias").symlink_to(IN_FORCE)
    (lab.top / "current").unlink()
    (lab.top / "current").symlink_to(target)
    before = sh("find", lab.top)
    done = lab.syscln()
    assert done.returncode == 69
    assert "current" in done.stderr
    assert sh("find", lab.top) == before


@pytest.mark.parametrize("what", ["nothing", "a directory"])
def test_where_current_is_not_a_link_nothing_is_deleted(lab: Lab, what: str) -> None:
    lab.add_generation(OLD)
    (lab.top / "current").unlink()
    if what == "a directory":
        (lab.top / "current").mkdir()
        (lab.top / "current/0").symlink_to(f"../snapshots/{FIRST}")
    before = lab.picture()
    done = lab.syscln()
    assert done.returncode == 69, done.stderr
    assert lab.picture() == before


# -- what cannot be deleted --------------------------------------------------------------------------


@pytest.fixture
def stuck(lab: Lab) -> Lab:
    """A lab with three generations to delete, the second of which is the default subvolume."""
    for name in ("20250101000000AaaaAaaa", "20250101000000BbbbBbbb", "20250101000000CcccCccc"):
        lab.add_generation(name)
    number = sh("btrfs", "inspect-internal", "rootid", lab.root("20250101000000BbbbBbbb")).strip()
    sh("btrfs", "subvolume", "set-default", number, lab.top)
    return lab


def test_what_cannot_be_deleted_is_reported_and_the_others_still_go(stuck: Lab) -> None:
    done = stuck.syscln()
    assert done.returncode == 71
    assert stuck.generations == {FIRST, "20250101000000BbbbBbbb"}
    assert stuck.is_sealed("20250101000000BbbbBbbb")
    assert "not deleted: 20250101000000BbbbBbbb" in done.stderr
    assert "default subvolume" in done.stderr
    assert done.stderr.splitlines()[0] == "deleted 2 generations"
    assert len(done.stderr.splitlines()) == 2


def test_under_json_a_failure_is_in_the_one_value_that_is_printed(stuck: Lab) -> None:
    done = stuck.syscln("--json")
    told = json.loads(done.stdout)
    assert done.returncode == 71
    assert [item["name"] for item in told["failed"]] == ["20250101000000BbbbBbbb"]
    assert told["deleted"] == ["20250101000000AaaaAaaa", "20250101000000CcccCccc"]
    assert told["error"]["status"] == 71
    assert "not deleted" in done.stderr


# -- what it says and syncs --------------------------------------------------------------------------


def test_it_is_silent_where_there_was_nothing_to_do(lab: Lab) -> None:
    done = lab.syscln()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_says_in_one_line_how_many_went_and_verbosely_which_and_why(lab: Lab) -> None:
    lab.add_generation(OLD)
    done = lab.syscln()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "deleted 1 generation\n")
    lab.add_generation(OLD)
    lab.add_generation(OTHER)
    done = lab.syscln("-v")
    assert done.stderr.splitlines() == [
        "deleted 2 generations",
        f"deleted {OLD}: nothing refers to it",
        f"deleted {OTHER}: nothing refers to it",
        f"kept {FIRST}: slot 0, slot 1, slot 2, slot 3",
    ]
    lab.add_generation(OLD)
    done = lab.syscln("-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_dry_run_gives_a_reason_for_every_generation_and_changes_nothing(lab: Lab) -> None:
    lab.add_generation(OLD)
    lab.add_generation(OTHER)
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{OTHER}")
    lab.link([FIRST, FIRST], "20260101000002InForceX")
    with waiting(lab):
        before = lab.picture()
        (opened,) = lab.generations - {OLD, OTHER, FIRST}
        done = lab.syscln("--dry-run")
        told = json.loads(lab.syscln("-n", "--json").stdout)
        assert lab.picture() == before
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.split(maxsplit=2) for line in done.stdout.splitlines()) == [
        ["delete", OLD, "nothing refers to it"],
        ["delete", f"links/{IN_FORCE}", "not in force"],
        ["keep", OTHER, "pin good"],
        ["keep", FIRST, "slot 0, slot 1"],
        ["keep", opened, "open in a session"],
    ]
    assert told["dry_run"] is True
    assert {item["generation"]: item["keep"] for item in told["generations"]} == {
        OLD: False, OTHER: True, FIRST: True, opened: True,
    }  # fmt: skip
    assert told["link_sets"] == [IN_FORCE]


def test_as_json_it_tells_what_it_did(lab: Lab) -> None:
    lab.add_generation(OLD)
    done = lab.syscln("--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert told == {
        "version": 1, "dry_run": False, "deleted": [OLD], "link_sets": [], "kept": [], "failed": [],
        "shortfall": None,
    }  # fmt: skip


def syncs(lab: Lab, trace: Path, *arguments: str) -> int:
    """How often a run of syscln calls syncfs, fsync or sync, or btrfs's own call for that."""
    calls = "trace=syncfs,fsync,fdatasync,sync,ioctl"
    command = ["strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(trace)]
    sh(*command, *lab.command("syscln", *arguments), env=clean_environment())
    return len(re.findall(r"sync(?:fs)?\(|BTRFS_IOC_SYNC", trace.read_text()))


@pytest.mark.parametrize("count", [1, 5])
def test_it_syncs_once_where_it_acted(lab: Lab, tmp_path: Path, count: int) -> None:
    for number in range(count):
        lab.add_generation(f"2025010100000{number}OldOldOl")
    assert syncs(lab, tmp_path / "trace") == 1
    assert lab.generations == {FIRST}


def test_it_syncs_once_where_it_left_a_directory_for_its_files(lab: Lab, tmp_path: Path) -> None:
    (lab.add_generation(OLD).parent / "notes").write_text("mine")
    assert syncs(lab, tmp_path / "trace") == 1
    assert syncs(lab, tmp_path / "trace") == 0


def test_it_does_not_sync_where_it_did_nothing(lab: Lab, tmp_path: Path) -> None:
    assert syncs(lab, tmp_path / "trace") == 0
    lab.add_generation(OLD)
    assert syncs(lab, tmp_path / "trace", "--dry-run") == 0


# -- the guards --------------------------------------------------------------------------------------


def altered(lab: Lab, change: str, *arguments: str) -> Finished:
    """syscln with something of it replaced."""
    code = "\n".join(
        (
            "from sysmut import btrfs, cleanup, toplevel",
            "from sysmut.cleanup import executing, planning, room",
            "from sysmut.generations import State, Use",
            change,
            "from sysmut.cli.syscln import main",
            "main()",
        )
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--root", str(lab.top), "-v", *arguments],
        check=False, capture_output=True, text=True, timeout=60, env=clean_environment(),
    )  # fmt: skip


NO_REACHABLE = "State.references = lambda self, name: ()"
NO_IN_USE = "planning.in_use = executing.in_use = lambda top: Use({}, {})"
NO_LOCK = "toplevel.try_lock = lambda fd: True"
NO_PLAN = f"""\
{NO_REACHABLE}
plan = cleanup.plan
def wrong(state, subvolumes, use, *rules):
    return plan(state, subvolumes, Use({{}}, {{}}), *rules)
cleanup.plan = planning.plan = wrong"""

USES = {
    "its root is bound": 'mount --bind "$gen/@" "$dir"',
    "its root is mounted": 'mount -o "subvol=/snapshots/$id/@" "$device" "$dir"',
    "its root is mounted read-only": 'mount -o "ro,subvolid=$number" "$device" "$dir"',
    "a directory of it is bound": 'mount --bind "$gen/@/etc" "$dir"',
    "its own directory is bound": 'mount --bind "$gen" "$dir"',
    "proc is mounted in it": 'mount -t proc none "$gen/@/proc"',
    "a nested subvolume is mounted": 'mount -o "subvol=/snapshots/$id/@/srv" "$device" "$dir"',
    "one beside its root is mounted": 'mount -o "subvol=/snapshots/$id/@data" "$device" "$dir"',
    "another mount of the top level has a mount in it": (
        'mount -o subvolid=5 "$device" "$dir"; mount -t tmpfs none "$dir/snapshots/$id/@/run"'
    ),
    "it is the root of a process": 'mount --bind "$gen/@" "$dir"; inside="chroot $dir"',
    "it is the root of a process that sees no mount of it": 'mount --bind "$gen" "$dir"; inside="chroot $dir/@"',
    "it is the root of a system": (
        'mount --bind "$gen/@" "$dir"; mount -t tmpfs none "$dir/run"; mkdir "$dir/run/old"; cd "$dir";'
        ' if [ "$own" ]; then pivot_root . run/old; umount -l /run/old; fi; inside="chroot ."'
    ),
}


@contextlib.contextmanager
def in_use(lab: Lab, directory: Path, use: str, *, own_namespace: bool) -> Iterator[None]:
    """A process that uses the generation OLD in one of the ways above, for as long as the context lasts."""
    directory.mkdir(exist_ok=True)
    about = {
        "id": OLD,
        "gen": str(lab.top / "snapshots" / OLD),
        "dir": str(directory),
        "device": sh("findmnt", "-n", "-o", "SOURCE", lab.top).strip(),
        "number": sh("btrfs", "inspect-internal", "rootid", lab.root(OLD)).strip(),
        "own": "yes" if own_namespace else "",
    }
    script = f'inside=; {USES[use]}; exec $inside /bin/sh -c "echo ready; read line"'
    process = subprocess.Popen(
        [*(["unshare", "--mount"] if own_namespace else []), "sh", "-ec", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **about},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        kill(process)
        if not own_namespace:
            points = Path("/proc/self/mountinfo").read_text().split()
            for point in (f"{directory}/run", f"{directory}/snapshots/{OLD}/@/run", directory, lab.root(OLD) / "proc"):
                if str(point) in points:
                    sh("umount", "-R", point)


@pytest.fixture
def old(lab: Lab) -> Lab:
    """A lab with a generation that nothing refers to, with a subvolume nested in it and one beside."""
    root = lab.add_generation(OLD, sealed=False)
    sh("btrfs", "subvolume", "create", root / "srv")
    sh("btrfs", "subvolume", "create", root.parent / "@data")
    lab.seal(OLD)
    return lab


@pytest.mark.parametrize("own_namespace", [True, False])
@pytest.mark.parametrize("use", USES)
def test_what_is_in_use_survives_although_nothing_refers_to_it(
    old: Lab, tmp_path: Path, use: str, own_namespace: bool
) -> None:
    before = old.picture()
    with in_use(old, tmp_path / "mnt", use, own_namespace=own_namespace):
        done = old.syscln()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert old.picture() == before
        assert (old.root(OLD) / "bin/busybox").exists()
        (line,) = [line for line in old.syscln("-n").stdout.splitlines() if OLD in line]
        assert line.startswith("keep")
        assert any(word in line for word in ("mounted", "booted", "the root directory of a process"))
    deletes(old, OLD)


@pytest.mark.parametrize("use", USES)
def test_without_the_guard_in_use_it_would_be_deleted(old: Lab, tmp_path: Path, use: str) -> None:
    with in_use(old, tmp_path / "mnt", use, own_namespace=True):
        done = altered(old, NO_IN_USE)
        assert done.returncode == 0, done.stderr
        assert OLD not in old.generations


@pytest.mark.parametrize("use", USES)
def test_what_is_in_use_survives_a_plan_that_is_wrong(old: Lab, tmp_path: Path, use: str) -> None:
    with in_use(old, tmp_path / "mnt", use, own_namespace=True):
        done = altered(old, NO_PLAN)
        assert done.returncode == 0, done.stderr
        assert f"kept {OLD}" in done.stderr
        assert old.generations == {OLD}


def test_where_it_cannot_be_told_what_is_in_use_nothing_is_deleted(old: Lab) -> None:
    before = old.picture()
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-P", "/", "-e", "inject=ioctl:error=EIO", *old.command("syscln")],
        check=False, capture_output=True, text=True, timeout=60, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 71, done.stderr
    assert "the root directory of a process: Input/output error" in done.stderr
    assert old.picture() == before


def test_what_is_mounted_after_the_plan_was_made_survives(old: Lab) -> None:
    mounts_it = f"""\
from sysmut import syscalls
plan = cleanup.plan
def late(*values):
    planned = plan(*values)
    syscalls.mount("none", "{layout.root(OLD)}/proc".join(("/run/sysmut/", "")), "proc", 0)
    return planned
cleanup.plan = late"""
    done = altered(old, mounts_it)
    assert done.returncode == 0, done.stderr
    assert f"kept {OLD}: " in done.stderr
    deletes(old, OLD)


def refer_by_slot(lab: Lab) -> None:
    lab.link([FIRST, OLD], "20260101000002InForceX")


def refer_by_pin(lab: Lab) -> None:
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{OLD}")


def refer_by_trial(lab: Lab) -> None:
    (lab.top / "trial").symlink_to(f"./snapshots/{OLD}")


@pytest.mark.parametrize("refer", [refer_by_slot, refer_by_pin, refer_by_trial])
def test_without_the_guard_reachable_it_would_be_deleted(old: Lab, refer: Callable[[Lab], None]) -> None:
    refer(old)
    deletes(old)
    done = altered(old, NO_REACHABLE)
    assert done.returncode == 0, done.stderr
    assert OLD not in old.generations


@pytest.mark.parametrize("out", [NO_REACHABLE, NO_IN_USE])
@pytest.mark.parametrize("refer", [refer_by_slot, refer_by_pin, refer_by_trial])
def test_either_guard_alone_keeps_the_booted_generation(
    old: Lab, tmp_path: Path, refer: Callable[[Lab], None], out: str
) -> None:
    refer(old)
    with in_use(old, tmp_path / "mnt", "it is the root of a system", own_namespace=True):
        done = altered(old, out)
        assert done.returncode == 0, done.stderr
        assert OLD in old.generations
        assert (old.root(OLD) / "bin/busybox").exists()


def test_without_its_lock_and_its_mounts_an_open_session_would_lose_its_generation(lab: Lab) -> None:
    with waiting(lab):
        (opened,) = lab.generations - {FIRST}
        for out in (NO_LOCK, NO_IN_USE):
            assert altered(lab, out).returncode == 0
            assert opened in lab.generations
        assert altered(lab, f"{NO_LOCK}\n{NO_IN_USE}").returncode == 0
        assert opened not in lab.generations


def test_a_reader_that_has_gone_does_not_stop_the_work(lab: Lab) -> None:
    lab.add_generation(OLD)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        lab.command("syscln", "--json"), check=False, stdout=write, stderr=subprocess.PIPE, env=clean_environment()
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert lab.generations == {FIRST}


# -- what decides, without a filesystem --------------------------------------------------------------


def state(**values: object) -> State:
    made: dict[str, object] = {
        "link_set": "L1",
        "slots": ("A", "B"),
        "pins": {},
        "trial": None,
        "generations": frozenset("ABCD"),
        "link_sets": frozenset({"L1", "L0"}),
    }
    return State(**{**made, **values})  # type: ignore[arg-type]


def doomed(found: State, use: Use | None = None, **subvolumes: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    return cleanup.plan(found, subvolumes, use or Use({}, {})).doomed


def test_the_plan_dooms_what_has_no_reason_to_stay() -> None:
    assert doomed(state()) == ("C", "D")
    assert doomed(state(pins={"good": "C"}, trial="D")) == ()
    assert doomed(state(slots=("A", None))) == ("B", "C", "D")
    assert doomed(state(generations=frozenset())) == ()


def test_the_plan_keeps_what_is_in_use_by_any_of_its_subvolumes_or_by_name() -> None:
    assert doomed(state(), Use({7: "mounted"}, {}), C=(("@/srv", 7), ("@", 6)), D=(("@", 8),)) == ("D",)
    assert doomed(state(), Use({}, {"C": "mounted"})) == ("D",)
    assert doomed(state(), Use({7: "mounted"}, {"C": "mounted"}), D=(("@", 7),)) == ()


def test_a_mount_is_known_by_its_subvolume_where_its_path_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [
        Mount("0:9", "/elsewhere/@", "/mnt", "btrfs", "/dev/a", "rw,subvolid=7,subvol=/elsewhere/@"),
        Mount("0:8", "/elsewhere/@", "/mnt", "btrfs", "/dev/b", "rw,subvolid=8,subvol=/elsewhere/@"),
        Mount("0:9", "/elsewhere/@", "/", "btrfs", "/dev/a", "rw,subvolid=9,subvol=/elsewhere/@"),
    ]
    monkeypatch.setattr(mounts, "of_everyone", lambda: iter(seen))
    found = in_use_of(TopLevel("/run/sysmut", -1, "", "0:9"))
    assert found == Use({7: "mounted on /mnt", 9: "booted"}, {})


def test_the_plan_gives_every_reason_once() -> None:
    use = Use({1: "booted", 2: "booted"}, {"A": "booted"})
    planned = cleanup.plan(state(slots=("A", "A"), pins={"p": "A"}, trial="A"), {"A": (("@/x", 1), ("@", 2))}, use)
    assert planned.verdicts[0].reasons == ("slot 0", "slot 1", "pin p", "trial", "booted")
    assert planned.verdicts[1].reasons == (cleanup.NOT_REFERENCED,)


def test_the_plan_takes_every_link_set_but_the_one_in_force() -> None:
    assert cleanup.plan(state(link_sets=frozenset({"L1", "L0", "L2"})), {}, Use({}, {})).link_sets == ("L0", "L2")


@pytest.mark.parametrize(
    ("slots", "first", "after"),
    [
        ("AAAA", "B", "BAAA"),
        ("ABCD", "E", "EABC"),
        ("ABCD", "A", "ABCD"),
        ("ABCD", "C", "CABD"),
        ("ABAB", "C", "CABB"),
        ("ABBB", "B", "BAAA"),
        ("A", "B", "B"),
        ("AB", "B", "BA"),
        ("A--B", "C", "CABB"),
        ("----", "A", "AAAA"),
    ],
)
def test_rotation_keeps_order_and_number_without_repeats_or_gaps(slots: str, first: str, after: str) -> None:
    rotated = layout.rotate(tuple(None if name == "-" else name for name in slots), first)
    assert "".join(rotated) == after
    assert layout.rotate(rotated, first) == rotated
