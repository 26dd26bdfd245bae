"""The program that measures: it runs to its end, what it counts is what it should be, and it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.fitting import exponent, slope
from tests.bench.measuring import Case, RunFailed, Sample, Spread, ratio, timed
from tests.lab import wait_until, without_coverage

CHECKOUT = Path(__file__).parents[1]
COLLECTIONS = ("syscln-5", "syscln-10", "syscln-20", "syscln-10-links")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench", "--quick", *map(str, arguments)]


def loops_of(directory: Path) -> list[str]:
    """The loop devices whose file is, or was, in the directory."""
    listed = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if str(directory) in line]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=CHECKOUT, env=without_coverage(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a quick run of everything finds, with a peer that does the same by other means."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    directory = tmp_path_factory.mktemp("bench")
    disks = directory / "disks"
    disks.mkdir()
    peer = directory / "peer"
    floor = CHECKOUT / "tests/bench/floors/syscln.sh"
    peer.write_text(f"#!/bin/sh\nexec unshare --mount sh -e {floor} @DEVICE@ @MNT@\n")
    peer.chmod(0o755)
    done = run("--json", directory / "figures", "--peer-syscln", peer, "--directory", disks)
    assert done.returncode == 0, done.stderr
    assert "## The bounds" in done.stdout
    assert list(disks.iterdir()) == []
    assert loops_of(disks) == []
    found = json.loads((directory / "figures").read_text())
    assert isinstance(found, dict)
    return found


def test_every_case_has_figures_of_everybody(figures: dict[str, Any]) -> None:
    assert set(figures["cases"]) == {
        "session", "help", "status", "list", "activate", "diff", "syscln-0", *COLLECTIONS
    }  # fmt: skip
    for name, case in figures["cases"].items():
        assert {"sysmut", *(("start-up",) if name == "help" else ("floor", "btrfs commands"))} <= set(case)
        for found in case.values():
            assert min(found["wall"]) > 0
        assert case["sysmut"]["counts"]["memory"] > 1000
        assert name.endswith("-links") or case["sysmut"]["counts"]["calls"] > 100
    assert all("peer" in figures["cases"][name] for name in ("syscln-0", *COLLECTIONS))


def test_sysmut_commits_as_often_as_the_order_of_publishing_needs_and_no_more(figures: dict[str, Any]) -> None:
    found = {name: case["sysmut"]["counts"]["commits"] for name, case in figures["cases"].items()}
    assert found == {
        "session": 4, "activate": 2, "syscln-0": 0, "help": 0, "status": 0, "list": 0, "diff": 0,
        **dict.fromkeys(COLLECTIONS, 1),
    }  # fmt: skip
    floor = {name: case["floor"]["counts"]["commits"] for name, case in figures["cases"].items() if "floor" in case}
    assert floor == {name: found[name] for name in floor}


def test_sysmut_starts_no_process_but_those_of_a_session(figures: dict[str, Any]) -> None:
    found = {name: case["sysmut"]["counts"]["processes"] for name, case in figures["cases"].items()}
    assert found.pop("syscln-10-links") is None
    assert found == {name: 3 if name == "session" else 1 for name in found}


def test_what_grows_has_figures_at_four_sizes(figures: dict[str, Any]) -> None:
    found = {(growth["name"], growth["what"]): set(growth["wall"]) for growth in figures["growth"]}
    generations, files, changes = "generations", "files in the root", "files changed"
    assert found == {
        ("`sysmut status`", generations): {"0", "5", "10", "20", "40"},
        ("`sysmut list`", generations): {"0", "5", "10", "20", "40"},
        ("`syscln --dry-run`", generations): {"0", "5", "10", "20", "40"},
        ("`sysmut activate`", generations): {"0", "5", "10", "20", "40"},
        ("`syscln`", generations): {"0", "5", "10", "20", "40"},
        ("a session", files): {"50", "100", "200", "400"},
        ("`sysmut diff`", files): {"50", "100", "200", "400"},
        ("`sysmut diff`", changes): {"0", "5", "10", "20", "40"},
    }


def test_every_bound_is_told_as_met_missed_or_not_measured(figures: dict[str, Any]) -> None:
    rows = figures["bounds"]
    assert {row["met"] for row in rows} <= {True, False, None}
    assert [row["what"] for row in rows if row["what"].startswith("commits") and not row["met"]] == []
    assert [row["met"] for row in rows if row["found"] == "not measured"] == [None]


def test_a_program_that_does_not_do_the_work_is_not_measured(root_user: None, tmp_path: Path) -> None:
    done = run("--cases", "syscln-5", "--peer-syscln", "true", "--directory", tmp_path)
    assert done.returncode == 1
    assert "peer left 5 generations of 5" in done.stderr


def test_a_case_that_is_not_there_is_refused_with_those_that_are(root_user: None, tmp_path: Path) -> None:
    done = run("--cases", "sesion", "--directory", tmp_path)
    assert done.returncode == 1
    assert "no such case: sesion; there are: session, help" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_cut_off(root_user: None, tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        command("--directory", tmp_path),
        cwd=CHECKOUT, env=without_coverage(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "round 1" not in process.stderr.readline():
        assert process.poll() is None
    assert loops_of(tmp_path) != []
    process.send_signal(number)
    process.communicate()
    wait_until(lambda: loops_of(tmp_path) == [])
    assert [list(path.iterdir()) for path in tmp_path.iterdir()] == ([[]] if number == signal.SIGKILL else [])
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_program_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RunFailed, match=r"status 3: no$"):
        timed(["sh", "-c", "printf no; exit 3"])


def test_ratios_are_taken_within_a_round() -> None:
    case = Case("", "", [])
    case.samples = {
        "sysmut": [Sample(2, 1), Sample(20, 1), Sample(200, 1)],
        "floor": [Sample(1, 1), Sample(10, 1), Sample(100, 1)],
    }
    assert ratio(case, "sysmut", "floor") == Spread(2, 2, 2)


def test_the_exponent_is_that_of_the_time_beyond_the_time_for_nothing() -> None:
    times = {n: 0.05 + 0.001 * n**0.5 for n in (100, 300, 1000, 3000)}
    assert exponent(times, 0.05, 0.001).exponent == pytest.approx(0.5)
    assert exponent({n: 0.05 + n / 1000 for n in times}, 0.05, 0.001).exponent == pytest.approx(1)
    assert slope(times).exponent < 0.3


def test_a_time_that_does_not_grow_by_more_than_it_varies_has_the_exponent_0() -> None:
    found = exponent({100: 0.051, 300: 0.049, 1000: 0.052, 3000: 0.0505}, 0.05, 0.003)
    assert (found.flat, found.exponent) == (True, 0)
