"""Beside the execline scripts of the wiki's page: on one filesystem in turn, and on the clock."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import FIRST, Finished, Lab, busybox_root, clean_environment, sh, without_coverage

EXECLINE = Path("/usr/lib/execline/bin")
RUNS = 9


def reference(name: str) -> str:
    """The text of one of the scripts, which lie beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared/reference"
    path = Path(os.environ.get("SYSMUT_REFERENCE") or beside) / f"{name}.execline.in"
    if not path.exists():
        pytest.skip(f"{path} is not there: set SYSMUT_REFERENCE to the directory of the scripts")
    return path.read_text()


class Scripts:
    """The two scripts, made for a lab's filesystem."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        self._where = f"UUID={lab.uuid}"
        if subprocess.run(["blkid", "--uuid", lab.uuid], check=False, capture_output=True).returncode != 0:
            self._where = sh("findmnt", "-n", "-o", "SOURCE", lab.top).strip()
        self._make("sysmut")
        self._make("syscln")

    def _make(self, name: str) -> None:
        text = reference(name).replace("UUID=@UUID@", self._where).replace("@MNT@", str(self.directory / "mnt"))
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def run(self, name: str, *arguments: str, typed: str = "") -> Finished:
        """Run one, with this on its standard input."""
        environment = clean_environment(PATH=f"{EXECLINE}:/usr/sbin:/usr/bin:/sbin:/bin")
        return subprocess.run(
            [self.directory / name, *arguments],
            check=False, capture_output=True, text=True, timeout=60, env=environment, input=typed,
        )  # fmt: skip

    def session(self, typed: str, *arguments: str) -> str:
        """A session of the script's, in which this is typed; its generation, which must be slot 0."""
        before = self.lab.generations
        done = self.run("sysmut", *arguments, typed=f"{typed}\nexit 0\n")
        assert "Switched to the new snapshot" in done.stdout, done.stderr
        (made,) = self.lab.generations - before
        assert self.lab.slots[0] == made
        assert self.lab.is_sealed(made)
        return made

    def collect(self) -> None:
        done = self.run("syscln")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def execline_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small root, with execline's programs and the libraries that they need."""
    if not EXECLINE.is_dir():
        pytest.skip("execline is not installed")
    root = busybox_root(tmp_path_factory.mktemp("execline"))
    shutil.copytree(EXECLINE, root / EXECLINE.relative_to("/"))
    words = sh("ldd", EXECLINE / "execlineb", EXECLINE / "foreground").split()
    for library in {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library.resolve(), target)
    return root


@pytest.fixture
def both(make_lab: Callable[..., Lab], execline_root: Path, tmp_path: Path) -> tuple[Lab, Scripts]:
    """A filesystem, and the scripts for it."""
    lab = make_lab()
    lab.lay_out(execline_root, commons=("/home",))
    return lab, Scripts(lab, tmp_path)


def test_sessions_and_collections_of_both_carry_on_from_each_other(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    lab.session("echo 1 >>/etc/made")
    one = lab.slots[0]
    two = scripts.session("echo 2 >>/etc/made")
    assert lab.slots == [two, one, FIRST, FIRST]
    lab.session("echo 3 >>/etc/made")
    three = lab.slots[0]
    assert lab.slots == [three, two, one, FIRST]
    four = scripts.session("echo 4 >>/etc/made")
    lab.session("echo 5 >>/etc/made")
    five = lab.slots[0]
    assert lab.slots == [five, four, three, two]
    assert (lab.root(five) / "etc/made").read_text().split() == ["1", "2", "3", "4", "5"]

    assert lab.generations == {FIRST, one, two, three, four, five}
    scripts.collect()
    assert sorted(os.listdir(lab.top / "snapshots" / one)) == ["sysmut.json", "sysmut.log"]
    assert lab.generations == {one, two, three, four, five}
    assert len(lab.link_sets) == 1
    assert lab.syscln().returncode == 0
    assert lab.generations == {two, three, four, five}

    six = scripts.session("echo 6 >>/etc/made", "1")
    assert (lab.root(six) / "etc/made").read_text().split() == ["1", "2", "3", "4", "6"]
    assert lab.slots == [six, five, four, three]
    done = lab.syscln("-v")
    assert f"deleted {two}" in done.stderr
    assert lab.generations == {six, five, four, three}
    scripts.collect()
    assert lab.slots == [six, five, four, three]
    assert lab.generations == {six, five, four, three}


def test_their_generation_looks_like_ours(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    theirs = scripts.session("true")
    lab.session("true")
    ours = lab.slots[0]
    for name in (theirs, ours):
        assert (lab.root(name) / "etc/fstab").read_text() == lab.template.replace(
            "CURRENT_SNAPSHOTS_PATH", f"/snapshots/{name}"
        )
        assert len(name) == len(FIRST)
    assert os.readlink(lab.top / "current") == f"./links/{(lab.top / 'current').resolve().name}"
    assert {os.readlink(lab.top / "current" / slot) for slot in "012"} == {
        f"../../snapshots/{name}" for name in (theirs, ours, FIRST)
    }


def test_what_is_made_by_them_can_be_rolled_back_and_activated_by_us(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    theirs = scripts.session("true")
    assert lab.sysmut("rollback").returncode == 0
    assert lab.slots == [FIRST, theirs, theirs, theirs]
    again = scripts.session("true")
    assert lab.slots == [again, FIRST, theirs, theirs]
    assert lab.sysmut("activate", theirs).returncode == 0
    assert lab.slots == [theirs, again, FIRST, FIRST]


def test_what_their_failed_session_leaves_is_collected_by_us(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    before = lab.picture()
    done = scripts.run("sysmut", typed="touch /etc/half\nexit 1\n")
    assert "Switched" not in done.stdout
    assert len(lab.generations) == 2
    assert lab.syscln().returncode == 0
    assert lab.picture() == before


def test_our_syscln_never_touches_their_open_session(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    environment = clean_environment(PATH=f"{EXECLINE}:/usr/sbin:/usr/bin:/sbin:/bin")
    process = subprocess.Popen(
        [scripts.directory / "sysmut"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("echo typed >/etc/typed; echo here\n")
        process.stdin.flush()
        while process.stdout.readline() != "here\n":
            assert process.poll() is None
        (opened,) = lab.generations - {FIRST}
        assert lab.syscln().returncode == 0
        assert lab.generations == {FIRST, opened}
        out = process.communicate("exit 0\n", timeout=60)[0]
    finally:
        process.kill()
        process.communicate()
    assert "Switched to the new snapshot" in out
    assert lab.slots == [opened, FIRST, FIRST, FIRST]
    assert (lab.root(opened) / "etc/typed").read_text() == "typed\n"


def test_a_session_overtaken_by_theirs_is_kept_and_told(both: tuple[Lab, Scripts]) -> None:
    lab, scripts = both
    process = lab.start_waiting()
    try:
        (ours,) = lab.generations - {FIRST}
        theirs = scripts.session("true")
        status, said = lab.finish(process)
    finally:
        process.kill()
        process.communicate()
    assert status == 75
    assert ours in said
    assert lab.slots == [theirs, FIRST, FIRST, FIRST]


def test_a_whole_session_beside_theirs_on_the_clock(
    both: tuple[Lab, Scripts], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, scripts = both
    # As a program that is installed: compiled, and not watched by coverage.
    environment = without_coverage()
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "compiled")
    command = lab.command("sysmut", "--script", "/bin/true")
    assert subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0
    ours, theirs = [], []
    for _ in range(RUNS):
        began = time.monotonic()
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        ours.append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
        began = time.monotonic()
        switched = scripts.run("sysmut", typed="exit 0\n")
        theirs.append(time.monotonic() - began)
        assert "Switched to the new snapshot" in switched.stdout, switched.stderr
    assert len(lab.generations) == 2 + 2 * RUNS
    mine, reference_ = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    with capsys.disabled():
        print(
            f"\na whole session: sysmut {mine:.0f} ms, durable; execline {reference_:.0f} ms, not durable; "
            f"ratio {mine / reference_:.2f}"
        )
