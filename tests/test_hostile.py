"""Generations that are hostile, and scripts that are careless: nothing of theirs reaches the host."""

import contextlib
import os
import pty
import select
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import FIRST, Finished, Lab, clean_environment, kill, sh, wait_until

EVIL = "20260102000000AbCdEfGh"
SYSEXITS = range(64, 79)
NAMES = ("boot", "dev", "etc", "home", "proc", "run", "sys", "tmp")


class Canary:
    """A directory of the host with what a session could want to write, read or mount over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in NAMES:
            (path / name / "sys").mkdir(parents=True)
        for name in ("fstab", "resolv.conf", "passwd", "init", "sys/kernel"):
            for parent in (path, path / "etc", path / "proc"):
                (parent / name).parent.mkdir(exist_ok=True)
                (parent / name).write_text("the host's own\n")
        for directory, _, files in os.walk(path, topdown=False):
            for name in [*files, "."]:
                # Older than the change, so that relatime shows who reads.
                os.utime(f"{directory}/{name}", ns=(10**18, 2 * 10**18))

    def picture(self) -> dict[str, tuple[object, ...]]:
        """All that writing, reading or replacing would change."""
        found: dict[str, tuple[object, ...]] = {}
        for directory, _, files, fd in os.fwalk(self.path):
            for name in [*files, "."]:
                seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
                content = b"" if name == "." else _read_unseen(name, fd)
                found[f"{directory}/{name}"] = (seen.st_ino, seen.st_mode, seen.st_mtime_ns, content)
        return found

    def was_read(self) -> list[str]:
        """The files that somebody has opened and read since."""
        return [str(path) for path in self.path.rglob("*") if path.is_file() and os.lstat(path).st_atime_ns != 10**18]


def _read_unseen(name: str, directory: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOATIME, dir_fd=directory)
    with open(fd, "rb") as file:
        return file.read()


def mounts_of_the_host(*ours: Path) -> list[str]:
    """This process's mount points with what is mounted there; those on loop devices count where they
    lie in `ours`, for other tests may be running."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        f"{fields[2]} {fields[3]} {fields[4]}"
        for fields in lines
        if any(fields[4].startswith(str(path)) for path in ours) or not fields[4].startswith("/tmp/")
    ]


@pytest.fixture
def canary() -> Iterator[Canary]:
    # Not in /tmp, over which a session mounts a tmpfs.
    with tempfile.TemporaryDirectory(prefix="sysmut-canary-", dir="/var/tmp") as directory:
        yield Canary(Path(directory) / "canary")


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    lab = Lab(tmp_path_factory.mktemp("shared"))
    lab.lay_out(small_root, commons=("/home",))
    yield lab
    lab.close()
    lab.image.unlink()


@pytest.fixture
def evil_lab(shared_lab: Lab, canary: Canary) -> Iterator[Lab]:
    """A lab with the generation EVIL, open to be tampered with; `attempt` seals it. It fails where
    the host was touched."""
    shared_lab.add_generation(EVIL, sealed=False)
    before = canary.picture(), mounts_of_the_host(shared_lab.top, canary.path)
    yield shared_lab
    after = canary.picture(), mounts_of_the_host(shared_lab.top, canary.path)
    read, common = canary.was_read(), _empty(shared_lab.top / "commons/@home")
    (shared_lab.top / "current").unlink()
    for name in shared_lab.link_sets:
        sh("rm", "-r", shared_lab.top / "links" / name)
    shared_lab.link([FIRST] * 4)
    done = shared_lab.syscln()
    left = shared_lab.generations - {FIRST}
    for name in left:
        _remove_by_force(shared_lab.top / "snapshots" / name)
    assert after == before, "the host was changed"
    assert read == [], "the host was read"
    assert common == [], "something is left in a common"
    assert (done.returncode, done.stderr, left) == (0, done.stderr, set()), "it cannot be deleted"


def _empty(directory: Path) -> list[str]:
    """Empty the directory; what was in it."""
    names = os.listdir(directory)
    for name in names:
        sh("rm", "-r", directory / name)
    return names


def _remove_by_force(directory: Path) -> None:
    """A generation's directory, for the next test's sake."""
    for command in (["property", "set", "-ts", "{}", "ro", "false"], ["subvolume", "delete", "{}"]):
        find = ["find", str(directory), "-depth", "-inum", "256", "-exec"]
        subprocess.run([*find, "btrfs", *command, ";"], check=False, capture_output=True)
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", str(directory)], check=False, capture_output=True)
    sh("rm", "-rf", directory)


def require_refused(done: Finished, program: str = "sysmut") -> None:
    """It failed as sysmut's own failures do: one clear line, and a status of sysexits."""
    assert "Traceback" not in done.stderr
    assert done.returncode in SYSEXITS, done
    assert done.returncode != 70, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"{program}: "), done.stderr


def attempt(lab: Lab, *, works: bool, script: str = "echo changed >/proof") -> Finished:
    """A session from EVIL, which must work, and be right; or be refused, and change nothing."""
    lab.seal(EVIL)
    before = lab.picture()
    done = lab.sysmut("run", EVIL, "--", "/bin/sh", "-ec", script, timeout=20)
    if not works:
        require_refused(done)
        assert lab.picture() == before
        return done
    assert done.returncode == 0, done.stderr
    new = lab.slots[0]
    assert lab.is_sealed(new)
    assert inside(lab, new, "cat", "/etc/fstab") == lab.template.replace("CURRENT_SNAPSHOTS_PATH", f"/snapshots/{new}")
    assert inside(lab, new, "cat", "/proof") == "changed\n"
    return done


def inside(lab: Lab, generation: str, *command: str) -> str:
    """What a program of the generation says, with that as its root."""
    return sh("chroot", lab.root(generation), "/bin/busybox", *command)


def replace(path: Path, target: str | Path) -> None:
    """Put a symlink in the place of whatever is there."""
    if path.is_dir() and not path.is_symlink():
        sh("rm", "-r", path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def _chain(root: Path, canary: Path) -> str:
    (root / "hop1").symlink_to("../../hop2")
    (root / "hop2").symlink_to(canary)
    return "hop1"


LINKS: dict[str, Callable[[Path, Path], str]] = {
    "absolute": lambda _, canary: str(canary),
    "dots": lambda _, canary: "../" * 40 + str(canary)[1:],
    "proc": lambda _, canary: f"/proc/self/root{canary}",
    "chain": _chain,
    "loop": lambda _, canary: "/etc/loop",
    "dangling": lambda _, canary: "/nowhere/to/be/found",
}


REPLACED = ("etc/fstab", "etc/resolv.conf", "etc/passwd", "boot", "dev", "etc", "home", "proc", "run", "sys", "tmp")
HARMLESS = ("etc/fstab", "etc/passwd", "boot")
"""What a session replaces, or does not need: there, it works."""


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("name", REPLACED)
def test_a_link_to_outside_in_the_place_of_anything_leads_nowhere(
    evil_lab: Lab, canary: Canary, name: str, kind: str
) -> None:
    root = evil_lab.root(EVIL)
    target = LINKS[kind](root, canary.path / Path(name).name)
    (root / "etc/loop").symlink_to("loop")
    replace(root / name, target)
    works = name in HARMLESS or (name == "etc/resolv.conf" and kind not in ("loop", "proc"))
    attempt(evil_lab, works=works)


@pytest.mark.parametrize("name", ["dev", "etc", "home", "proc", "run", "sys", "tmp"])
def test_a_link_whose_target_is_there_in_the_generation_too_is_followed_in_it(
    evil_lab: Lab, canary: Canary, name: str
) -> None:
    root = evil_lab.root(EVIL)
    twin = root / str(canary.path / name)[1:]
    twin.parent.mkdir(parents=True)
    (root / name).rename(twin)
    replace(root / name, canary.path / name)
    attempt(evil_lab, works=True)


@pytest.mark.parametrize("name", ["etc/fstab", "etc/resolv.conf", "etc/passwd", "etc/os-release"])
@pytest.mark.parametrize("kind", ["fifo", "device", "socket"])
def test_a_special_file_is_not_opened(evil_lab: Lab, name: str, kind: str) -> None:
    path = evil_lab.root(EVIL) / name
    path.unlink(missing_ok=True)
    modes = {"fifo": stat.S_IFIFO, "device": stat.S_IFCHR, "socket": stat.S_IFSOCK}
    os.mknod(path, 0o666 | modes[kind], os.makedev(5, 2))  # /dev/ptmx would hand out a terminal
    attempt(evil_lab, works=True)


@pytest.mark.parametrize(("name", "works"), [("etc/fstab", False), ("etc/resolv.conf", False), ("etc/passwd", True)])
def test_a_directory_in_the_place_of_a_file_is_named_or_not_needed(evil_lab: Lab, name: str, works: bool) -> None:
    path = evil_lab.root(EVIL) / name
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "full").touch()
    done = attempt(evil_lab, works=works)
    assert works or name in done.stderr


@pytest.mark.parametrize("name", ["dev", "etc", "home", "proc", "run", "sys", "tmp"])
def test_a_file_in_the_place_of_a_directory_is_named(evil_lab: Lab, name: str) -> None:
    path = evil_lab.root(EVIL) / name
    sh("rm", "-r", path)
    path.touch()
    assert name in attempt(evil_lab, works=False).stderr


@pytest.mark.parametrize("name", ["run", "proc", "sys", "dev"])
def test_a_mount_point_of_the_kernel_that_leads_into_a_common_leaves_nothing_there(evil_lab: Lab, name: str) -> None:
    replace(evil_lab.root(EVIL) / name, "/home")
    evil_lab.seal(EVIL)
    before = evil_lab.picture()
    script = evil_lab.top / "commons/script"
    script.write_text("#!/bin/sh\ntrue\n")
    done = evil_lab.sysmut("--script", script, EVIL, timeout=20)
    script.unlink()
    if done.returncode:
        require_refused(done)
        assert evil_lab.picture() == before
    assert os.listdir(evil_lab.top / "commons/@home") == []


@pytest.mark.parametrize("target", ["/run/resolv.conf", "../run/a/b/resolv.conf", "/tmp/resolv.conf", "/home/r"])
def test_the_link_of_the_resolver_file_serves_during_the_session_and_stays_a_link(evil_lab: Lab, target: str) -> None:
    link = evil_lab.root(EVIL) / "etc/resolv.conf"
    replace(link, target)
    attempt(evil_lab, works=True, script="cmp /etc/resolv.conf /dev/null && exit 1; echo changed >/proof")
    assert os.readlink(evil_lab.root(evil_lab.slots[0]) / "etc/resolv.conf") == target


def test_a_script_may_take_the_resolver_file_away(evil_lab: Lab) -> None:
    script = "umount /srv/resolv.conf; rm -r /etc/resolv.conf /srv; echo changed >/proof"
    replace(evil_lab.root(EVIL) / "etc/resolv.conf", "../srv/resolv.conf")
    attempt(evil_lab, works=True, script=script)


@pytest.mark.parametrize("flag", ["+i", "+a"])
@pytest.mark.parametrize(("name", "works"), [("", True), ("etc", False), ("etc/fstab", False), ("etc/passwd", True)])
def test_immutable_files_neither_stop_the_removal_nor_make_half_a_generation(
    evil_lab: Lab, flag: str, name: str, works: bool
) -> None:
    (evil_lab.root(EVIL) / "proof").write_text("changed\n")
    sh("chattr", flag, evil_lab.root(EVIL) / name)
    attempt(evil_lab, works=works, script="echo changed >/proof")


def test_an_immutable_root_that_lacks_a_mount_point_is_refused(evil_lab: Lab) -> None:
    root = evil_lab.root(EVIL)
    (root / "home").rmdir()
    sh("chattr", "+i", root)
    assert "etc/fstab" not in attempt(evil_lab, works=False).stderr


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("flag", ["+i", "+a"])
def test_nested_subvolumes_go_along_and_go_away_whatever_the_flags(evil_lab: Lab, flag: str, failing: bool) -> None:
    root = evil_lab.root(EVIL)
    (root / "srv").mkdir()
    for path in ("srv/nested", "srv/nested/deeper"):
        sh("btrfs", "subvolume", "create", root / path)
        (root / path / "file").write_text("inside\n")
    evil_lab.seal(EVIL)
    before = evil_lab.picture()
    script = f"echo $SYSMUT_GENERATION; until [ -e /home/go ]; do sleep 0.01; done; exit {failing:d}"
    process = evil_lab.start("run", EVIL, "--", "sh", "-c", script)
    assert process.stdout is not None
    new = evil_lab.root(process.stdout.readline().strip())
    assert (new / "srv/nested/deeper/file").read_text() == "inside\n"
    sh(
        "chattr",
        flag,
        *(new / path for path in ("srv/nested/deeper/file", "srv/nested/deeper", "srv/nested", "srv", "")),
    )
    status, said = evil_lab.finish(process)
    (evil_lab.top / "commons/@home/go").unlink()
    assert status == failing, said
    if failing:
        assert evil_lab.picture() == before
        return
    nested = evil_lab.root(evil_lab.slots[0]) / "srv/nested/deeper"
    assert "ro=true" in sh("btrfs", "property", "get", "-ts", nested, "ro")


def test_a_nested_subvolume_in_an_immutable_directory_is_refused_whole(evil_lab: Lab) -> None:
    root = evil_lab.root(EVIL)
    (root / "srv").mkdir()
    sh("btrfs", "subvolume", "create", root / "srv/nested")
    sh("chattr", "+i", root / "srv")
    attempt(evil_lab, works=False)


def test_names_that_are_no_text_pass_through(evil_lab: Lab) -> None:
    root = os.fsencode(evil_lab.root(EVIL))
    for name in (b"\xff\xfe", b"new\nline", b" lead and trail ", b"\x1b[31m", b"a" * 255, b"-rf"):
        os.mkdir(root + b"/srv-" + name[:200])
        with open(root + b"/etc/" + name, "wb") as file:
            file.write(name)
    attempt(evil_lab, works=True)
    new = os.fsencode(evil_lab.root(evil_lab.slots[0]))
    assert sorted(os.listdir(root + b"/etc")) == sorted(os.listdir(new + b"/etc"))


@pytest.mark.parametrize("depth", [400, 2100])
def test_a_very_deep_tree_can_be_compared(evil_lab: Lab, depth: int) -> None:
    """Deeper than Python's stack, and than the longest path."""
    fd = os.open(evil_lab.root(EVIL), os.O_PATH)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    evil_lab.seal(EVIL)
    before = evil_lab.picture()
    done = evil_lab.sysmut("run", EVIL, "--drop-if-unchanged", "--", "true")
    assert done.returncode == 0, done.stderr
    if depth == 400:
        assert evil_lab.picture() == before


# -- an interactive session, which reads the generation's passwd ------------------------------------


def interactive(lab: Lab, typed: bytes) -> tuple[int, str, str]:
    """A session from EVIL on a terminal of its own, with this typed; status, what the terminal
    showed, what was on standard error."""
    ours, theirs = pty.openpty()

    process = subprocess.Popen(
        ["setsid", "-c", *lab.command("sysmut", EVIL)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=clean_environment(TERM="dumb"),
        text=True,
    )
    os.close(theirs)
    shown = b""
    os.write(ours, typed)
    deadline = time.monotonic() + 20
    with contextlib.suppress(OSError):  # EIO: the last one that had the terminal is gone
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 4096)
    said = process.communicate(timeout=10)[1]
    os.close(ours)
    return process.returncode, shown.decode(errors="replace"), said


PASSWDS: dict[str, Callable[[Path, Path], None]] = {
    "a link to outside": lambda path, canary: path.symlink_to(canary / "passwd"),
    "a link to itself": lambda path, canary: path.symlink_to("passwd"),
    "a fifo": lambda path, canary: os.mkfifo(path),
    "a device": lambda path, canary: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),  # /dev/zero
    "a directory": lambda path, canary: path.mkdir(),
    "huge": lambda path, canary: _sparse(path),
    "junk": lambda path, canary: _write(path, os.urandom(5000)),
    "a shell outside": lambda path, canary: _write(path, b"root:x:0:0:root:/root:/../../" + os.fsencode(canary)),
    "a shell that is a directory": lambda path, canary: _write(path, b"root:x:0:0:root:/root:/etc\n"),
    "a NUL in the shell": lambda path, canary: _write(path, b"root:x:0:0:root:/root:/bin/sh\0x\n"),
}


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize("kind", PASSWDS)
def test_a_hostile_passwd_means_the_plain_shell(evil_lab: Lab, canary: Canary, kind: str) -> None:
    path = evil_lab.root(EVIL) / "etc/passwd"
    path.unlink()
    PASSWDS[kind](path, canary.path)
    evil_lab.seal(EVIL)
    status, shown, said = interactive(evil_lab, b"echo changed >/proof; exit\n")
    assert status == 0, shown + said
    assert "Traceback" not in shown + said
    assert inside(evil_lab, evil_lab.slots[0], "cat", "/proof") == "changed\n"


# -- what a script does to its own generation ---------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "rm /etc/fstab",
        "rm /etc/fstab; mkfifo /etc/fstab",
        "rm /etc/fstab; ln -s ../../../../../../CANARY/fstab /etc/fstab",
        "mv /etc /gone; ln -s CANARY/etc /etc",
        "mv /etc/fstab /old; ln -s fstab /etc/fstab",
        "mv /sbin /gone",
        "rm /sbin/init; mkfifo /sbin/init",
        "echo / >/etc/fstab",
        "truncate -s 1000000000000 /etc/fstab",
    ],
)
def test_a_script_that_ruins_its_generation_does_not_publish_it(evil_lab: Lab, canary: Canary, script: str) -> None:
    # The resolver file is bound in /etc, so that is moved with it.
    attempt(evil_lab, works=False, script=script.replace("CANARY", str(canary.path)))


def processes_with(marker: str) -> list[str]:
    """The process ids whose command line holds this."""
    found = []
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if process.isdigit() and marker.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


WRITE = "while :; do date +%N >>/leak; date +%N >>/home/leak; done"
CARELESS = {
    "a daemon": f"setsid sh -c '{WRITE}' MARKER >/dev/null 2>&1 &",
    "a daemon's daemon": f"(setsid sh -c '(sh -c \"{WRITE}\" MARKER &)' &)",
    "one that ignores signals": f"sh -c \"trap '' TERM HUP INT; {WRITE}\" MARKER &",
    "an open writer": "exec 9>>/leak; sh -c 'while :; do date +%N >&9; done' MARKER &",
    "one that is stopped": "sh -c 'kill -STOP $$' MARKER &",
    "mounts": "mkdir /mnt; mount -t tmpfs MARKER /mnt; mount -o bind /home /root; mount --make-rshared /;"
    " mount -t tmpfs MARKER /home; mount -o remount,rw,bind /dev",
    "unmounts": "umount -l /proc; umount -l /home; umount -l /dev; umount -l /run",
}


@pytest.mark.parametrize("kind", CARELESS)
def test_nothing_of_a_careless_script_outlives_its_session(evil_lab: Lab, kind: str) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    script = f": >/leak\n{CARELESS[kind].replace('MARKER', marker)}\nsleep 0.1; echo changed >/proof"
    attempt(evil_lab, works=True, script=script)
    assert processes_with(marker) == []
    assert marker not in Path("/proc/self/mountinfo").read_text()
    leak = evil_lab.root(evil_lab.slots[0]) / "leak"
    before = leak.read_bytes()
    os.sync()
    time.sleep(0.1)  # for a writer that nobody would see otherwise
    assert leak.read_bytes() == before
    (evil_lab.top / "commons/@home/leak").unlink(missing_ok=True)


@pytest.mark.parametrize("way", ["timeout", "SIGTERM"])
def test_a_script_that_ignores_every_signal_is_ended_all_the_same(evil_lab: Lab, way: str) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    script = f"trap '' TERM HUP INT QUIT; echo waiting; while :; do sleep 0.05; done # {marker}"
    evil_lab.seal(EVIL)
    before = evil_lab.picture()
    options = ["--timeout", "0.2"] if way == "timeout" else []
    process = evil_lab.start("run", *options, EVIL, "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    if way == "timeout":
        assert process.wait(timeout=20) == 124
        process.communicate()
    else:
        assert kill(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert processes_with(marker) == []
    assert evil_lab.picture() == before


def test_a_session_that_is_killed_leaves_no_process_and_no_mount(evil_lab: Lab) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    script = f"echo waiting; (setsid sh -c 'while :; do sleep 0.05; done' {marker} &); while :; do sleep 0.05; done"
    evil_lab.seal(EVIL)
    current = os.readlink(evil_lab.top / "current")
    process = evil_lab.start("run", EVIL, "--", "sh", "-c", f"{script} # {marker}")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    kill(process)
    wait_until(lambda: processes_with(marker) == [])
    assert os.readlink(evil_lab.top / "current") == current
