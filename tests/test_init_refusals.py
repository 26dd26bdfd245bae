"""`sysmut init` refuses before it writes what it could not finish, and a failure leaves nothing."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sysmut.errors import BadData
from sysmut.install import executing
from tests.lab import Lab, clean_environment, sh, wait_until
from tests.test_init import debian, empty, first, init, pack, source, subvolume_with, works

__all__ = ["empty", "source"]

Make = Callable[..., Lab]


def listing(lab: Lab) -> list[str]:
    """Everything on the filesystem, with what would show a write."""
    return sorted(sh("find", lab.top, "-printf", "%p %y %m %U %G %s %l %T@\n").splitlines())


def refused(lab: Lab, *arguments: str | Path, status: int, because: str) -> None:
    """An init that must be refused with this status and reason, and must leave no trace."""
    before = listing(lab)
    said = init(lab, *arguments, status=status)
    assert because in said
    assert len(said.splitlines()) == 1
    assert listing(lab) == before


def broken(archive: Path) -> Path:
    """The archive without its end."""
    archive.write_bytes(archive.read_bytes()[:-20000])
    return archive


# -- sources ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status", "because"),
    [
        ("/not/there", 64, "No such file"),
        ("/dev/null", 64, "neither a directory nor an archive"),
        ("subvol=@nope", 64, "No such file"),
        ("subvol=plain", 64, "not a subvolume"),
        ("subvol=../../../etc", 64, "No such file"),
        ("subvol=@bare", 65, "there is no directory etc in it"),
        ("/var", 65, "there is no directory etc in it"),
    ],
)
def test_a_source_that_is_none_is_refused(empty: Lab, given: str, status: int, because: str) -> None:
    (empty.top / "plain").mkdir()
    sh("btrfs", "subvolume", "create", empty.top / "@bare")
    refused(empty, given, status=status, because=because)


def test_a_source_with_a_link_in_place_of_etc_is_refused(empty: Lab, source: Path) -> None:
    sh("mv", source / "etc", source / "etc2")
    (source / "etc").symlink_to("/etc")
    refused(empty, source, status=65, because="there is no directory etc in it")


def test_a_fifo_or_garbage_in_place_of_fstab_is_refused_and_nothing_hangs(empty: Lab, source: Path) -> None:
    (source / "etc/fstab").unlink()
    os.mkfifo(source / "etc/fstab")
    refused(empty, source, status=65, because="not a regular file")
    (source / "etc/fstab").unlink()
    (source / "etc/fstab").write_text("# fine\n\nwhat is this\x1b[2J\nnonsense\n")
    refused(empty, source, status=65, because="line 3: the mount point 'is' is not an absolute path")


def test_a_line_for_a_subvolume_that_is_not_there_is_refused(empty: Lab, source: Path) -> None:
    (source / "etc/fstab").write_text(f"UUID={empty.uuid} /home btrfs subvol=@home 0 0\n")
    refused(empty, source, status=65, because="there is no subvolume /@home to mount on /home")


def test_a_file_in_place_of_a_mount_point_is_refused(empty: Lab, source: Path) -> None:
    (source / "proc").rmdir()
    (source / "proc").touch()
    refused(empty, source, status=65, because="/proc in the source is not a directory")


def test_a_source_larger_than_what_is_free_is_refused(make_lab: Make, source: Path, tmp_path: Path) -> None:
    lab = make_lab(128 * 2**20)
    (source / "big").write_bytes(os.urandom(150 * 2**20))
    for given in (source, pack(source, tmp_path / "a.tar")):
        refused(lab, given, status=73, because="MiB are free")


def test_an_image_inside_the_source_is_refused(empty: Lab, source: Path) -> None:
    image = source / "disk.img"
    sh("cp", "--sparse=always", empty.image, image)
    done = subprocess.run(
        [*empty.command("sysmut", "init")[:3], "init", "--image", image, source],
        check=False, capture_output=True, text=True, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 64
    assert "lies inside the source" in done.stderr


def test_an_active_swap_file_in_the_source_is_refused(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@")
    swap = old / "swap file"
    sh("btrfs", "filesystem", "mkswapfile", "--size", "16m", swap)
    sh("swapon", swap)
    try:
        refused(empty, "subvol=@", status=65, because="is an active swap file")
    finally:
        sh("swapoff", swap)


# -- archives -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--posix", "--gzip", "--xz", "--zstd"])
def test_an_archive_that_is_cut_off_is_refused(empty: Lab, source: Path, tmp_path: Path, option: str) -> None:
    (source / "etc/random").write_bytes(os.urandom(300000))
    archive = broken(pack(source, tmp_path / "a.tar", option))
    refused(empty, archive, status=65, because="cut off")


def test_an_archive_that_ends_between_two_members_is_refused(empty: Lab, source: Path, tmp_path: Path) -> None:
    archive = pack(source, tmp_path / "a.tar")
    content = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(content + bytes(-len(content) % 512))
    refused(empty, archive, status=65, because="cut off")


@pytest.mark.parametrize("option", ["--posix", "--gzip", "--xz", "--zstd"])
def test_an_archive_with_damage_in_the_middle_is_refused(empty: Lab, source: Path, tmp_path: Path, option: str) -> None:
    archive = pack(source, tmp_path / "a.tar", option)
    content = bytearray(archive.read_bytes())
    middle = 512 * (len(content) // 1024)
    if option == "--posix":  # damage in a file's content could not be seen: take a header
        with tarfile.open(archive) as opened:
            middle = opened.getmembers()[50].offset
    for place in range(middle, middle + 400):
        content[place] ^= 0x55
    archive.write_bytes(content)
    refused(empty, archive, status=65, because="corrupt")


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 1000, b"BZh9" + bytes(2000), bytes(10240)])
def test_what_is_no_archive_is_refused(empty: Lab, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    refused(empty, tmp_path / "a.tar.gz", status=65, because="a.tar.gz")


def test_an_archive_without_etc_at_its_top_is_refused(empty: Lab, source: Path, tmp_path: Path) -> None:
    sh("tar", "-C", tmp_path, "-cf", tmp_path / "a.tar", "source")
    refused(empty, tmp_path / "a.tar", status=65, because="there is no directory etc in it")


def test_without_the_programs_that_keep_everything_nothing_is_begun(empty: Lab, source: Path, tmp_path: Path) -> None:
    busybox = tmp_path / "bin"
    busybox.mkdir()
    for name in ("cp", "tar"):
        (busybox / name).symlink_to(source / "bin/busybox")
    archive = pack(source, tmp_path / "a.tar", "--zstd")
    for given, missing in ((source, "GNU cp"), (archive, "zstd is needed")):
        done = empty.sysmut("init", given, environment={"PATH": str(busybox)})
        assert done.returncode == 78, done.stderr
        assert missing in done.stderr
        assert "apk add coreutils tar" in done.stderr
    assert os.listdir(empty.top) == []


def hostile(path: Path, members: list[tuple[str, bytes, str]]) -> Path:
    """An archive with an etc and these (name, type, link target)."""
    with tarfile.open(path, "w") as archive:
        for name, kind, target in [("etc", tarfile.DIRTYPE, ""), *members]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o755
            member.size = 5 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"evil\n") if kind == tarfile.REGTYPE else None)
    return path


F, L, H, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", F, "")],
        [("etc/../../evil", F, "")],
        [("out", L, "OUT"), ("out/evil", F, "")],
        [("up", L, "../../../../../../../../OUT"), ("up/evil", F, "")],
        [("secret", H, "../../victim")],
        [("out", L, "OUT"), ("secret", H, "out/victim"), ("secret", F, "")],
    ],
)
def test_a_member_that_leads_out_of_the_root_is_refused(
    empty: Lab, tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("victim")
    real = [(name, kind, target.replace("OUT", str(outside))) for name, kind, target in members]
    archive = hostile(tmp_path / "a.tar", real)
    before = listing(empty)
    assert empty.sysmut("init", archive).returncode == 65
    assert listing(empty) == before
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "victim"


def test_absolute_members_and_links_stay_inside_the_root(empty: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    name = f"sysmut-evil-{os.getpid()}"
    archive = hostile(
        tmp_path / "a.tar",
        [
            (f"/{name}", F, ""),
            ("run", L, str(victim)),
            ("dev", L, str(victim)),
            ("tmp", L, "/not/there/either"),
            ("etc/fstab", L, str(victim / "fstab")),
            ("etc/os-release", L, str(victim / "os-release")),
            ("sys", L, "sys"),
        ],
    )
    (victim / "fstab").write_text("")
    done = empty.sysmut("init", archive, "--common", "/var/log")
    assert not os.path.lexists(f"/{name}")
    assert sorted(os.listdir(victim)) == ["fstab"]
    assert (victim / "fstab").read_text() == ""
    assert done.returncode in (0, 65)
    if done.returncode:
        assert os.listdir(empty.top) == []


def test_a_link_that_an_archive_puts_in_the_place_of_a_common_leads_nowhere(empty: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    archive = hostile(tmp_path / "a.tar", [("srv", L, str(victim)), ("srv", D, ""), ("opt", D, ""), ("opt", L, "etc")])
    assert empty.sysmut("init", archive, "--common", "/srv").returncode in (0, 65, 71)
    assert os.listdir(victim) == ["file"]


# -- commons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "because"),
    [
        *((path, "what packages install") for path in ("/etc", "/usr", "/lib64", "/bin/x", "/usr/lib/x", "//usr/")),
        *((path, "not kept on disk") for path in ("/dev", "/proc/x", "/run", "/tmp", "/sys")),
        ("/boot", "the kernel to boot belongs to the generation"),
        ("/boot/efi", "the kernel to boot belongs to the generation"),
        ("var/log", "not an absolute path"),
        ("/var/../home", "with .. in it"),
        ("/ho@me", "cannot be in the name"),
        ("/ho,me", "cannot be in the name"),
        ("/ho\nme", "cannot be in the name"),
        ("/", "the root itself"),
        ("//.", "the root itself"),
        ("", "not an absolute path"),
        ("/" + "x" * 250, "too long"),
    ],
)  # fmt: skip
def test_a_common_that_cannot_be_meant_is_refused(empty: Lab, source: Path, path: str, because: str) -> None:
    refused(empty, source, "--common", path, status=64, because=because)


@pytest.mark.parametrize(
    ("database", "path"),
    [
        ("var/lib/dpkg", "/var"),
        ("var/lib/dpkg", "/var/lib"),
        ("var/lib/dpkg", "/var/lib/dpkg/"),
        ("var/lib/rpm", "/var/lib/rpm"),
        ("var/lib/pacman", "/var/lib"),
    ],
)
def test_a_common_that_would_take_the_package_database_out_is_refused(
    empty: Lab, source: Path, tmp_path: Path, database: str, path: str
) -> None:
    (source / database).mkdir(parents=True)
    for given in (source, pack(source, tmp_path / "a.tar")):
        refused(empty, given, "--common", path, status=65, because=f"the package database, /{database}")


def test_a_common_that_is_or_goes_through_a_link_or_a_file_is_refused(empty: Lab, source: Path, tmp_path: Path) -> None:
    (source / "var/mail").symlink_to("/outside")
    (source / "srv").symlink_to("var")
    (source / "opt").touch()
    for given in (source, pack(source, tmp_path / "a.tar")):
        refused(empty, given, "--common", "/var/mail", status=65, because="/var/mail is a symlink in the source")
        refused(empty, given, "--common", "/srv/log", status=65, because="/srv is a symlink in the source")
        refused(empty, given, "--common", "/opt", status=65, because="/opt is not a directory")


def test_a_directory_with_the_name_of_a_common_is_refused(empty: Lab, source: Path) -> None:
    (empty.top / "commons/@home").mkdir(parents=True)
    refused(empty, source, "--common", "/home", status=65, because="is there, and not a subvolume")


def test_a_common_inside_one_that_is_kept_needs_its_mount_point_there(empty: Lab, source: Path) -> None:
    (empty.top / "commons").mkdir()
    sh("btrfs", "subvolume", "create", empty.top / "commons/@var@log")
    (empty.top / "commons/@var@log/mine").touch()
    both = ("--common", "/var/log", "--common", "/var/log/journal")
    refused(empty, source, *both, status=65, because="has no directory journal to mount on")
    (empty.top / "commons/@var@log/journal").mkdir()
    init(empty, source, *both)
    works(empty)


# -- the top level ------------------------------------------------------------------------------------


def test_a_layout_whose_current_leads_nowhere_is_refused(empty: Lab, source: Path) -> None:
    (empty.top / "links").mkdir()
    (empty.top / "snapshots").mkdir()
    (empty.top / "current").symlink_to("./links/gone")
    refused(empty, source, status=69, because="`current` names links/gone, which is not there")


@pytest.mark.parametrize("name", ["links", "snapshots", "next", "commons"])
def test_a_name_of_the_layout_that_is_taken_is_refused(empty: Lab, source: Path, name: str) -> None:
    (empty.top / name).symlink_to("/tmp")
    refused(empty, source, status=65, because=f"/{name} at the top level is not a directory")


def test_a_second_init_at_the_same_time_is_told_to_wait(empty: Lab, source: Path) -> None:
    (empty.top / "commons").mkdir()
    with subprocess.Popen(["flock", str(empty.top / "commons"), "cat"], stdin=subprocess.PIPE) as holder:
        lock = ["flock", "-n", str(empty.top / "commons"), "true"]
        wait_until(lambda: subprocess.run(lock, check=False).returncode != 0)
        assert "another sysmut init is at work" in init(empty, source, status=75)
        assert holder.stdin is not None
        holder.stdin.close()
    init(empty, source)


LATE = """
import sys
from sysmut import install, toplevel, config
from sysmut.signals import Interrupts
with Interrupts() as interrupts, toplevel.opened(config.Config(root=sys.argv[1])) as top:
    watch = install.Watch(interrupts)
    plan = install.plan(top, install.Request(sys.argv[2]), watch)
    print(plan.leftovers, flush=True)
    sys.stdin.read()
    try:
        install.execute(top, plan, watch)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_generation_that_was_half_made_when_looked_at_is_not_taken_for_garbage_later(
    empty: Lab, source: Path, tmp_path: Path
) -> None:
    quicker = slow(empty, tmp_path, source)
    command = [sys.executable, "-c", LATE, str(empty.top), str(source)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as late:
        assert late.stdout is not None
        (half_made,) = os.listdir(empty.top / "snapshots")
        assert half_made in late.stdout.readline()
        (tmp_path / "slow/waiting.enough").touch()
        quicker.communicate(timeout=30)
        assert quicker.returncode == 0
        before = empty.picture()
        said, _ = late.communicate("")
    assert said.startswith("Busy meanwhile this has become a sysmut system")
    assert empty.picture() == before
    assert empty.slots == [half_made] * 4


def test_a_filesystem_that_cannot_be_written_to_is_refused(empty: Lab, source: Path) -> None:
    (empty.top / "snapshots").mkdir()
    sh("mount", "-o", "remount,ro", empty.top)
    refused(empty, source, status=71, because="Read-only file system")


def test_what_cannot_be_taken_back_is_told(tmp_path: Path) -> None:
    undone: list[str] = []

    def fail() -> None:
        with executing.Undo() as undo:
            undo.add(lambda: undone.append("first"))
            undo.add((tmp_path / "gone").rmdir)
            undo.add(lambda: undone.append("last"))
            raise BadData("it failed", hint="mend it")

    with pytest.raises(BadData, match="it failed") as caught:
        fail()
    assert undone == ["last", "first"]
    assert f"mend it; not removed: {tmp_path}/gone: No such file" in caught.value.hint


# -- failures in the middle ---------------------------------------------------------------------------

FILL = """
import os, sys
from sysmut import install, toplevel, config
from sysmut.signals import Interrupts
with Interrupts() as interrupts, toplevel.opened(config.Config(root=sys.argv[1])) as top:
    watch = install.Watch(interrupts)
    plan = install.plan(top, install.Request(sys.argv[2], tuple(sys.argv[3:])), watch)
    with open(top.at("ballast"), "wb") as file:
        os.posix_fallocate(file.fileno(), 0, top.free() - 12 * 2**20)
    try:
        install.execute(top, plan, watch)
    except Exception as error:
        print(type(error).__name__, error)
    finally:
        os.unlink(top.at("ballast"))
        top.sync()
"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_that_fills_up_leaves_nothing(make_lab: Make, source: Path, tmp_path: Path, *, packed: bool) -> None:
    lab = make_lab(256 * 2**20)
    for number in range(40):
        (source / f"var/log/{number}").write_bytes(os.urandom(2**20))
    given = pack(source, tmp_path / "a.tar") if packed else source
    said = sh(sys.executable, "-c", FILL, lab.top, given, "/var/log")
    assert said.startswith("NoSpace the filesystem is full")
    assert os.listdir(lab.top) == []
    assert sh("btrfs", "subvolume", "list", lab.top) == ""
    wait_until(lambda: os.statvfs(lab.top).f_bavail * 4096 > 100 * 2**20)
    init(lab, given, "--common", "/var/log")
    works(lab)


_SLOW = """\
#!/bin/sh
[ "$1" = --version ] && exec /bin/{name} "$@"
trap "" TERM
/bin/{name} "$@" || exit
echo $$ >{waiting}.new
mv {waiting}.new {waiting}
until [ -e {waiting}.enough ]; do sleep 0.05; done
"""


def slow(lab: Lab, tmp_path: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    """Start an init in which cp and tar stop after their work and wait."""
    directory = tmp_path / "slow"
    directory.mkdir(exist_ok=True)
    for name in ("cp", "tar"):
        (directory / name).write_text(_SLOW.format(name=name, waiting=directory / "waiting"))
        (directory / name).chmod(0o755)
    (directory / "waiting").unlink(missing_ok=True)
    environment = clean_environment(PATH=f"{directory}:{os.environ['PATH']}")
    process = lab.start("init", *arguments, env=environment)
    wait_until((directory / "waiting").exists)
    return process


def gone(tmp_path: Path) -> bool:
    """Whether the program that `slow` let init start has ended."""
    return not Path("/proc", (tmp_path / "slow/waiting").read_text().strip()).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_copy_leaves_nothing_not_even_for_a_program_that_ignores_it(
    empty: Lab, source: Path, tmp_path: Path, number: int
) -> None:
    given = pack(source, tmp_path / "a.tar.zst", "--zstd") if number == signal.SIGTERM else source
    process = slow(empty, tmp_path, given, "--common", "/var/log")
    assert len(os.listdir(empty.top / "snapshots")) == 1
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f"ended by {signal.Signals(number).name}" in said
    assert os.listdir(empty.top) == []
    assert sh("btrfs", "subvolume", "list", empty.top) == ""
    assert gone(tmp_path)


def test_a_failure_gives_an_empty_common_that_was_there_back(empty: Lab, source: Path, tmp_path: Path) -> None:
    old = subvolume_with(empty, source, "@")
    (old / "var/log/file").write_text("file")
    (empty.top / "commons").mkdir()
    sh("btrfs", "subvolume", "create", empty.top / "commons/@var@log")
    (empty.top / "commons/@var@log").chmod(0o711)
    (empty.top / "fstab").write_text("# mine\n")
    process = slow(empty, tmp_path, "subvol=@", "--common", "/var/log")
    process.terminate()
    process.communicate(timeout=30)
    assert sorted(os.listdir(empty.top)) == ["@", "commons", "fstab"]
    assert os.listdir(empty.top / "commons") == ["@var@log"]
    assert os.listdir(empty.top / "commons/@var@log") == []
    assert (empty.top / "commons/@var@log").stat().st_mode & 0o7777 == 0o711
    assert empty.template == "# mine\n"


def test_what_a_killed_init_has_left_is_cleared_away_by_the_next(make_lab: Make, source: Path, tmp_path: Path) -> None:
    lab = make_lab(256 * 2**20)
    # So much that the next finds no room beside it.
    (source / "var/log/big").write_bytes(os.urandom(100 * 2**20))
    process = slow(lab, tmp_path, source, "--common", "/var/log")
    process.kill()
    process.communicate()
    (half_made,) = os.listdir(lab.top / "snapshots")
    done = lab.sysmut("init", "-n", source, "--common", "/var/log")
    assert f"clear away  snapshots/{half_made}" in done.stdout
    wait_until(lambda: gone(tmp_path))
    init(lab, source, "--common", "/var/log")
    assert os.listdir(lab.top / "snapshots") == lab.slots[:1]
    assert os.listdir(lab.top / "commons") == ["@var@log"]
    assert (lab.top / "commons/@var@log/big").stat().st_size == 100 * 2**20
    works(lab)


def test_sealed_generations_that_nothing_names_are_never_cleared_away(empty: Lab, source: Path) -> None:
    init(empty, source)
    old = empty.slots[0]
    (empty.top / "current").unlink()
    said = init(empty, empty.root(old), "--common", "/home")
    assert "1 in snapshots/ already, which no slot will hold" in said
    assert empty.is_sealed(old)
    assert empty.slots[0] != old
    first(empty)


def test_whenever_it_is_killed_the_next_init_works(make_lab: Make, source: Path, tmp_path: Path) -> None:
    debian(source)
    (source / "var/log/file").write_bytes(os.urandom(3 * 2**20))
    archive = pack(source, tmp_path / "a.tar.zst", "--zstd")
    lab = make_lab(2**30)
    subvolume_with(lab, source, "@old")
    commons = ("--common", "recommended")
    began = time.monotonic()
    init(lab, archive, "-n", *commons)
    span = (time.monotonic() - began) * 2.5
    chance = random.Random(7)
    for number in range(24):
        given: str | Path = ("subvol=@old", source, archive)[number % 3]
        process = lab.start("init", given, *commons)
        time.sleep(chance.uniform(0.02, span))
        process.kill()
        process.communicate()
        if (lab.top / "current").is_symlink():
            first(lab)
            (lab.top / "current").unlink()
    init(lab, archive, *commons)
    root = first(lab)
    assert (lab.top / "commons/@var@log/file").read_bytes() == (source / "var/log/file").read_bytes()
    assert [name for name in os.listdir(lab.top / "commons") if not name.startswith("@")] == []
    assert (root / "var/lib/dpkg").is_dir()
    works(lab)
    assert os.listdir(lab.top / "snapshots") != []


def test_progress_is_shown_on_a_terminal_only_and_what_takes_long(empty: Lab, source: Path, tmp_path: Path) -> None:
    slower = tmp_path / "slow"
    slower.mkdir()
    (slower / "cp").write_text('#!/bin/sh\n[ "$1" = --version ] || sleep 3\nexec /bin/cp "$@"\n')
    (slower / "cp").chmod(0o755)
    script = tmp_path / "script"
    quoted = " ".join(f"'{part}'" for part in empty.command("sysmut", "init", str(source)))
    script.write_text(f"PATH={slower}:$PATH exec {quoted}\n")
    command = ["script", "-qec", f"sh {script}", "/dev/null"]
    done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout
    assert b"\r\x1b[Kcopying /" in done.stdout
    assert b"\xe2\x80\xa6 2 s\r\x1b[K" in done.stdout
    assert b"\r\x1b[Kmade a sysmut system" in done.stdout
    (empty.top / "current").unlink()
    assert "copying" not in init(empty, source)
