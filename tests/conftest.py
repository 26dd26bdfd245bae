"""Fixtures, and two rules: in CI a skip is a failure, and nothing may be left behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, busybox_root, sh, wait_until

_CI = bool(os.environ.get("CI"))

# Whoever started the tests may ignore these (nohup, a job in the background), and what a program is
# born with it keeps; the programs under test are to have the usual.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"a skip is a failure in CI: {report.longrepr}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write the table of docs/reliability.md anew")
    parser.addoption("--write-golden", action="store_true", help="write the golden files of the JSON anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("-m"):
        for item in [item for item in items if item.get_closest_marker("long")]:
            items.remove(item)
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(7200))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the run when a loop device, a mount or a process of its tests is left."""
    yield
    base = str(tmp_path_factory.getbasetemp())
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not _mounted_or_attached(base))  # the kernel unmounts a bit later what a process had
    assert _mounted_or_attached(base) == []
    assert [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if _names(path, base)] == []


def _mounted_or_attached(text: str) -> list[str]:
    """The loop devices and mounts that have the text in them."""
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout.splitlines()
    points = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in [*loops, *points] if text in line]


def _names(path: Path, text: str) -> bool:
    """Whether the command line in `path` has the text in it."""
    with contextlib.suppress(OSError):
        return text in path.read_text(errors="replace")
    return False


@pytest.fixture
def root_user() -> None:
    """For a test that needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")


@pytest.fixture
def make_lab(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Makes filesystems, and unmounts them afterwards."""
    labs: list[Lab] = []

    def make(size: int = 512 * 2**20) -> Lab:
        lab = Lab(tmp_path_factory.mktemp("lab"), size)
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.close()
        lab.image.unlink()


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with a static busybox."""
    return busybox_root(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def lab(make_lab: Callable[..., Lab], small_root: Path) -> Lab:
    """A filesystem with one generation of the small root in four slots, and the common /home."""
    made = make_lab()
    made.lay_out(small_root, commons=("/home",))
    return made


@pytest.fixture(scope="session")
def debian_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a minimal Debian with apt."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for mmdebstrap")
    archive = tmp_path_factory.mktemp("debian") / "debian.tar"
    sh("mmdebstrap", "--quiet", "--variant=apt", "bookworm", archive)
    return archive
