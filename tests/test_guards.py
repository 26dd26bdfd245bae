"""What a session must not take away, and what it must not leave open: hands that meddle meanwhile."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab, clean_environment, copy_program, kill, sh

TERM = 15


@pytest.fixture
def open_session(lab: Lab) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A session that waits, and its generation."""
    process = lab.start_waiting()
    (generation,) = lab.generations - {FIRST}
    yield process, generation
    if process.poll() is None:
        kill(process)


def test_what_is_open_in_a_session_cannot_be_activated(
    lab: Lab, open_session: tuple["subprocess.Popen[str]", str]
) -> None:
    process, generation = open_session
    lab.seal(generation)
    done = lab.sysmut("activate", generation)
    assert done.returncode == 75
    assert "open in a session" in done.stderr
    assert lab.slots == [FIRST] * 4
    kill(process, TERM)


def test_a_generation_that_was_pinned_meanwhile_is_not_discarded(
    lab: Lab, open_session: tuple["subprocess.Popen[str]", str]
) -> None:
    process, generation = open_session
    (lab.top / "pins").mkdir()
    (lab.top / "pins/p").symlink_to(f"../snapshots/{generation}")
    process.send_signal(TERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + TERM
    assert "was not removed: it is needed by now: pin p" in said
    assert generation in lab.generations


def test_a_generation_that_was_mounted_meanwhile_is_not_discarded(
    lab: Lab, open_session: tuple["subprocess.Popen[str]", str], tmp_path: Path
) -> None:
    process, generation = open_session
    sh("mount", "--bind", lab.root(generation), tmp_path)
    try:
        kill(process, TERM)
        assert (tmp_path / "etc/fstab").exists()
    finally:
        sh("umount", tmp_path)
    assert lab.syscln().returncode == 0
    assert lab.generations == {FIRST}


@pytest.fixture(params=["@/srv/deep", "0first"])
def with_inner(lab: Lab, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A sealed generation that nothing refers to, and a subvolume of it that goes before its root."""
    with lab.unsealed(FIRST) as root:
        for path in (root / "srv", root / "srv/deep", root.parent / "0first"):
            sh("btrfs", "subvolume", "create", path)
            (path / "file").write_text("content")
    for name in ("@/srv/deep", "@/srv", "0first"):
        sh("btrfs", "property", "set", "-ts", lab.root(FIRST).parent / name, "ro", "true")
    lab.session(":")
    made = lab.slots[0]
    lab.link([FIRST], "20260101000002InForceX")
    return made, lab.root(made).parent / request.param


def test_a_collection_that_is_cut_off_leaves_nothing_that_passes_for_whole(
    lab: Lab, tmp_path: Path, with_inner: tuple[str, Path]
) -> None:
    old, inner = with_inner
    strace = ["strace", "-qq", "-e", "trace=ioctl", "-o", str(tmp_path / "trace")]
    sh(*strace, *lab.command("syscln", "--dry-run"), env=clean_environment())
    looking = (tmp_path / "trace").read_text().count("ioctl(")  # so often before anything is deleted
    for number in range(looking, looking + 100):
        command = [*strace, "-e", f"inject=ioctl:signal=SIGKILL:when={number}", *lab.command("syscln")]
        subprocess.run(command, check=False, capture_output=True, env=clean_environment())
        if not inner.exists():
            break
    assert not inner.exists()
    if (lab.root(old) / "etc").exists():
        assert lab.sysmut("activate", old).returncode == 65
    assert lab.syscln().returncode == 0
    assert lab.generations == {FIRST}


def test_a_writable_subvolume_inside_keeps_a_generation_from_being_activated(lab: Lab) -> None:
    other = "20260202000000OtherOth"
    sh("btrfs", "subvolume", "create", lab.add_generation(other, sealed=False) / "opt")
    lab.seal(other)
    done = lab.sysmut("activate", other)
    assert (done.returncode, "its @/opt can still be written" in done.stderr) == (65, True)


def test_a_loop_device_does_not_outlive_the_session(lab: Lab) -> None:
    attach = "dd if=/dev/zero of=/img bs=64k count=4 2>/dev/null; losetup -f /img; losetup -a | grep -o /img"
    before = sh("losetup", "-l", "-n", "-O", "NAME,BACK-FILE")
    for status in (0, 3):
        done = lab.session(f"{attach}; exit {status}", status=status)
        assert done.stdout == "/img\n"
        assert sh("losetup", "-l", "-n", "-O", "NAME,BACK-FILE") == before


def test_where_a_loop_device_cannot_be_looked_at_nothing_is_published(lab: Lab) -> None:
    before = lab.picture()
    loops = [word for path in Path("/sys/block").glob("loop*") for word in ("-P", f"/dev/{path.name}")]
    command = lab.command("sysmut", "run", "--", "sh", "-ec", "dd if=/dev/zero of=/img bs=64k count=4; losetup -f /img")
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", *loops, "-e", "inject=openat:error=EIO", *command],
        check=False, capture_output=True, text=True, env=clean_environment(), stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    for line in sh("losetup", "-l", "-n", "-O", "NAME,BACK-FILE").splitlines():
        if line.split()[1:2] == ["/img"]:
            sh("losetup", "-d", line.split()[0])
    assert done.returncode == 71, done.stderr
    assert "Input/output error" in done.stderr
    assert lab.syscln().returncode == 0
    assert lab.picture() == before


def test_a_swap_file_does_not_outlive_the_session(lab: Lab) -> None:
    script = (
        "touch /sw; chattr +C /sw; dd if=/dev/zero of=/sw bs=1M count=2 2>/dev/null; chmod 600 /sw;"
        " mkswap /sw >/dev/null; swapon /sw"
    )
    with lab.unsealed(FIRST) as root:
        copy_program(root, "chattr")
    before = Path("/proc/swaps").read_text()
    lab.session(script)
    assert Path("/proc/swaps").read_text() == before
    lab.session(":")


def test_a_pin_that_leads_into_a_generation_keeps_it(lab: Lab) -> None:
    names = [f"2025010100000{number}Referred" for number in range(2)]
    (lab.top / "pins").mkdir()
    for name, below in zip(names, ("@", "@/etc/fstab"), strict=True):
        lab.add_generation(name)
        (lab.top / f"pins/{name}").symlink_to(f"../snapshots/{name}/{below}")
    assert lab.syscln().returncode == 0
    assert lab.generations == {FIRST, *names}


@pytest.mark.parametrize("change", ["s/UUID=[^ ]*/UUID=00000000-0000-0000-0000-000000000000/", "s/,ro/,subvolid=5,ro/"])
def test_a_line_for_the_root_that_mounts_another_is_not_published(lab: Lab, change: str) -> None:
    before = lab.picture()
    done = lab.session(f"sed -i '{change}' /etc/fstab", status=65)
    assert "the line for / does not name" in done.stderr
    assert lab.picture() == before


def test_a_shell_without_a_terminal_is_refused_before_anything_is_made(lab: Lab) -> None:
    with_trace = subprocess.run(
        ["strace", "-qq", "-f", "-e", "trace=mkdir", *lab.command("sysmut")],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=clean_environment(),
    )  # fmt: skip
    assert with_trace.returncode == 64
    assert "snapshots" not in with_trace.stderr


def test_rollback_goes_to_the_booted_fallback_in_a_rollback_too(lab: Lab) -> None:
    lab.session(":")
    second = lab.slots[0]
    lab.session(":")
    third = lab.slots[0]
    assert lab.sysmut("rollback").returncode == 0
    assert lab.slots == [second, third, FIRST, FIRST]
    done = lab.sysmut("rollback")
    assert "a rollback is in force already" in done.stderr
    assert lab.slots == [second, third, FIRST, FIRST]


def test_ctrl_c_at_start_up_is_no_traceback(lab: Lab) -> None:
    code = "import os, signal, sysmut.cli; os.kill(os.getpid(), signal.SIGINT)"
    command = lab.command("sysmut", "status")
    done = subprocess.run(
        [command[0], "-c", code], check=False, capture_output=True, text=True, env=clean_environment()
    )
    assert (done.returncode, done.stderr) == (-2, "")
