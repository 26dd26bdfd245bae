"""`python3 -m tests.bench`: measure, and say what was found. As root."""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tests.bench.measuring import RunFailed
from tests.bench.place import working_directory
from tests.bench.programs import Programs
from tests.bench.report import DOCUMENT, Run, render, to_json
from tests.bench.run import QUICK, Bench, Results, Sizes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description="Measure sysmut. Root is needed.")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works: no figures to quote")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of every case, and of what grows")
    parser.add_argument("--cases", nargs="+", default=[], metavar="NAME", help="these cases only")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="write all figures into this file")
    parser.add_argument("--directory", default="/dev/shm", help="where the disk images are, without a name")
    parser.add_argument("--debian", metavar="ARCHIVE", help="a Debian root directory's tar, instead of mmdebstrap")
    parser.add_argument("--seed", type=int, help="of the order")
    for name in ("sysmut", "syscln"):
        parser.add_argument(
            f"--peer-{name}", metavar="COMMAND",
            help="another program that does the same; @MNT@, @UUID@ and @DEVICE@ in it, or in the script, are replaced",
        )  # fmt: skip
    return parser.parse_args()


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = QUICK if options.quick else Sizes()
    return replace(sizes, runs=options.runs, growth_runs=options.runs) if options.runs else sizes


def _measured(options: argparse.Namespace, sizes: Sizes, seed: int) -> Results:
    with working_directory(options.directory) as directory:
        tempfile.tempdir = str(directory)
        programs = Programs(directory, options.peer_sysmut, options.peer_syscln)
        chance = random.Random(seed)
        bench = Bench(
            directory, options.directory, programs, sizes, tuple(options.cases), options.debian, options.quick,
            chance, _tell,
        )  # fmt: skip
        return bench.carry_out()


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> None:
    """Measure, and print the report."""
    options = _options()
    if os.geteuid() != 0:
        sys.exit("tests.bench: only root can do this")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    began = time.time()
    seed = int(began) if options.seed is None else options.seed
    try:
        sizes = _sizes(options)
        results = _measured(options, sizes, seed)
    except RunFailed as error:
        sys.exit(f"tests.bench: {error}")
    run = Run(seed, time.time() - began, sizes.runs, sizes.growth_runs)
    text = render(results, run)
    print(text)
    if options.write:
        DOCUMENT.write_text(text + "\n")
    if options.json:
        Path(options.json).write_text(json.dumps(to_json(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
