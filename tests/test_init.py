"""`sysmut init`: every kind of source, taken in whole on a real btrfs."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Lab, sh

Make = Callable[..., Lab]

COMPRESSIONS = {"plain": [], "gzip": ["--gzip"], "xz": ["--xz"], "zstd": ["--zstd"]}


def pack(root: Path, archive: Path, *options: str) -> Path:
    """The directory as an archive, with all that it has."""
    sh("tar", "--create", f"--file={archive}", "--xattrs", "--acls", *options, f"--directory={root}", ".")
    return archive


def decorate(root: Path) -> None:
    """Put into the root what a careless copy loses."""
    log = root / "var/log"
    (log / "app").mkdir()
    (log / "app/one").write_text("one\n")
    os.link(log / "app/one", log / "app/two")
    os.symlink("../app/one", log / "app/link")
    os.chown(log / "app", 1234, 2345)
    os.chmod(log / "app", 0o2750)
    sh("setfacl", "-m", "u:4321:rx", log / "app")
    sh("setfacl", "-d", "-m", "g:4322:rwx", log / "app")
    sh("setfattr", "-n", "user.note", "-v", "kept", log / "app/one")
    sh(
        "setfattr",
        "-n",
        "security.capability",
        "-v",
        "0x0100000200200000000000000000000000000000",
        root / "bin/busybox",
    )
    os.mkfifo(log / "app/fifo")
    with open(log / "app/sparse", "wb") as file:
        file.truncate(64 * 2**20)
    os.chown(log, 0, 4)
    os.chmod(log, 0o2775)
    sh("setfacl", "-m", "u:4321:rwx", log)
    sh("setfattr", "-n", "user.log", "-v", "outer", log)


def traits(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a directory and what is in it that a move must keep."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        }
        content = path.read_bytes() if path.is_file() and not path.is_symlink() and status.st_size < 2**20 else None
        target = os.readlink(path) if path.is_symlink() else None
        links = status.st_nlink if path.is_file() else None
        time = status.st_mtime_ns if path.is_file() else None
        found[str(path.relative_to(directory))] = (
            *(status.st_mode, status.st_uid, status.st_gid, links, time),
            *(attributes, content, target),
        )
    return found


@pytest.fixture
def source(small_root: Path, tmp_path: Path) -> Path:
    """A copy of the small root to do something to."""
    sh("cp", "-a", small_root, tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def empty(make_lab: Make) -> Lab:
    """An empty filesystem."""
    return make_lab()


def init(lab: Lab, *arguments: str | Path, status: int = 0) -> str:
    """`sysmut init` that must end with this status; what it says on standard error."""
    done = lab.sysmut("init", *arguments)
    assert done.returncode == status, (done.returncode, done.stderr)
    return done.stderr


def first(lab: Lab) -> Path:
    """The root of the first generation, after looking at what every first generation must be."""
    slots = lab.slots
    assert len(set(slots)) == 1
    assert lab.is_sealed(slots[0])
    root = lab.root(slots[0])
    assert f"subvol=/snapshots/{slots[0]}/@,ro" in (root / "etc/fstab").read_text()
    for name in ("proc", "sys", "dev", "run", "tmp"):
        assert (root / name).is_dir()
    return root


def works(lab: Lab) -> None:
    """A session and status work on it."""
    assert lab.sysmut("run", "--", "true").returncode == 0
    assert lab.sysmut("status").returncode == 0
    assert lab.syscln().returncode == 0


def subvolume_with(lab: Lab, source: Path, name: str) -> Path:
    """A subvolume at the top level with the source in it."""
    sh("btrfs", "subvolume", "create", lab.top / name)
    sh("cp", "-a", f"{source}/.", lab.top / name)
    return lab.top / name


def test_a_directory_is_copied_with_all_it_has(empty: Lab, source: Path) -> None:
    decorate(source)
    before = traits(source)
    said = init(empty, source)
    root = first(empty)
    after = traits(root)
    for path, value in before.items():
        if path not in ("etc/fstab", "etc"):
            assert after[path] == value, path
    assert traits(source) == before
    assert len(empty.slots) == 4
    assert "is in every slot" in said
    sparse = (root / "var/log/app/sparse").stat()
    assert (sparse.st_size, sparse.st_blocks) == (64 * 2**20, 0)
    assert (root / "var/log/app/one").stat().st_ino == (root / "var/log/app/two").stat().st_ino
    works(empty)


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_an_archive_is_told_by_its_content_and_unpacked_with_all_it_has(
    empty: Lab, source: Path, tmp_path: Path, kind: str
) -> None:
    decorate(source)
    archive = pack(source, tmp_path / "-odd:name of an archive.txt", "--sparse", *COMPRESSIONS[kind])
    done = subprocess.run(
        empty.command("sysmut", "init", "--", archive.name), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = traits(source), traits(first(empty))
    for path, value in before.items():
        if path not in ("etc/fstab", "etc"):
            assert after[path] == value, path
    works(empty)


@pytest.mark.parametrize("named", ["subvol=@rootfs", "subvol=/@rootfs/", "path"])
def test_a_subvolume_is_snapshotted_with_those_in_it(empty: Lab, source: Path, named: str) -> None:
    old = subvolume_with(empty, source, "@rootfs")
    (old / "var/lib").mkdir()
    sh("btrfs", "subvolume", "create", old / "var/lib/machines")
    sh("btrfs", "subvolume", "create", old / "var/lib/machines/one")
    (old / "var/lib/machines/one/file").write_text("inner")
    init(empty, old if named == "path" else named)
    root = first(empty)
    assert (root / "var/lib/machines/one/file").read_text() == "inner"
    shown = sh("btrfs", "subvolume", "show", root)
    assert f"Parent UUID: \t\t{sh('btrfs', 'subvolume', 'show', old).split('UUID:')[1].split()[0]}" in shown
    for inner in ("var/lib/machines", "var/lib/machines/one"):
        assert "ro=true" in sh("btrfs", "property", "get", "-ts", root / inner, "ro")
    works(empty)


def test_a_subvolume_of_another_filesystem_is_copied(make_lab: Make, source: Path) -> None:
    other, lab = make_lab(), make_lab()
    old = subvolume_with(other, source, "@")
    sh("btrfs", "subvolume", "create", old / "inner")
    said = init(lab, old)
    assert "not taken in, as it is another filesystem or subvolume: /inner" in said
    assert (first(lab) / "bin/busybox").is_file()
    works(lab)


def test_the_top_level_itself_is_taken_in_without_the_layout(empty: Lab, source: Path) -> None:
    sh("cp", "-a", f"{source}/.", empty.top)
    sh("btrfs", "subvolume", "create", empty.top / "@other")
    sh("btrfs", "subvolume", "create", empty.top / "srv")
    (empty.top / "srv/file").write_text("inner")
    (empty.top / "var/log/old").write_text("log")
    said = init(empty, empty.top, "--common", "/var/log")
    root = first(empty)
    assert (root / "srv/file").read_text() == "inner"
    assert (empty.top / "commons/@var@log/old").read_text() == "log"
    assert (empty.top / "var/log/old").read_text() == "log"
    assert sorted(set(os.listdir(root))) == sorted({*os.listdir(source), "srv"})
    assert "not taken in, as it is another filesystem or subvolume: /@other" in said
    works(empty)


def test_the_running_root_is_what_is_taken_where_nothing_is_named(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@rootfs")
    (old / "etc/fstab").write_text(f"UUID={empty.uuid} / btrfs subvol=@rootfs,compress=zstd 0 1\n")
    checkout = Path(__file__).parts[1]
    for name in ("usr", "lib", "lib64", checkout, "var/log/here"):
        (old / name).mkdir(exist_ok=True)
    inside = (
        f"mount --make-rprivate / && mount -o subvol=@rootfs,loop {empty.image} /mnt || exit 99;"
        f"for d in usr lib lib64 {checkout} proc sys dev run tmp; do mount --rbind /$d /mnt/$d || exit 98; done;"
        'cd /mnt && pivot_root . home && cd / && PATH=/usr/bin:/usr/sbin exec "$@"'
    )
    program = empty.command("sysmut", "init", "--common", "/var/log")
    program = [part for part in program if part not in ("--root", str(empty.top))]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "sh", *program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    root = first(empty)
    assert "reboot into it soon" in done.stderr
    assert "compress=zstd" in (root / "etc/fstab").read_text()
    assert os.listdir(root / checkout) == []
    assert os.listdir(root / "var/log") == []
    assert os.listdir(empty.top / "commons/@var@log") == ["here"]
    works(empty)


def test_where_the_running_root_is_elsewhere_a_source_must_be_named(empty: Lab) -> None:
    assert "name what the first generation is made from" in init(empty, status=64)
    assert os.listdir(empty.top) == []


def test_commons_take_what_the_source_has_and_the_source_keeps_it(empty: Lab, source: Path) -> None:
    decorate(source)
    before = traits(source)
    init(empty, source, "--common", "/var/log/", "--common", "/home", "--common", "//home", "--common", "/srv")
    root = first(empty)
    assert traits(empty.top / "commons/@var@log") == traits(source / "var/log")
    assert traits(source) == before
    assert os.listdir(root / "var/log") == []
    kept = {key: value[:3] for key, value in traits(root / "var/log").items()}
    assert kept == {".": traits(source / "var/log")["."][:3]}
    assert sorted(os.listdir(empty.top / "commons")) == ["@home", "@srv", "@var@log"]
    assert empty.template.count(" /home ") == 1
    works(empty)


@pytest.mark.parametrize("order", [("/var/log", "/var/log/journal"), ("/var/log/journal", "/var/log")])
def test_a_common_inside_another_gets_its_part_whatever_the_order(
    empty: Lab, source: Path, order: tuple[str, str]
) -> None:
    (source / "var/log/journal").mkdir(mode=0o755)
    (source / "var/log/journal/entries").write_text("entries")
    os.chown(source / "var/log/journal", 0, 999)
    os.chmod(source / "var/log/journal", 0o2755)
    (source / "var/log/messages").write_text("messages")
    init(empty, source, *(part for path in order for part in ("--common", path)))
    commons = empty.top / "commons"
    assert os.listdir(commons / "@var@log@journal") == ["entries"]
    assert sorted(os.listdir(commons / "@var@log")) == ["journal", "messages"]
    assert os.listdir(commons / "@var@log/journal") == []
    status = (commons / "@var@log/journal").stat()
    assert (status.st_mode & 0o7777, status.st_gid) == (0o2755, 999)
    lines = empty.template.splitlines()
    places = [next(n for n, line in enumerate(lines) if f" {path} " in line) for path in sorted(order)]
    assert places == sorted(places)
    done = empty.session("cat /var/log/messages /var/log/journal/entries")
    assert done.stdout == "messagesentries"


def test_a_mount_point_that_the_source_lacks_is_made_with_a_fitting_mode(empty: Lab, source: Path) -> None:
    (source / "root").rmdir()
    (source / "tmp").rmdir()
    (source / "etc/fstab").write_text("LABEL=data /data/deep ext4 noauto 0 0\n")
    init(empty, source, "--common", "/var/tmp", "--common", "/root")
    root = first(empty)
    modes = {name: (root / name).stat().st_mode & 0o7777 for name in ("root", "tmp", "var/tmp", "data/deep")}
    assert modes == {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "data/deep": 0o755}
    assert (empty.top / "commons/@var@tmp").stat().st_mode & 0o7777 == 0o1777
    assert (empty.top / "commons/@root").stat().st_mode & 0o7777 == 0o700


def test_what_is_protected_by_chattr_is_moved_all_the_same(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@")
    (old / "var/log/deep").mkdir()
    (old / "var/log/deep/file").write_text("kept")
    sh("chattr", "+a", old / "var/log/deep/file")
    sh("chattr", "+i", old / "var/log/deep")
    init(empty, "subvol=@", "--common", "/var/log")
    assert (empty.top / "commons/@var@log/deep/file").read_text() == "kept"
    assert os.listdir(first(empty) / "var/log") == []
    sh("chattr", "-R", "-ia", old / "var/log")


def test_subvolumes_where_a_common_is_to_be_become_directories(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@")
    (old / "home").rmdir()
    sh("btrfs", "subvolume", "create", old / "home")
    (old / "home").chmod(0o711)
    sh("btrfs", "subvolume", "create", old / "home/inner")
    (old / "home/inner/file").write_text("inner")
    sh("btrfs", "subvolume", "create", old / "srv")
    said = init(empty, "subvol=@", "--common", "/home")
    root = first(empty)
    assert (empty.top / "commons/@home/inner/file").read_text() == "inner"
    assert ((root / "home").stat().st_mode & 0o7777, os.listdir(root / "home")) == (0o711, [])
    inner = [line.split()[-1] for line in sh("btrfs", "subvolume", "list", "-o", root).splitlines()]
    assert inner == [f"snapshots/{empty.slots[0]}/@/srv"]
    assert "will be read-only, as parts of the generation: the subvolumes /srv;" in said
    works(empty)


def test_a_default_subvolume_that_no_boot_loader_boots_from_is_told(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@")
    sh("btrfs", "subvolume", "set-default", old)
    assert "and rEFInd boots only from 5: btrfs subvolume set-default 5" in init(empty, "subvol=@")


def test_subvolumes_that_fstab_mounts_and_snapshots_of_other_tools_are_left_out(empty: Lab, source: Path) -> None:
    old = subvolume_with(empty, source, "@")
    (old / "etc/fstab").write_text(f"UUID={empty.uuid} /opt btrfs subvol=/@/opt 0 0\n")
    for name in ("opt", ".snapshots", ".snapshots/1"):
        sh("btrfs", "subvolume", "create", old / name)
    (old / "opt/file").touch()
    said = init(empty, "subvol=@")
    assert "not taken in, as it is another filesystem or subvolume: /.snapshots, /.snapshots/1, /opt" in said
    assert sh("btrfs", "subvolume", "list", "-o", first(empty)) == ""
    assert empty.session("ls /opt").stdout == "file\n"


def test_an_empty_common_that_is_there_is_used_with_its_properties(empty: Lab, source: Path) -> None:
    (empty.top / "commons").mkdir()
    sh("btrfs", "subvolume", "create", empty.top / "commons/@var@log")
    sh("chattr", "+C", empty.top / "commons/@var@log")
    number = sh("btrfs", "inspect-internal", "rootid", empty.top / "commons/@var@log")
    (source / "var/log/file").write_text("moved")
    init(empty, source, "--common", "/var/log")
    assert (empty.top / "commons/@var@log/file").read_text() == "moved"
    assert "C" in sh("lsattr", "-d", empty.top / "commons/@var@log").split()[0]
    assert sh("btrfs", "inspect-internal", "rootid", empty.top / "commons/@var@log") == number


def test_a_common_that_holds_data_is_kept_as_it_is(empty: Lab, source: Path) -> None:
    (empty.top / "commons").mkdir()
    sh("btrfs", "subvolume", "create", empty.top / "commons/@var@log")
    (empty.top / "commons/@var@log/mine").write_text("mine")
    (source / "var/log/file").write_text("not moved")
    said = init(empty, source, "--common", "/var/log")
    assert "has data in it already: it is kept as it is" in said
    assert os.listdir(empty.top / "commons/@var@log") == ["mine"]
    assert os.listdir(first(empty) / "var/log") == ["file"]
    works(empty)


FSTAB = """\
# /etc/fstab: static file system information.
# / was on /dev/vda2 during installation
UUID={uuid} /               btrfs   defaults,subvol=@rootfs,compress=zstd:1 0       0
# the system partition
UUID=1234-ABCD  /boot/efi       vfat    umask=0077      0       1
LABEL=boot /boot ext4 defaults 0 2
UUID={uuid} /home btrfs subvol=@home,noatime 0 0
/swapfile none swap sw 0 0
# the end"""


def test_the_template_keeps_the_lines_and_comments_of_the_source(empty: Lab, source: Path) -> None:
    sh("btrfs", "subvolume", "create", empty.top / "@home")
    (source / "etc/fstab").write_text(FSTAB.format(uuid=empty.uuid))
    said = init(empty, source, "--common", "/home", "--common", "/var/log")
    lines = empty.template.splitlines()
    kept = FSTAB.format(uuid=empty.uuid).splitlines()
    root = f"UUID={empty.uuid} / btrfs subvol=CURRENT_SNAPSHOTS_PATH/@,ro,compress=zstd:1 0 0"
    assert lines[: len(kept)] == [*kept[:2], root, *kept[3:]]
    assert lines[len(kept) :] == [
        "tmpfs /tmp tmpfs mode=1777,noatime,nosuid,nodev 0 0",
        f"UUID={empty.uuid} /var/log btrfs subvol=/commons/@var@log,rw,noatime 0 0",
    ]
    assert os.listdir(empty.top / "commons") == ["@var@log"]
    assert f"/home is no common: the source's fstab mounts UUID={empty.uuid} there" in said
    assert "/boot is on another filesystem (LABEL=boot)" in said
    assert "the swap file /swapfile cannot be used" in said
    assert (first(empty) / "boot/efi").is_dir()
    works(empty)


def test_a_template_that_was_there_is_kept_under_another_name(empty: Lab, source: Path) -> None:
    (empty.top / "fstab").write_text("# mine\n")
    assert "kept as /fstab.old" in init(empty, source)
    assert (empty.top / "fstab.old").read_text() == "# mine\n"


def debian(root: Path) -> Path:
    """Make the small root look like a Debian."""
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/os-release").write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n')
    (root / "etc/os-release").unlink()
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    for name in ("srv", "var/lib/dpkg", "var/lib/docker", "var/lib/systemd", "var/cache", "var/mail", "var/spool"):
        (root / name).mkdir(parents=True)
    for name in ("usr/lib/systemd/systemd", "usr/sbin/logrotate"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "var/lib/libvirt").symlink_to("/home/libvirt")
    (root / "var/tmp").symlink_to("../tmp")
    return root


RECOMMENDED = (
    "/home /root /srv /var/cache /var/log /var/spool /var/mail /var/lib/docker "
    "/var/lib/systemd/linger /var/lib/systemd/timers /var/lib/systemd/timesync /var/lib/logrotate"
)


@pytest.mark.parametrize("packed", [False, True])
def test_the_recommended_commons_suit_the_distribution(
    empty: Lab, source: Path, tmp_path: Path, *, packed: bool
) -> None:
    debian(source)
    given = pack(source, tmp_path / "debian") if packed else source
    said = init(empty, given, "--common", "recommended", "--common", "/opt")
    assert f"commons recommended for Debian GNU/Linux 12 (bookworm): {RECOMMENDED}" in said
    names = {path.replace("/", "@") for path in [*RECOMMENDED.split(), "/opt"]}
    assert set(os.listdir(empty.top / "commons")) == names
    assert (first(empty) / "var/lib/dpkg").is_dir()
    works(empty)
    assert "nothing to do" in init(empty, given, "--common", "recommended")


def test_alpine_gets_the_commons_of_the_wiki(empty: Lab, source: Path) -> None:
    (source / "etc/os-release").write_text("ID=alpine\nPRETTY_NAME='Alpine Linux v3.22'\nID_LIKE=\"unclosed\n")
    said = init(empty, source, "--common", "recommended")
    assert "commons recommended for Alpine Linux v3.22: /home /var/cache /var/log /var/tmp" in said


def test_a_dry_run_says_all_and_writes_nothing(empty: Lab, source: Path) -> None:
    debian(source)
    done = empty.sysmut("init", "-n", source, "--common", "recommended", "--slots", "3")
    assert done.returncode == 0
    assert "common      /var/log on commons/@var@log: new; what the source has there is moved in" in done.stdout
    assert "slots       3, all on the first generation" in done.stdout
    assert "  tmpfs /tmp tmpfs" in done.stdout
    value = empty.json("init", "-n", str(source), "--common", "/home")
    assert (value["version"], value["dry_run"], value["changed"]) == (1, True, False)
    assert value["commons"] == [{"path": "/home", "subvolume": "commons/@home", "state": "new", "moved": True}]
    assert os.listdir(empty.top) == []


def test_the_json_tells_what_was_made(empty: Lab, source: Path) -> None:
    value = empty.json("init", str(source), "--slots", "2")
    assert (value["version"], value["changed"]) == (1, True)
    assert value["slots"] == [value["generation"]] * 2 == empty.slots
    assert empty.json("init")["changed"] is False


def test_doing_it_again_changes_nothing(empty: Lab, source: Path) -> None:
    (source / "var/lib/dpkg").mkdir(parents=True)
    init(empty, source, "--common", "/home")
    before, template = empty.picture(), empty.template
    for arguments in ([source], [], ["/not/there"], [source, "--common", "/home/"]):
        assert "already a sysmut system, nothing to do" in init(empty, *arguments)
    said = init(empty, source, "--common", "/var/log", status=64)
    assert "init does not change one (btrfs subvolume create commons/@var@log" in said
    assert "the package database" in init(empty, source, "--common", "/var", status=65)
    assert "it has 4 slots" in init(empty, source, "--slots", "6")
    assert (empty.picture(), empty.template) == (before, template)
