"""The figures as docs/performance.md has them, and as JSON."""

import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from sysmut import __version__
from tests.bench.bounds import Bound, bounds
from tests.bench.counting import Counts
from tests.bench.growing import Growth
from tests.bench.measuring import Case, Spread, cpu, ratio, wall
from tests.bench.programs import BARE, PEER, PYTHON, START, SYSMUT, C
from tests.bench.run import Results

DOCUMENT = Path(__file__).parents[2] / "docs/performance.md"

_INTRODUCTION = """\
# How fast it is

Written by `python3 -m tests.bench --write`, run as root, on btrfs on a loop device in memory: so the time that a disk
takes for a commit is not in it, and what is left is what the programs cost. The programs that are compared take turns
in an order that is shuffled anew in each round. A time is the median, with the quartiles in brackets; a ratio is
taken within a round, and its median and quartiles are given. CPU is the user and system time of all processes, which
is steadier on a machine that does other things as well.

- *floor*: a straight-line Python program that makes the same system calls with the same syncs, and nothing else
  (`tests/bench/floors/`); *floor in C* is the same in C; *btrfs commands* the same as a shell script.
- *start-up*: `python3 -c 'import click, btrfsutil'`, by the interpreter that runs sysmut.
- *bare delete*: `btrfsutil.delete_subvolume` of as many snapshots in a loop, by itself; its wall time is the loop's.
- *snapper*: its nearest counterpart, without its daemon. For a session that is one snapshot, and for `diff` the
  comparison of two snapshots that are the same.
- *peer*: a program given by `--peer-sysmut` or `--peer-syscln`.

Memory, processes, system calls (by strace) and commits are counted in runs of their own.
"""


@dataclass(frozen=True)
class Run:
    """About the run itself."""

    seed: int
    seconds: float
    rounds: int
    growth_rounds: int


def render(results: Results, run: Run) -> str:
    """The whole document."""
    parts = [_INTRODUCTION, _circumstances(results, run)]
    parts += ["## The bounds\n", _bounds(bounds(results)), *_reasons(results), "## The cases\n"]
    parts += [_case(case, results.counts) for case in results.cases]
    if results.growth:
        parts += ["## As the work grows\n", _GROWTH, _growth(results.growth)]
    return "\n".join(parts).rstrip()


def _circumstances(results: Results, run: Run) -> str:
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} processors, {_memory()} GiB; load {os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "versions": ", ".join(_versions()),
        "rounds": f"{run.rounds}, of what grows {run.growth_rounds}; order by seed {run.seed}",
        "time": f"{run.seconds / 60:.1f} minutes",
    }
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {said} |" for name, said in facts.items()), ""]
    return "\n".join([*lines, *(f"Not measured: {said}.\n" for said in results.missing)])


def _versions() -> list[str]:
    found = [f"sysmut {__version__}", f"Python {platform.python_version()}"]
    found.append(f"click {getattr(click, '__version__', '?')}")
    found.append(_first_line("btrfs", "--version"))
    found += [_first_line(name, "--version") for name in ("snapper", "cc") if shutil.which(name)]
    return found


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["?"])[0]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _bounds(rows: list[Bound]) -> str:
    lines = ["| what | bound | found | by CPU time | |", "| --- | --- | --- | --- | --- |"]
    verdict = {True: "met", False: "**missed**", None: ""}
    lines += [f"| {row.what} | {row.limit} | {row.found} | {row.cpu} | {verdict[row.met]} |" for row in rows]
    return "\n".join([*lines, ""])


def _reasons(results: Results) -> list[str]:
    """Why a bound is out of reach, in figures of this run: what even the least that could be done takes."""
    found = {(case.name, who): wall(case, who).middle * 1000 for case in results.cases for who in case.samples}
    lines = []
    if {("session", SYSMUT), ("session", PYTHON), ("help", START)} <= found.keys():
        start, mine, floor = found["help", START], found["session", SYSMUT], found["session", PYTHON]
        peer = found.get(("session", PEER))
        shares = f"{start / floor:.2f} of what the floor takes in all, which reads no command line"
        shares = shares if peer is None else f"{start / peer:.2f} of what the peer takes in all, and {shares}"
        lines += [
            f"- A session: when click and btrfsutil are imported, and nothing is done yet, {start:.1f} ms are over:",
            f"  {shares}. Beyond that it takes {mine - start:.1f} ms, in which",
            f"  the kernel commits four times; the floor takes {floor:.1f} ms, with Python's own start.",
        ]
    if {("syscln-1000", BARE), ("syscln-1000", C)} <= found.keys():
        bare, least, mine = (found["syscln-1000", who] for who in (BARE, C, SYSMUT))
        lines += [
            f"- Deleting: the bare calls that delete 1,000 subvolumes take {bare:.1f} ms. Each generation has a record",
            "  and a directory, too, which go by a call each, and all is committed. A program in C that does that and",
            f"  no more takes {least:.1f} ms, {least / bare:.1f} times the bare calls;",
            f"  sysmut takes {mine:.1f} ms, {mine / least:.1f} times that.",
        ]
    return ["## Why some are out of reach\n", *lines, ""] if lines else []


def _case(case: Case, counts: dict[tuple[str, str], Counts]) -> str:
    lines = [
        f"### {case.title[:1].upper()}{case.title[1:]}\n",
        "| who | wall, ms | CPU, ms | sysmut / it | memory, MiB | processes | system calls | commits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for contender in case.contenders:
        name = contender.name
        against = "" if name == SYSMUT else _plain(ratio(case, SYSMUT, name))
        busy = "" if name == BARE else _milliseconds(cpu(case, name))
        counted = _counted(counts.get((case.name, name)))
        lines.append(f"| {name} | {_milliseconds(wall(case, name))} | {busy} | {against} | {counted}")
    return "\n".join([*lines, f"\nRuns of each: {len(case.samples[SYSMUT])}.\n"])


def _counted(counts: Counts | None) -> str:
    if counts is None:
        return "| | | |"
    shown = [f"{counts.memory / 1024:.0f}"]
    shown += ["" if number is None else f"{number:,}" for number in (counts.processes, counts.calls)]
    return " | ".join([*shown, f"{counts.commits} |"])


_GROWTH = """\
The wall time in milliseconds at each size, the median. The exponent is the slope of a straight line through the
logarithms of size and time, with its standard error. It goes by the fastest run of each size, for whatever else the
machine does can only add to a time. The time at size 0 is taken off, and points that are not above it by more than it
varies are left out. For the number of files in a root, which has no size 0, nothing is taken off.
"""


def _growth(found: list[Growth]) -> str:
    lines = []
    for what in dict.fromkeys(growth.what for growth in found):
        rows = [growth for growth in found if growth.what == what]
        sizes = rows[0].sizes
        lines.append(f"| {what} | {' | '.join(f'{size:,}' for size in sizes)} | exponent | by CPU time |")
        lines.append(f"| --- |{' ---: |' * (len(sizes) + 2)}")
        for growth in rows:
            times = " | ".join(f"{growth.wall(size).middle * 1000:.1f}" for size in sizes)
            lines.append(f"| {growth.name} | {times} | {growth.fit()} | {growth.fit('cpu')} |")
        lines.append("")
    return "\n".join(lines)


def _milliseconds(spread: Spread) -> str:
    return f"{spread.middle * 1000:.1f} ({spread.low * 1000:.1f} to {spread.high * 1000:.1f})"


def _plain(spread: Spread) -> str:
    return f"{spread.middle:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def to_json(results: Results) -> dict[str, Any]:
    """All figures."""
    return {
        "python": sys.version.split()[0],
        "cases": {
            case.name: {
                contender.name: {
                    "wall": [sample.wall for sample in case.samples[contender.name]],
                    "cpu": [sample.cpu for sample in case.samples[contender.name]],
                    "counts": asdict(counts)
                    if (counts := results.counts.get((case.name, contender.name))) is not None
                    else None,
                }
                for contender in case.contenders
            }
            for case in results.cases
        },
        "growth": [
            {
                "name": growth.name,
                "what": growth.what,
                "wall": {size: [sample.wall for sample in growth.samples[size]] for size in growth.sizes},
                "exponent": growth.fit().exponent,
            }
            for growth in results.growth
        ],
        "bounds": [asdict(row) for row in bounds(results)],
        "missing": results.missing,
    }
