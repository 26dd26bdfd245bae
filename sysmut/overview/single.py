"""All about one generation."""

from collections.abc import Mapping
from typing import Any

from sysmut import btrfs, generations, layout, packages
from sysmut.errors import BadData
from sysmut.overview.model import Entry, to_json
from sysmut.text import age, size
from sysmut.toplevel import TopLevel
from sysmut.values import frozen


@frozen
class Details:
    """One generation, with what came before it and after it."""

    entry: Entry
    record: Mapping[str, Any]
    sealed: bool | None
    """None where it has no root."""
    offspring: tuple[str, ...]
    """The generations that were made from it, newest first."""
    source_is_there: bool
    installed: Mapping[str, int]
    """How many packages each package manager has in it."""
    log: int | None
    """Bytes of its log."""


def details(top: TopLevel, entry: Entry, entries: list[Entry], log: int | None) -> Details:
    """All about `entry`, one of the `entries`."""
    root = top.at(layout.root(entry.generation))
    return Details(
        entry=entry,
        record=generations.read_record(top, entry.generation) or {},
        sealed=btrfs.is_sealed(root) if btrfs.is_subvolume(root) else None,
        offspring=tuple(other.generation for other in entries if other.source == entry.generation),
        source_is_there=any(other.generation == entry.source for other in entries),
        installed=_installed(root),
        log=log,
    )


def _installed(root: str) -> dict[str, int]:
    try:
        return {manager: len(names) for manager, names in packages.read(root).items()}
    except (BadData, OSError):  # a root that is not there, or a database that nobody can read
        return {}


def details_to_json(found: Details) -> dict[str, Any]:
    """The value as JSON has it."""
    return {
        "version": 1,
        **to_json(found.entry),
        "sealed": found.sealed,
        "offspring": list(found.offspring),
        "installed": dict(found.installed),
        "log_bytes": found.log,
        "record": dict(found.record),
    }


def details_to_lines(found: Details, now: float) -> list[str]:
    """The value as a person reads it."""
    entry = found.entry
    pairs = [
        ("generation", entry.generation),
        ("slots", ", ".join(map(str, entry.slots)) or "none"),
        ("pins", ", ".join(entry.pins)),
        ("state", _state(found)),
        ("made", _made(found, now)),
        ("from", _source(found)),
        ("by", _by(found.record)),
        ("description", entry.description),
        ("kernel", entry.kernel or ""),
        ("packages", _packages(found)),
        ("size", "" if entry.exclusive is None else f"{size(entry.exclusive)} that no other generation holds"),
        ("led to", ", ".join(found.offspring)),
        ("goes" if "-" in entry.flags else "kept by", ", ".join(entry.reasons)),
        ("log", "" if not found.log else f"{size(found.log)}: sysmut show {entry.generation} --log"),
    ]
    return [f"{name:12} {value}" for name, value in pairs if value]


def _state(found: Details) -> str:
    if found.sealed is None:
        return "has no root: it is of no use"
    said = ["sealed" if found.sealed else "not sealed: half made, or kept for inspection"]
    words = {"N": "now booted", "D": "boots by default", "T": "on trial", "S": "open in a session"}
    return ", ".join(said + [words[flag] for flag in found.entry.flags if flag in words])


def _made(found: Details, now: float) -> str:
    made, record = found.entry.made, found.record
    if made is None:
        return ""
    began, ended = layout.seconds(record.get("began")), layout.seconds(record.get("ended"))
    took = "" if began is None or ended is None or ended <= began else f", in {age(ended - began)}"
    by = f" by {record['user']}" if isinstance(record.get("user"), str) else ""
    return f"{layout.timestamp(made).replace('T', ' ').replace('Z', ' UTC')} ({_ago(now - made)}){by}{took}"


def _ago(seconds: float) -> str:
    return f"{age(seconds)} ago" if seconds >= 1 else "now"


def _source(found: Details) -> str:
    if found.entry.source is None:
        return ""
    slot = found.record.get("slot")
    notes = [] if not isinstance(slot, int) else [f"then slot {slot}"]
    notes += [] if found.source_is_there else ["gone"]
    return found.entry.source + (f" ({', '.join(notes)})" if notes else "")


def _by(record: Mapping[str, Any]) -> str:
    command, digest = record.get("command"), record.get("script_sha256")
    if not isinstance(command, list):
        return ""
    if isinstance(digest, str):
        return f"the script {' '.join(command)} (SHA-256 {digest})"
    return " ".join(command) or "a shell"


def _packages(found: Details) -> str:
    said = [f"{number} ({manager})" for manager, number in found.installed.items()]
    tally = found.entry.packages
    if tally is not None and found.entry.source is not None:
        said.append(f"{tally} against its source" if str(tally) else "the same as its source")
    return ", ".join(said)
