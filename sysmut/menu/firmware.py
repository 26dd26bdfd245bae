"""The firmware's own boot menu: rEFInd's entry in it, first in its order. By efibootmgr(8).

What that prints differs: before version 18 the program is `/File(PATH)`, since then just `/PATH`. An entry
with data after the path, such as one for a boot that is tried once, is another entry.
"""

import os
import re
import subprocess

from sysmut.errors import BadConfiguration, SystemFailure, UsageError
from sysmut.values import frozen

LABEL = "rEFInd Boot Manager"

_FIRMWARE = "/sys/firmware/efi"
_PROGRAM = "efibootmgr"
_REMOVABLE = "--removable needs none"
_ENTRY = re.compile(r"Boot([0-9A-F]{4})([* ])")
_ORDER = re.compile(r"BootOrder: ([0-9A-F]{4}(?:,[0-9A-F]{4})*)")
_PATH = re.compile(r"HD\(\d+,GPT,([0-9a-f-]{36}),[^()]*\)/(?:File\((\\[^()]*)\)|(\\[^()]*))", re.IGNORECASE)


@frozen
class Entry:
    """One entry, Boot####, that starts a program from a GPT partition."""

    number: str
    """Four hexadecimal digits, in capitals."""
    active: bool
    partition: str
    """The PARTUUID, in lower case."""
    path: str
    """The program's, with backslashes; whatever follows it with it."""


@frozen
class Boot:
    """The firmware's menu."""

    order: tuple[str, ...]
    entries: tuple[Entry, ...]

    def entry_for(self, partition: str, loader: str) -> Entry | None:
        """The entry that starts this program: the earliest in the order, else one that is not in it."""
        fitting = [
            entry
            for entry in self.entries
            if entry.partition == partition.lower() and entry.path.lower() == loader.lower()
        ]
        rank = {number: place for place, number in enumerate(self.order)}
        return min(fitting, key=lambda entry: rank.get(entry.number, len(rank)), default=None)


@frozen
class Wanted:
    """The entry that is to be first."""

    disk: str
    number: int
    """Of the partition."""
    partition: str
    """Its PARTUUID."""
    loader: str
    """The program's path on the partition, with backslashes."""


def parse(text: str) -> Boot:
    """What `efibootmgr -v` says."""
    order: tuple[str, ...] = ()
    entries = []
    for line in text.split("\n"):
        if match := _ORDER.fullmatch(line.strip()):
            order = tuple(match[1].split(","))
        elif (match := _ENTRY.match(line)) and (path := _PATH.search(line)):
            program = (path[2] or path[3]) + line[path.end() :].rstrip()
            entries.append(Entry(match[1], match[2] == "*", path[1].lower(), program))
    return Boot(order, tuple(entries))


def changes(boot: Boot, wanted: Wanted) -> tuple[tuple[str, ...], ...]:
    """The arguments of each call of efibootmgr that is needed, in order; none where all is well."""
    entry = boot.entry_for(wanted.partition, wanted.loader)
    if entry is None:
        place = ("-d", wanted.disk, "-p", str(wanted.number))
        return (("-c", *place, "-l", wanted.loader, "-L", LABEL),)  # which puts it first
    calls: list[tuple[str, ...]] = [] if entry.active else [("-a", "-b", entry.number)]
    if boot.order[:1] != (entry.number,):
        rest = [number for number in boot.order if number != entry.number]
        calls.append(("-o", ",".join([entry.number, *rest])))
    return tuple(calls)


def read() -> Boot:
    """The firmware's menu. Raises UsageError where there is no such firmware, BadConfiguration where
    efibootmgr is missing, SystemFailure where it fails."""
    if not os.path.isdir(_FIRMWARE):
        raise UsageError("this system was not booted by UEFI, so its boot menu cannot be set", hint=_REMOVABLE)
    return parse(run(("-v",)))


def run(arguments: tuple[str, ...]) -> str:
    """Run efibootmgr; what it printed. Raises as `read` does."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [_PROGRAM, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL, env=environment
        )
    except FileNotFoundError:
        hint = f"install the package {_PROGRAM}; {_REMOVABLE}"
        raise BadConfiguration(f"{_PROGRAM} is needed, for an entry in the firmware's menu", hint=hint) from None
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).decode(errors="replace").split())
        how = said or f"status {done.returncode}"
        raise SystemFailure(f"{_PROGRAM} {' '.join(arguments)}: {how}", hint=_REMOVABLE)
    return done.stdout.decode(errors="replace")


def apply(calls: tuple[tuple[str, ...], ...], wanted: Wanted) -> None:
    """Make the calls, and see that the firmware kept what they say: some do not."""
    for arguments in calls:
        run(arguments)
    left = changes(read(), wanted) if calls else ()
    if left:
        message = f"the firmware did not keep {wanted.loader} as the first entry of its menu"
        raise SystemFailure(message, hint="set it in the firmware's own setup, or use --removable")
