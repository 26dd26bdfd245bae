"""Fixtures, and two rules: in CI a skip is a failure, and nothing may be left behind."""

import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, busybox_root, sh

_CI = bool(os.environ.get("CI"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"a skip is a failure in CI: {report.longrepr}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("-m"):
        for item in [item for item in items if item.get_closest_marker("long")]:
            items.remove(item)


def _leftovers() -> set[str]:
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout.splitlines()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {f"loop {line}" for line in loops} | {f"mount {point}" for point in mounts}


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails the run when loop devices or mounts are there that were not there before."""
    before = _leftovers()
    yield
    assert _leftovers() <= before


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
