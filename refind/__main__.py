"""`python3 -m refind FILE...`: say where rEFInd's configuration files are not what their author thinks.

One line for each finding, `FILE:LINE: severity: message (what to do)`. Exit status: 0 clean (notes
apart), 1 findings, 2 a file could not be read."""

import argparse
import dataclasses
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from refind.finding import Finding
from refind.lint import lint
from refind.parse import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Lint the files, and answer the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m refind", description="Say where rEFInd's configuration is not what its author thinks."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="refind.conf, or a file that it includes")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument(
        "--main", action="store_true", help="rEFInd begins with these files (-c), whatever they are called"
    )
    parser.add_argument(
        "--filesystem-uuid", action="append", default=[], metavar="UUID", help="one that volume must not name"
    )
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be of any bytes
    found: dict[Finding, None] = {}
    unread = False
    for name in options.files:
        try:
            document = parse(Path(name).read_bytes(), name, reader(Path(name)), main=options.main or None)
            found.update(dict.fromkeys(lint(document, options.filesystem_uuid)))
        except OSError as error:
            unread = True
            print(f"cannot read {error.filename or name}: {error.strerror}", file=sys.stderr)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        print(*found, sep="\n", end="\n" if found else "")
    return 2 if unread else int(any(finding.severity != "note" for finding in found))


def reader(file: Path) -> Callable[[str], bytes | None]:
    """What reads the files that `file` includes: beside it, or from the top of the partition, which is
    one of the directories above it; without regard to case, as FAT does."""

    def read(path: str) -> bytes | None:
        above = file.resolve().parents
        for base in above if path.startswith("/") else above[:1]:
            if found := _find(base, PurePosixPath(path.lstrip("/")).parts):
                return found.read_bytes()
        return None

    return read


def _find(base: Path, parts: Sequence[str]) -> Path | None:
    """The file of that path below `base`, in whatever case; None if there is none."""
    for part in parts:
        try:
            names = {each.name.lower(): each for each in sorted(base.iterdir())}
        except OSError:
            return None
        if part.lower() not in names:
            return None
        base = names[part.lower()]
    return base if base.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
