"""Bad input: each ends in one clear line and the right status, and nothing has changed."""

import contextlib
import itertools
import json
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    FIRST,
    PLACEHOLDER,
    Finished,
    Lab,
    clean_environment,
    kill,
    sh,
    start_of,
    wait_until,
    without_coverage,
)

OTHER = "20260102000000AbCdEfGh"


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[Lab]:
    """For tests after which everything is as before."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    lab = Lab(tmp_path_factory.mktemp("shared"))
    lab.lay_out(small_root, commons=("/home",))
    yield lab
    lab.close()
    lab.image.unlink()


def require_refused(done: Finished, status: int, *words: str) -> None:
    """One clear line with these words, and this status."""
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(("sysmut: ", "syscln: "))
    assert len(lines[0]) < 700
    assert "defect" not in lines[0]
    for word in words:
        assert word in lines[0], done.stderr


def run(program: str, *arguments: str | Path, **options: Any) -> Finished:
    """Run it without --root."""
    environment = clean_environment(**options.pop("environment", {}))
    return subprocess.run(
        [*start_of(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=environment,
        **options,
    )


EVERY_COMMAND = [
    ["status"],
    ["run", "--", "true"],
    ["--script", "/bin/true"],
    ["activate", "1"],
    ["rollback"],
    ["0"],
]
"""Arguments of sysmut; `syscln` comes besides."""


def every_command(lab: Lab) -> Iterator[Finished]:
    for arguments in EVERY_COMMAND:
        yield lab.sysmut(*arguments)
    yield lab.syscln()
    yield lab.syscln("-n")


# -- who, and on what ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", EVERY_COMMAND)
def test_without_root_nothing_is_tried(shared_lab: Lab, arguments: list[str]) -> None:
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "env": without_coverage()}
    require_refused(shared_lab.sysmut(*arguments, **nobody), 77, "only root")
    require_refused(shared_lab.syscln(**nobody), 77, "only root")


@pytest.fixture
def not_btrfs(tmp_path: Path) -> dict[str, str]:
    zeros, short, fifo, text = (tmp_path / name for name in ("zeros", "short", "fifo", "text"))
    with open(zeros, "wb") as file:
        file.truncate(2**24)
    short.write_bytes(b"short")
    text.write_text("hello\n" * 40000)
    os.mkfifo(fifo)
    (tmp_path / "directory").mkdir()
    return {"@": str(tmp_path)}


@pytest.mark.parametrize("program", ["sysmut", "syscln"])
@pytest.mark.parametrize(
    ("option", "value", "status", "word"),
    [
        ("--root", "@", 69, "not on a btrfs"),
        ("--root", "/dev/shm", 69, "not on a btrfs"),
        ("--root", "/proc", 69, "not on a btrfs"),
        ("--root", "@/missing", 64, "no such directory"),
        ("--root", "@/zeros", 64, "no such directory"),
        ("--root", "", 64, "--root"),
        ("--image", "", 64, "--image"),
        ("--device", "", 64, "--device"),
        ("--image", "@/zeros", 69, "no btrfs"),
        ("--image", "@/short", 69, "no btrfs"),
        ("--image", "@/text", 69, "no btrfs"),
        ("--image", "@/fifo", 64, "fifo"),
        ("--image", "/dev/null", 64, "/dev/null"),
        ("--image", "@/missing", 64, "no such file"),
        ("--image", "@/directory", 64, "a directory"),
        ("--image", "@/zeros/below", 64, "@/zeros/below"),
        ("--device", "/dev/null", 69, "not a btrfs"),
        ("--device", "@/zeros", 69, "--image"),
        ("--device", "@/directory", 69, "not a btrfs"),
        ("--device", "/dev/missing", 64, "no such device"),
        ("--device", "UUID=00000000-0000-0000-0000-000000000000", 64, "no such device"),
        ("--device", "UUID=../../../null", 64, "no such device"),
        ("--device", "LABEL=a b\n", 64, "no such device"),
    ],
)
def test_what_is_no_btrfs_is_named(
    root_user: None, not_btrfs: dict[str, str], program: str, option: str, value: str, status: int, word: str
) -> None:
    value, word = (text.replace("@", not_btrfs["@"]) for text in (value, word))
    require_refused(run(program, option, value, *(["status"] if program == "sysmut" else [])), status, word)


def test_a_subvolume_is_no_top_level(shared_lab: Lab) -> None:
    for path in ("commons/@home", "snapshots", f"snapshots/{FIRST}/@/etc"):
        require_refused(run("syscln", "--root", shared_lab.top / path), 69, "not the top level")


# -- a layout that is not there, or broken --------------------------------------------------------------


def test_a_filesystem_without_the_layout_is_told_so(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    for done in every_command(lab):
        require_refused(done, 69, "not a sysmut system", "sysmut init")
    assert os.listdir(lab.top) == []


def _current(lab: Lab, target: str) -> None:
    (lab.top / "current").unlink(missing_ok=True)
    (lab.top / "current").symlink_to(target)


def _no_current(lab: Lab) -> None:
    (lab.top / "current").unlink()


def _directory(lab: Lab) -> None:
    _no_current(lab)
    shutil.copytree(lab.top / "links" / os.listdir(lab.top / "links")[0], lab.top / "current", symlinks=True)


def _linked_set(lab: Lab) -> None:
    (lab.top / "links/alias").symlink_to(os.listdir(lab.top / "links")[0])
    _current(lab, "links/alias")


def _empty_set(lab: Lab) -> None:
    (lab.top / "links/empty").mkdir()
    _current(lab, "links/empty")


def _file_set(lab: Lab) -> None:
    (lab.top / "links/file").touch()
    _current(lab, "links/file")


def _moved(name: str) -> Callable[[Lab], None]:
    def move(lab: Lab) -> None:
        (lab.top / name).rename(lab.top / "moved")
        (lab.top / name).symlink_to("moved")

    return move


BROKEN: dict[str, Callable[[Lab], None]] = {
    "no current": _no_current,
    "current dangles": lambda lab: _current(lab, "./links/20260101000009AbCdEfGh"),
    "current is a directory": _directory,
    "current names a generation": lambda lab: _current(lab, f"snapshots/{FIRST}"),
    "current names the links": lambda lab: _current(lab, "links"),
    "current names itself": lambda lab: _current(lab, "current"),
    "current leads outside": lambda lab: _current(lab, "/etc"),
    "current leads up": lambda lab: _current(lab, "../../../links"),
    "current names a link to a link set": _linked_set,
    "the link set is empty": _empty_set,
    "the link set is a file": _file_set,
    "links is a link": _moved("links"),
    "snapshots is a link": _moved("snapshots"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_layout_is_refused_by_all_and_nothing_is_deleted(lab: Lab, kind: str) -> None:
    lab.add_generation(OTHER)
    shutil.copytree(lab.top / "links" / os.listdir(lab.top / "links")[0], lab.top / "links/old", symlinks=True)
    BROKEN[kind](lab)
    before = sh("find", lab.top, "-xdev", "-printf", "%p %l %s\n")
    for done in every_command(lab):
        require_refused(done, 69)
    assert sh("find", lab.top, "-xdev", "-printf", "%p %l %s\n") == before


@pytest.mark.parametrize(
    "target", ["../../snapshots/missing", "2", "/etc", "../../..", "../../commons/@home", "a" * 300]
)
def test_a_slot_that_leads_nowhere_is_named_and_the_others_serve(lab: Lab, target: str) -> None:
    slot = lab.top / "current/2"
    slot.unlink()
    slot.symlink_to(target)
    before = lab.picture()
    require_refused(lab.sysmut("run", "2", "--", "true"), 64, "slot 2 leads nowhere")
    require_refused(lab.sysmut("activate", "2"), 64, "slot 2 leads nowhere")
    require_refused(lab.sysmut("run", "4", "--", "true"), 64, "there is no slot 4", "0 to 3")
    assert lab.json("status")["slots"] == [FIRST, FIRST, None, FIRST]
    assert lab.picture() == before
    lab.session("true")
    assert lab.slots == [lab.slots[0], FIRST, FIRST, FIRST]


@pytest.mark.parametrize(
    "name", ["missing", "", " ", "..", "../..", "/", "2026\n", "999", "1" * 5000, "booted", "\udcff"]
)
def test_a_name_that_fits_no_generation_is_refused(shared_lab: Lab, name: str) -> None:
    before = shared_lab.picture()
    for verb in (["run", name, "--", "true"], ["activate", "--", name], ["rollback", "--", name]):
        if name != "1" * 5000:
            require_refused(shared_lab.sysmut(*verb), 64)
        else:
            assert shared_lab.sysmut(*verb).returncode == 64
    assert shared_lab.picture() == before


def test_a_beginning_that_300_ids_share_is_answered_in_short(lab: Lab) -> None:
    for number in range(300):
        (lab.top / "snapshots" / f"20260303000000{number:03}AbCdE").mkdir()
    require_refused(lab.sysmut("activate", "20260303"), 64, "300 generations begin with '20260303'", "297 more")
    require_refused(lab.sysmut("run", "20260303", "--", "true"), 64, "297 more")


def test_what_is_no_whole_generation_is_no_source(lab: Lab) -> None:
    (lab.top / "snapshots/empty").mkdir()
    (lab.top / "snapshots/plain/@/etc").mkdir(parents=True)
    (lab.top / "snapshots/linked").mkdir()
    (lab.top / "snapshots/linked/@").symlink_to(f"../{FIRST}/@")
    lab.add_generation(OTHER, sealed=False)
    before = lab.picture()
    (lab.top / "snapshots/alias").symlink_to(FIRST)
    for name in ("empty", "plain", "linked"):
        require_refused(lab.sysmut("run", name, "--", "true"), 65, name, "no subvolume @")
        require_refused(lab.sysmut("activate", name), 65, name, "no subvolume @")
    require_refused(lab.sysmut("run", "alias", "--", "true"), 64, "alias")
    (lab.top / "snapshots/alias").unlink()
    require_refused(lab.sysmut("run", OTHER, "--", "true"), 65, "not sealed")
    require_refused(lab.sysmut("activate", OTHER), 65, "not sealed")
    assert lab.picture() == before
    assert lab.syscln().returncode == 0
    assert (lab.top / "snapshots/plain/@/etc").is_dir()
    assert os.readlink(lab.top / "snapshots/linked/@") == f"../{FIRST}/@"


# -- the template -------------------------------------------------------------------------------------


def _template(lab: Lab, more: str) -> str:
    return f"UUID={lab.uuid} / btrfs subvol={PLACEHOLDER}/@,ro 0 0\n{more}"


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ("UUID=@ /srv btrfs subvol=/commons/@srv,rw 0 0", 65, ["line 2", "commons/@srv"]),
        ("\n# x\nUUID=@ /srv btrfs rw,subvol=commons/@srv 0 0", 65, ["line 4", "commons/@srv"]),
        ("tmpfs", 65, ["line 2", "not a line of fstab"]),
        ("tmpfs /x", 65, ["line 2"]),
        ("what is this\n", 65, ["line 2", "not an absolute path"]),
        ("tmpfs home tmpfs", 65, ["line 2", "not an absolute path"]),
        ("\x7fELF\x01\x02\udcff\udcfe", 65, ["line 2"]),
        ("tmpfs /x\0y tmpfs defaults 0 0", 65, ["line 2", "NUL"]),
        ("tmpfs /x\\000y tmpfs defaults 0 0", 65, ["line 2", "NUL"]),
        ("UUID=@ /srv btrfs subvolid=99999 0 0", 65, ["line 2", "99999"]),
        ("UUID=@ /srv btrfs subvolid=99999999999999999999999999 0 0", 65, ["line 2", "99999"]),
        ("UUID=@ /srv btrfs subvol=/commons/../commons/@srv 0 0", 65, ["line 2"]),
        ("UUID=@ / btrfs subvol=/snapshots/20260101000000AbCdEfGh/@,ro 0 0", 65, ["line 2", PLACEHOLDER]),
        ("tmpfs /srv tmpfs what=ever 0 0", 71, ["/srv", "Invalid argument"]),
        ("UUID=@ /etc/passwd btrfs subvol=/commons/@home 0 0", 71, ["/etc/passwd", "Not a directory"]),
    ],
)
def test_a_line_of_the_template_that_cannot_be_meant_is_named(
    shared_lab: Lab, more: str, status: int, words: list[str]
) -> None:
    kept, before = shared_lab.template, shared_lab.picture()
    text = _template(shared_lab, more.replace("UUID=@", f"UUID={shared_lab.uuid}"))
    (shared_lab.top / "fstab").write_bytes(os.fsencode(text))
    done = shared_lab.sysmut("run", "--", "true")
    shared_lab.template = kept
    require_refused(done, status, *words)
    assert shared_lab.picture() == before


TEMPLATES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "only comments": b"# nothing\n",
    "no line for /": b"tmpfs /tmp tmpfs\n",
    "no placeholder": b"UUID=x / btrfs subvol=/@,ro 0 0\n",
    "a fixed generation": f"UUID=x / btrfs subvol=/snapshots/{FIRST}/@,ro 0 0\n".encode(),
    "no options": b"UUID=x / btrfs\n",
    "another filesystem": f"UUID=x / ext4 subvol={PLACEHOLDER}/@ 0 0\n".encode(),
    "zeros": b"\0" * 5000,
    "junk": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_that_cannot_serve_is_refused(shared_lab: Lab, kind: str) -> None:
    kept, before = shared_lab.template, shared_lab.picture()
    path, content = shared_lab.top / "fstab", TEMPLATES[kind]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = shared_lab.sysmut("run", "--", "true")
    shared_lab.template = kept
    require_refused(done, 65, "fstab")
    assert shared_lab.picture() == before


@pytest.mark.parametrize("kind", ["directory", "fifo", "loop", "dangling", "huge", "device"])
def test_a_template_that_is_no_file_is_refused_at_once(shared_lab: Lab, kind: str) -> None:
    kept = shared_lab.template
    path = shared_lab.top / "fstab"
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "huge":
        sh("truncate", "-s", "100G", path)
    elif kind in ("fifo", "device"):
        os.mknod(path, 0o600 | {"fifo": 0o010000, "device": 0o020000}[kind], os.makedev(1, 5))
    else:
        path.symlink_to({"loop": "fstab", "dangling": "/etc/hostname"}[kind])
    done = shared_lab.sysmut("run", "--", "true", timeout=20)
    sh("rm", "-r", path)
    shared_lab.template = kept
    assert done.returncode in (65, 71)
    require_refused(done, done.returncode, "fstab")


def test_escapes_and_comments_of_the_template_are_kept_and_the_mount_point_with_a_space_is_mounted(lab: Lab) -> None:
    sh("btrfs", "subvolume", "create", lab.top / "commons/@my docs")
    (lab.top / "commons/@my docs/there").touch()
    text = (
        f"# caf\udce9 \udcff\r\n\n   \t# indented {PLACEHOLDER}\n"
        f"UUID={lab.uuid}\t/  btrfs subvol={PLACEHOLDER}/@,ro,noatime  0 0 # not last\n"
        f"UUID={lab.uuid} /srv/my\\040docs btrfs subvol=/commons/@my\\040docs,rw 0 0\n"
        "/dev/sr0 /media/cdrom iso9660 noauto\n\n\n#end without a newline"
    )
    (lab.top / "fstab").write_bytes(os.fsencode(text))
    lab.session("cat /etc/fstab >/seen; echo new >'/srv/my docs/made'; test -e '/srv/my docs/there'")
    expected = os.fsencode(text.replace(PLACEHOLDER, f"/snapshots/{lab.slots[0]}"))
    root = lab.root(lab.slots[0])
    assert (root / "etc/fstab").read_bytes() == (root / "seen").read_bytes() == expected
    assert (lab.top / "commons/@my docs/made").read_text() == "new\n"
    assert os.listdir(root / "srv/my docs") == []


# -- the script and the command -----------------------------------------------------------------------


def _scripts(directory: Path) -> None:
    (directory / "empty").touch()
    (directory / "blank").write_text("\n \n")
    (directory / "directory").mkdir()
    (directory / "no interpreter").write_text("#!/usr/bin/perl -w\nprint 1;\n")
    (directory / "no interpreter name").write_text("#!\n")
    (directory / "loop").symlink_to("loop")
    (directory / "junk").write_bytes(b"\x7fELF" + os.urandom(200))
    with open(directory / "huge", "wb") as file:
        file.truncate(2**33)


@pytest.mark.parametrize(
    ("script", "status", "word"),
    [
        ("missing", 64, "No such file"),
        ("directory", 64, "directory"),
        ("empty/below", 64, "Not a directory"),
        ("loop", 64, "symbolic links"),
        ("", 64, "script"),
        ("empty", 65, "empty"),
        ("blank", 65, "empty"),
        ("huge", 65, "64 MiB"),
        ("no interpreter", 127, "interpreter"),
    ],
)
def test_a_script_that_cannot_be_run_is_named(
    shared_lab: Lab, tmp_path: Path, script: str, status: int, word: str
) -> None:
    _scripts(tmp_path)
    before = shared_lab.picture()
    require_refused(shared_lab.sysmut("--script", script, cwd=tmp_path), status, word)
    assert shared_lab.picture() == before


@pytest.mark.parametrize("content", [b"\x7fELF junk", b"\0\0\0", b"#!\n)", b"\xff\xfe"])
def test_a_script_that_is_no_script_fails_and_changes_nothing(shared_lab: Lab, tmp_path: Path, content: bytes) -> None:
    script = tmp_path / "scr ipt\n"
    script.write_bytes(content)
    before = shared_lab.picture()
    done = shared_lab.sysmut("--script", script, errors="surrogateescape")
    assert done.returncode in (1, 2, 126, 127), done
    assert "Traceback" not in done.stderr
    assert shared_lab.picture() == before


@pytest.mark.parametrize(
    ("argv", "status", "word"),
    [
        (["missing"], 127, "missing: not found in this generation"),
        (["/bin/missing"], 127, "not found"),
        (["/etc/passwd/x"], 127, "not found"),
        (["/etc"], 126, "Permission denied"),
        (["/etc/passwd"], 126, "Permission denied"),
        ([""], 64, "no command"),
        (["a" * 300], 126, "too long"),
        (["é" * 40000], 126, "too long"),
        (["/" + "é/" * 30000], 126, "too long"),
        ([], 64, "no command"),
    ],
)
def test_a_command_that_cannot_be_run_is_named(shared_lab: Lab, argv: list[str], status: int, word: str) -> None:
    before = shared_lab.picture()
    done = shared_lab.sysmut("run", "--", *argv, timeout=20)
    if len("".join(argv)) > 1000:
        done.stderr = done.stderr.replace("é", "")
        assert done.returncode == status, done
    else:
        require_refused(done, status, word)
    assert shared_lab.picture() == before


def test_a_generation_without_a_shell_says_that_it_has_none(lab: Lab, tmp_path: Path) -> None:
    with lab.unsealed(FIRST) as root:
        (root / "bin/sh").unlink()
    script = tmp_path / "script"
    script.write_text("true\n")
    before = lab.picture()
    require_refused(lab.sysmut("--script", script), 127, "sh: not found in this generation")
    assert lab.picture() == before


# -- options, settings, environment ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--slots", "0"], 64),
        (["--slots", "-1"], 64),
        (["--slots", "101"], 64),
        (["--slots", "abc"], 64),
        (["--slots", "9" * 5000], 64),
        (["--slots"], 64),
        (["--min-free", "junk"], 64),
        (["--min-free", "-1"], 64),
        (["--min-free", ""], 64),
        (["--min-free", "9" * 5000], 64),
        (["--timeout", "0"], 64),
        (["--timeout", "-1"], 64),
        (["--timeout", "junk"], 64),
        (["--timeout", "nan"], 64),
        (["--unknown"], 64),
        (["--un\nknown"], 64),
        (["--mount", "relative"], 78),
        (["--mount", "/etc:relative"], 78),
        (["--mount", "/missing"], 78),
        (["--mount", ":::"], 78),
        (["--image", "/dev/null"], 64),
        (["--device", "/dev/null"], 64),
        (["0", "1", "2"], 64),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(shared_lab: Lab, options: list[str], status: int) -> None:
    before = shared_lab.picture()
    done = shared_lab.sysmut("run", *options, "--", "true")
    if max(map(len, options)) > 1000:
        assert done.returncode == status, done.stderr
    else:
        require_refused(done, status)
    assert shared_lab.picture() == before


@pytest.mark.parametrize("seconds", ["inf", "1e300", "1e9", "9999999"])
def test_a_timeout_may_be_as_long_as_one_likes(lab: Lab, seconds: str) -> None:
    lab.session("true", "--timeout", seconds)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"sluts = 4", "'sluts' is not a setting"),
        (b'root = "/"', "'root' is not a setting"),
        (b"slots = 0", "slots"),
        (b"slots = true", "slots"),
        (b"slots = 1.5", "slots"),
        (b'slots = "4"', "slots"),
        (b'environment = "TERM"', "environment"),
        (b"environment = [1]", "environment"),
        (b"mounts = {}", "mounts"),
        (b"min_free = []", "min_free"),
        (b'min_free = "lots"', "min_free"),
        (b"min_free = -1", "min_free"),
        (b"device = 5", "device"),
        (b'shell = "/bin/\\u0000sh"', "shell"),
        (b"slots = ", "settings.toml"),
        (b"slots", "settings.toml"),
        (b"\xff\xfe", "settings.toml"),
        (b"a = " + b"[" * 100000, "settings.toml"),
        (b"[slots]\nx = 1", "slots"),
    ],
)
def test_a_settings_file_that_is_wrong_is_named_with_the_key(
    shared_lab: Lab, tmp_path: Path, content: bytes, word: str
) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    before = shared_lab.picture()
    require_refused(shared_lab.sysmut("run", "--config", file, "--", "true"), 78, word, str(file))
    require_refused(shared_lab.syscln("--config", file), 78, word, str(file))
    assert shared_lab.picture() == before


@pytest.mark.parametrize("file", ["missing", ".", "settings/below"])
def test_a_settings_file_that_was_asked_for_must_be_there(shared_lab: Lab, tmp_path: Path, file: str) -> None:
    require_refused(shared_lab.sysmut("status", "--config", file, cwd=tmp_path), 78, file)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("SYSMUT_ROOT", "/missing", 64),
        ("SYSMUT_ROOT", "\udcff\n", 64),
        ("SYSMUT_DEVICE", "junk", 64),
        ("SYSMUT_IMAGE", "junk", 64),
        ("SYSMUT_CONFIG", "/missing", 78),
    ],
)
def test_the_environment_is_checked_as_options_are(root_user: None, name: str, value: str, status: int) -> None:
    require_refused(run("sysmut", "status", environment={name: value}), status)
    require_refused(run("syscln", environment={name: value}), status)


@pytest.mark.parametrize(
    ("name", "value", "status"), [("SYSMUT_SLOTS", "junk", 64), ("SYSMUT_SLOTS", "0", 64), ("SYSMUT_MIN_FREE", "x", 64)]
)
def test_the_environment_of_a_session_is_checked_as_options_are(
    shared_lab: Lab, name: str, value: str, status: int
) -> None:
    before = shared_lab.picture()
    require_refused(shared_lab.sysmut("run", "--", "true", environment={name: value}), status)
    assert shared_lab.picture() == before


def test_environment_that_is_none_of_sysmuts_does_no_harm(lab: Lab) -> None:
    lab.session(
        "true", environment={"SYSMUT_JUNK": "x", "SYSMUT_GENERATION": "y", "SYSMUT_SLOT": "\udcff", "LC_ALL": "C"}
    )


# -- names ----------------------------------------------------------------------------------------------

NAMES = [
    "with space",
    "new\nline",
    "\udcff\udcfe",
    "\x1b[31mred",
    "tab\tand\\back",
    "#comment",
    "-n",
    "é" * 100,
    "'\"$(x)",
]


def _named(lab: Lab, name: str) -> None:
    """A generation of this name, with an fstab that fits."""
    path = "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in f"/snapshots/{name}")
    (lab.top / "snapshots" / name).mkdir()
    sh("btrfs", "subvolume", "snapshot", lab.root(FIRST), lab.root(name), errors="surrogateescape")
    (lab.root(name) / "etc/fstab").write_bytes(os.fsencode(lab.template.replace(PLACEHOLDER, path)))
    lab.seal(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_generation_of_any_name_can_be_shown_activated_and_built_upon(lab: Lab, name: str) -> None:
    _named(lab, name)
    done = lab.syscln("-n", "--json")
    assert {v["generation"]: v["keep"] for v in json.loads(done.stdout)["generations"]} == {FIRST: True, name: False}
    text = subprocess.run(lab.command("syscln", "-n"), capture_output=True, check=True, env=clean_environment())
    assert len(text.stdout.splitlines()) == 2
    assert b"\x1b" not in text.stdout
    activated = lab.sysmut("activate", "--", name, errors="surrogateescape")
    assert activated.returncode == 0, activated.stderr
    assert lab.slots == [name, FIRST, FIRST, FIRST]
    status = lab.json("status")
    assert status["slots"] == [name, FIRST, FIRST, FIRST]
    shown = subprocess.run(lab.command("sysmut", "status"), capture_output=True, check=True, env=clean_environment())
    assert not set(shown.stdout) & set(b"\x1b\t\r")
    lab.session("true", "0", errors="surrogateescape")
    assert lab.slots[1:] == [name, FIRST, FIRST]
    lab.link([FIRST] * 4, "20260101000002AbCdEfGh")
    assert lab.syscln("-v", errors="surrogateescape").returncode == 0
    assert lab.generations == {FIRST}


RECORDS = [b"", b"[1]", b"5", b"{", b'{"description": 5}', b'{"description": "\\ud800\\u001b[31m\\n"}', b"[" * 100000]


@pytest.mark.parametrize("content", [*RECORDS, b"\xff"])
def test_a_record_that_is_junk_is_passed_over(shared_lab: Lab, content: bytes) -> None:
    record = shared_lab.top / "snapshots" / FIRST / "sysmut.json"
    record.write_bytes(content)
    text, value = shared_lab.sysmut("status"), shared_lab.sysmut("status", "--json")
    record.unlink()
    assert (text.returncode, value.returncode) == (0, 0), text.stderr + value.stderr
    assert "\x1b" not in text.stdout
    json.loads(value.stdout)


# -- a full disk -------------------------------------------------------------------------------------------


def _fill_metadata(lab: Lab) -> None:
    """Make names in a common until there is room for no more."""
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (lab.top / f"commons/@home/{'n' * 200}{number}").symlink_to("x" * 3000)
    sh("sync", "-f", lab.top)


@pytest.fixture
def small_lab(make_lab: Callable[..., Lab], small_root: Path) -> Lab:
    lab = make_lab(256 * 2**20)
    lab.lay_out(small_root, commons=("/home",))
    return lab


def _fill(lab: Lab, leave: int = 0) -> None:
    """Write to a common until no more than `leave` bytes are free."""
    free = os.statvfs(lab.top).f_bavail * 4096
    with open(lab.top / "commons/@home/filler", "wb") as file, contextlib.suppress(OSError):
        for _ in range(0, free - leave, 2**20):
            file.write(os.urandom(2**20))
            file.flush()
    sh("sync", "-f", lab.top)


def test_a_disk_that_is_full_before_is_told_before_anything_is_made(small_lab: Lab) -> None:
    _fill(small_lab, 20 * 2**20)
    before = small_lab.picture()
    require_refused(small_lab.sysmut("run", "--", "true"), 73, "MiB are free before the session", "syscln")
    assert small_lab.picture() == before


FILL = "dd if=/dev/urandom of=/fill bs=1M count=300"


@pytest.mark.parametrize(("script", "status"), [(FILL, 1), (f"{FILL}; exit 7", 7)])
def test_a_script_that_fails_on_a_full_disk_leaves_nothing(small_lab: Lab, script: str, status: int) -> None:
    before = small_lab.picture()
    done = small_lab.sysmut("run", "--", "sh", "-c", script)
    assert done.returncode == status, done.stderr
    assert small_lab.picture() == before


@pytest.mark.parametrize(
    "script", [f"{FILL} 2>/dev/null; true", f"{FILL} 2>/dev/null; truncate -s 0 /etc/passwd; true"]
)
def test_a_script_that_ignores_a_full_disk_is_not_published(small_lab: Lab, script: str) -> None:
    before = small_lab.picture()
    require_refused(small_lab.sysmut("run", "--", "sh", "-c", script), 73, "after the session")
    assert small_lab.picture() == before
    small_lab.session("echo room again >/etc/new")


def test_a_disk_without_room_for_a_directory_is_told_and_can_still_be_cleaned(small_lab: Lab) -> None:
    small_lab.add_generation(OTHER)
    _fill(small_lab)
    _fill_metadata(small_lab)
    before = small_lab.picture()
    require_refused(small_lab.sysmut("run", "--min-free", "0", "--", "true"), 73)
    require_refused(small_lab.sysmut("run", "--", "true"), 73)
    assert small_lab.picture() == before
    assert small_lab.syscln().returncode == 0
    assert small_lab.generations == {FIRST}


# -- standard streams ---------------------------------------------------------------------------------------

SCRIPT = "i=0; while [ $i -lt 300 ]; do echo a line of output; echo another >&2; i=$((i+1)); done; echo x >/etc/new"


def shell(lab: Lab, program: str, arguments: str, redirections: str) -> Finished:
    """Run it in a shell, with redirections."""
    command = lab.command(program)
    line = f'"$@" {arguments} {redirections}'
    return subprocess.run(
        ["bash", "-c", line, "sh", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
    )


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- >&-", "2>/dev/full"])
@pytest.mark.parametrize("arguments", ["run -- sh -c 'echo x >/etc/new'", "--script - <<<'echo x >/etc/new'"])
def test_a_session_without_standard_streams_works(lab: Lab, arguments: str, redirections: str) -> None:
    if arguments.startswith("--script") and "<&-" in redirections:
        before = lab.picture()
        done = shell(lab, "sysmut", "--script -", redirections)
        assert done.returncode == 65
        assert lab.picture() == before
        return
    done = shell(lab, "sysmut", arguments, redirections)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (lab.root(lab.slots[0]) / "etc/new").read_text() == "x\n"
    assert sorted(os.listdir(lab.top / "snapshots" / lab.slots[0])) == ["@", "sysmut.json", "sysmut.log"]


@pytest.mark.parametrize("redirections", [">/dev/full", "| head -c 5", "| true", ">/dev/full 2>&1", "2>&1 | true"])
@pytest.mark.parametrize("options", ["", "--json"])
def test_a_session_whose_output_nobody_takes_ends_whole_or_not_at_all(
    lab: Lab, options: str, redirections: str
) -> None:
    before = lab.picture()
    done = shell(lab, "sysmut", f"run {options} -- sh -c '{SCRIPT}'", redirections)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if lab.slots[0] == FIRST:
        assert lab.picture() == before
    else:
        assert lab.is_sealed(lab.slots[0])
        assert (lab.root(lab.slots[0]) / "etc/new").read_text() == "x\n"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("sysmut", "status"), ("sysmut", "status --json"), ("syscln", "-n")],
)
def test_data_that_cannot_be_written_is_an_error_in_one_line(shared_lab: Lab, program: str, arguments: str) -> None:
    done = shell(shared_lab, program, arguments, ">/dev/full")
    require_refused(done, 71, "stdout: No space left")
    assert "syscln," not in done.stderr
    for redirections in (">&-", "2>&-", "<&- >&- 2>&-", "| true"):
        done = shell(shared_lab, program, arguments, redirections)
        assert done.returncode == 0
        assert done.stderr == ""


def test_a_failure_that_nobody_hears_keeps_its_status(shared_lab: Lab) -> None:
    for redirections in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        assert shell(shared_lab, "sysmut", "activate missing", redirections).returncode == 64
        assert shell(shared_lab, "sysmut", "activate missing --json", redirections).returncode == 64


# -- disk images ----------------------------------------------------------------------------------------------


def _partitioned(lab: Lab) -> Path:
    """An image with a GPT: an empty first partition, and the lab's filesystem in the second."""
    first, size = 2**20, lab.image.stat().st_size
    start = 4 * 2**20
    image = lab.image.with_name("gpt.img")
    sh("dd", f"if={lab.image}", f"of={image}", "bs=1M", f"seek={start >> 20}", "conv=sparse,notrunc")
    with open(image, "r+b") as file:
        file.truncate(start + size + 2**20)
        data = bytes.fromhex("af3dc60f838472478e793d69d8477de4")

        def entry(begin: int, end: int) -> bytes:
            return data + os.urandom(16) + struct.pack("<QQQ", begin // 512, end // 512 - 1, 0) + bytes(72)

        table = (entry(first, start) + entry(start, start + size)).ljust(128 * 128, b"\0")
        total = (start + size + 2**20) // 512
        fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, total - 1, 34, total - 34, os.urandom(16), 2, 128, 128)
        header = struct.pack("<8sIIIIQQQQ16sQIII", *fields, zlib.crc32(table))
        header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
        os.pwrite(file.fileno(), header, 512)
        os.pwrite(file.fileno(), table, 1024)
    lab.image.unlink()
    lab.image = image
    return image


def loops(image: Path) -> str:
    return sh("losetup", "-j", image)


@pytest.fixture(params=["whole", "gpt"])
def image(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk image with the lab's filesystem, not attached."""
    lab.add_generation(OTHER)
    lab.close()
    wait_until(lambda: loops(lab.image) == "")
    made = _partitioned(lab) if request.param == "gpt" else lab.image
    yield made
    wait_until(lambda: loops(made) == "", 5)


def _slots(image: Path) -> list[str]:
    return list(json.loads(run("sysmut", "--image", image, "status", "--json").stdout)["slots"])


def test_every_command_works_on_an_image_and_leaves_no_loop_device(image: Path) -> None:
    assert _slots(image) == [FIRST] * 4
    done = run("sysmut", "--image", image, "run", "--", "sh", "-c", "echo x >/etc/new")
    assert done.returncode == 0, done.stderr
    slots = _slots(image)
    assert slots == [slots[0], FIRST, FIRST, FIRST]
    assert run("sysmut", "run", "--image", image, "--", "grep", "-q", "x", "/etc/new").returncode == 0
    assert run("sysmut", "run", "--image", image, "--", "false").returncode == 1
    assert run("sysmut", "rollback", "--image", image).returncode == 0
    done = run("syscln", "--image", image)
    assert (done.returncode, done.stderr) == (0, "syscln: deleted 1 generation\n".removeprefix("syscln: "))
    assert loops(image) == ""


def _start(image: Path, script: str, request: pytest.FixtureRequest) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [*start_of("sysmut"), "--image", str(image), "run", "--", "sh", "-ec", script],
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    request.addfinalizer(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


WAIT = "echo waiting; until [ -e /home/go ]; do sleep 0.02; done"


def test_commands_at_once_share_the_loop_device_of_an_image(image: Path, request: pytest.FixtureRequest) -> None:
    process = _start(image, WAIT, request)
    assert _slots(image) == [FIRST] * 4
    assert run("syscln", "--image", image).returncode == 0
    assert len(loops(image).splitlines()) == 1
    assert run("sysmut", "--image", image, "run", "--", "touch", "/home/go").returncode == 0
    assert "another session published first" in process.communicate(timeout=30)[1]
    assert process.returncode == 75


def test_a_session_that_is_killed_leaves_no_loop_device(image: Path, request: pytest.FixtureRequest) -> None:
    kill(_start(image, f"{WAIT} & {WAIT}", request))
    wait_until(lambda: loops(image) == "")
    assert _slots(image) == [FIRST] * 4


@pytest.mark.parametrize(
    ("table", "count", "size", "first", "last"),
    [
        (2**63, 128, 128, 40, 80),
        (2**54, 128, 128, 40, 80),
        (2, 2**32 - 1, 2**32 - 1, 40, 80),
        (2, 128, 0, 2**54 - 1, 2**54 - 1),
        (2, 128, 128, 2**64 - 1, 2**64 - 1),
        (2, 128, 128, 80, 40),
    ],
)
def test_a_partition_table_that_lies_is_no_btrfs(
    root_user: None, tmp_path: Path, table: int, count: int, size: int, first: int, last: int
) -> None:
    image = tmp_path / "disk.img"
    entry = bytes(32) + struct.pack("<QQ", first, last)
    image.write_bytes(
        (bytes(512) + b"EFI PART" + bytes(64) + struct.pack("<QII", table, count, size)).ljust(1024, b"\0")
    )
    with open(image, "ab") as file:
        file.write(entry * 100)
        file.truncate(2**21)
    require_refused(run("sysmut", "--image", image, "status"), 69, "no btrfs")


def test_an_image_that_is_cut_short_is_refused_and_detached(lab: Lab) -> None:
    lab.close()
    wait_until(lambda: loops(lab.image) == "")
    os.truncate(lab.image, 2**20)
    done = run("sysmut", "--image", lab.image, "status")
    assert done.returncode in (69, 71)
    require_refused(done, done.returncode, "disk.img")
    assert loops(lab.image) == ""
