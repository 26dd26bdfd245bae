"""`sysmut list` and `sysmut show`: what is told of each generation, and how it fits."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmut import packages
from sysmut.overview import Entry, Layout, fields, lines
from tests.lab import FIRST, Lab, busybox_root, clean_environment, sh
from tests.terminal import Terminal

OTHER = "20260202000000AbCdEfGh"


def listed(lab: Lab, *arguments: str) -> dict[str, dict[str, Any]]:
    """What list says, by generation, in its order."""
    return {entry["generation"]: entry for entry in lab.json("list", *arguments)["generations"]}


def entry(**values: Any) -> Entry:
    usual: dict[str, Any] = {
        "generation": FIRST,
        "slots": (),
        "pins": (),
        "flags": "",
        "made": 1_700_000_000,
        "source": None,
        "kernel": None,
        "packages": None,
        "exclusive": None,
        "description": "",
        "reasons": (),
    }
    return Entry(**{**usual, **values})


def test_generations_are_listed_newest_first_with_slots_and_flags(lab: Lab) -> None:
    lab.add_generation(OTHER)
    lab.session("touch /one")
    new = lab.slots[0]
    assert lab.sysmut("pin", FIRST, "good").returncode == 0
    process = lab.start_waiting()
    (open_one,) = lab.generations - {FIRST, OTHER, new}
    try:
        found = listed(lab)
        table = lab.sysmut("list").stdout.splitlines()
        fields = [line.split("\t") for line in lab.sysmut("list", "--no-headers").stdout.splitlines()]
    finally:
        lab.finish(process)
    assert list(found) == [open_one, new, OTHER, FIRST]
    assert [row[:3] for row in fields] == [
        ["-", "S", open_one],
        ["0", "D", new],
        ["-", "-", OTHER],
        ["1,2,3", "P", FIRST],
    ]
    assert table[0].split()[:4] == ["SLOTS", "FLAGS", "GENERATION", "MADE"]
    assert [row.split()[0] for row in table[1:]] == ["S", "0", "-", "1,2,3"]
    assert found[new]["source"] == FIRST
    assert found[OTHER] | {"keep": False, "reasons": ["nothing refers to it"]} == found[OTHER]
    assert found[FIRST]["pins"] == ["good"]
    assert found[FIRST]["made"] == "2026-01-01T00:00:00Z"


def test_packages_are_counted_against_the_source_when_a_generation_is_made(make_lab: Any, tmp_path: Path) -> None:
    lab = with_packages(make_lab, tmp_path)
    status = "/var/lib/dpkg/status"
    lab.session(
        f"sed -i -e '/^Package: old$/,/^$/d' -e 's/^Version: 1$/Version: 2/' {status};"
        f"printf 'Package: new\\nStatus: install ok installed\\nVersion: 7\\n\\n' >>{status}"
    )
    new = lab.slots[0]
    found = listed(lab)
    assert found[new]["packages"] == {"added": 1, "removed": 1, "changed": 1}
    assert " +1 -1 ~1" in lab.sysmut("list").stdout
    lab.session("touch /something-else")
    assert listed(lab)[lab.slots[0]]["packages"] == {"added": 0, "removed": 0, "changed": 0}
    assert lab.json("show", new)["installed"] == {"dpkg": 2}


def with_packages(make_lab: Any, tmp_path: Path) -> Lab:
    root = busybox_root(tmp_path / "root")
    (root / "var/lib/dpkg").mkdir(parents=True)
    text = "".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n" for name in ("kept", "old"))
    (root / "var/lib/dpkg/status").write_text(text)
    lab: Lab = make_lab()
    lab.lay_out(root, commons=("/home",))
    return lab


def test_a_broken_database_does_not_keep_a_session_from_publishing(make_lab: Any, tmp_path: Path) -> None:
    lab = with_packages(make_lab, tmp_path)
    lab.session("rm /var/lib/dpkg/status; mkdir /var/lib/dpkg/status")
    new = lab.slots[0]
    assert new != FIRST
    assert listed(lab)[new]["packages"] is None


def test_the_size_of_its_own_is_what_no_other_generation_holds(lab: Lab) -> None:
    lab.session("head -c 3000000 /dev/urandom >/big; head -c 1000000 /dev/urandom >/shared")
    with_both = lab.slots[0]
    lab.session("rm /big")
    after = lab.slots[0]
    assert listed(lab)[with_both]["exclusive_bytes"] is None
    sizes = {name: found["exclusive_bytes"] for name, found in listed(lab, "--size").items()}
    assert 3_000_000 <= sizes[with_both] < 3_200_000
    assert sizes[after] < 100_000
    assert lab.sysmut("rollback").returncode == 0
    assert "2.9 MiB" in lab.sysmut("list", "--size").stdout


def test_where_quotas_are_on_the_size_is_known(lab: Lab) -> None:
    sh("btrfs", "quota", "enable", lab.top)
    lab.session("head -c 3000000 /dev/urandom >/big")
    sh("btrfs", "quota", "rescan", "-w", lab.top)
    size = listed(lab)[lab.slots[0]]["exclusive_bytes"]
    assert 3_000_000 <= size < 3_500_000


@pytest.mark.parametrize("columns", [80, 64, 132])
def test_the_table_fits_the_terminal(lab: Lab, columns: int) -> None:
    lab.session("true", "--description", "a long description of what was done here, and why")
    with Terminal("sh", "-c", 'read x; exec "$@"', "sh", *lab.command("sysmut", "list")) as terminal:
        terminal.resize(24, columns)
        terminal.send("\n")
        assert terminal.wait() == 0
        shown = [line for line in terminal.seen.splitlines() if FIRST in line or "GENERATION" in line or "…" in line]
    assert len(shown) >= 2
    assert max(map(len, shown)) <= columns
    assert ("…" in terminal.seen) == (columns < 132)


def test_nothing_is_cut_off_a_terminal(lab: Lab) -> None:
    lab.session("true", "--description", "x" * 200)
    assert "x" * 200 in lab.sysmut("list").stdout


def test_columns_in_which_there_is_nothing_are_left_out() -> None:
    (heading, _) = lines([entry()], Layout(1_700_000_000))
    assert heading.split() == ["SLOTS", "FLAGS", "GENERATION", "MADE"]
    (heading, row) = lines([entry(kernel="6.1", packages=packages.Tally(0, 0, 0))], Layout(1_700_000_000))
    assert heading.split() == ["SLOTS", "FLAGS", "GENERATION", "MADE", "KERNEL", "PACKAGES"]
    assert row.split()[-2:] == ["6.1", "="]


@pytest.mark.parametrize(
    ("ago", "said"), [(1, "1 s"), (90, "90 s"), (600, "10 min"), (90000, "25 h"), (86400 * 3, "3 d")]
)
def test_on_a_narrow_terminal_the_age_is_told(ago: int, said: str) -> None:
    assert said in lines([entry()], Layout(1_700_000_000 + ago, 80))[1]


def test_a_description_cannot_spoil_the_table_nor_the_fields(lab: Lab) -> None:
    evil = "a\tb\nc\x1b[2Jd"
    assert lab.sysmut("describe", "0", evil).returncode == 0
    assert "\x1b" not in lab.sysmut("list").stdout
    assert len(lab.sysmut("list").stdout.splitlines()) == 2
    (row,) = lab.sysmut("list", "--no-headers").stdout.splitlines()
    assert len(row.split("\t")) == 8
    assert row.split("\t")[7] == "a\\x09b\\x0ac\\x1b[2Jd"
    assert len(fields(entry())) == 8


def test_a_directory_that_is_no_generation_is_listed_and_does_not_disturb(lab: Lab) -> None:
    (lab.top / "snapshots/what is this").mkdir()
    found = listed(lab)["what is this"]
    assert (found["made"], found["kernel"]) == (None, None)
    assert lab.sysmut("show", "what").returncode == 0


def test_show_tells_lineage_record_and_why_it_is_kept(lab: Lab) -> None:
    lab.session("echo hello; head -c 100000 /dev/urandom >/new", "--description", "a new file")
    new = lab.slots[0]
    lab.session("rm /new", "--description", "without it")
    newest = lab.slots[0]
    text = lab.sysmut("show", new, "--size").stdout
    for said in (
        new,
        "a new file",
        f"{FIRST} (then slot 0)",
        newest,
        "sh -ec",
        "slot 1",
        "sealed",
        "KiB that no other",
    ):
        assert said in text
    told = lab.json("show", new)
    assert told["offspring"] == [newest]
    assert told["sealed"] is True
    assert told["record"]["command"][:2] == ["sh", "-ec"]
    assert lab.sysmut("show", new, "--log").stdout == "hello\n"
    done = lab.sysmut("show", FIRST, "--log")
    assert (done.returncode, "has no log" in done.stderr) == (64, True)


def test_show_says_that_the_source_is_gone_and_that_it_will_go_itself(lab: Lab) -> None:
    lab.session("touch /new")
    middle = lab.slots[0]
    lab.session("touch /newer")
    newest = lab.slots[0]
    lab.link([newest] * 4, "20260101000002AbCdEfGh")
    text = lab.sysmut("show", middle).stdout
    assert "goes         nothing refers to it" in text
    assert lab.syscln().returncode == 0
    assert f"{middle} (then slot 0, gone)" in lab.sysmut("show", newest).stdout


def test_a_transcript_cannot_trick_the_terminal(lab: Lab) -> None:
    lab.session("printf 'a\\033[2Jb\\r\\n'; printf '\\377'", errors="surrogateescape")
    done = subprocess.run(lab.command("sysmut", "show", "0", "--log"), capture_output=True, check=True)
    assert done.stdout == b"a\\x1b[2Jb\n\xff\n"


def test_whoever_began_it_is_written_down(lab: Lab) -> None:
    lab.sysmut("run", "--", "true", environment={"SUDO_USER": "alice"})
    assert lab.json("show", "0")["record"]["user"] == "alice"
    assert "by alice" in lab.sysmut("show", "0").stdout
    assert lab.json("log")["events"][0]["user"] == "alice"


@contextlib.contextmanager
def many(lab: Lab, number: int) -> Iterator[None]:
    for count in range(number):
        os.mkdir(lab.top / f"snapshots/{20260301000000 + count}AbCdEfGh")
    yield


def test_the_records_of_many_are_read_by_few_calls_each(lab: Lab) -> None:
    """The number of system calls for one generation more, which is what 10,000 of them cost."""

    def calls() -> int:
        done = subprocess.run(
            ["strace", "-f", "-c", "-o", "/dev/stdout", *lab.command("sysmut", "list", "-q")],
            capture_output=True, text=True, check=True, env=clean_environment(),
        )  # fmt: skip
        return int(next(line for line in done.stdout.splitlines() if line.endswith("total")).split()[3])

    before = calls()
    with many(lab, 200):
        assert (calls() - before) / 200 < 20
