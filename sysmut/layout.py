"""Names and paths of the on-disk format. No I/O.

The format is that of the Alpine wiki's page on an immutable root with atomic upgrades, so that a
system made by its execline scripts is one of sysmut's and stays one.
"""

import itertools
import os
import posixpath
import time
from collections.abc import Mapping
from typing import Any

CURRENT = "current"
LINKS = "links"
NEXT = "next"
SNAPSHOTS = "snapshots"
COMMONS = "commons"
TEMPLATE = "fstab"
PINS = "pins"
TRIAL = "trial"

MOUNT_POINT = "/run/sysmut"
"""Where a sysmut process has the top level, seen by itself alone."""

ROOT = "@"
"""The subvolume of a generation that becomes `/`."""

RECORD = "sysmut.json"
LOG = "sysmut.log"
OWN_FILES = frozenset({RECORD, LOG})
"""What sysmut itself puts beside `@`; whatever else lies there belongs to somebody else."""

HISTORY = "history"
"""What has happened, for people: sysmut's own, absent until used."""

PLACEHOLDER = "CURRENT_SNAPSHOTS_PATH"
DEFAULT_SLOTS = 4

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def new_id() -> str:
    """A new id: the UTC time to the second and eight random letters, `20260102030405AbCdEfGh`."""
    letters = [_LETTERS[byte % 64] for byte in os.urandom(64) if byte % 64 < len(_LETTERS)]
    return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + "".join(letters[:8])


def timestamp(seconds: float | None = None) -> str:
    """A time as sysmut writes it down: ISO 8601, UTC, to the second; now where none is given."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def seconds(text: object) -> int | None:
    """The seconds since 1970 of what `timestamp` has written; None of anything else."""
    from datetime import datetime  # late: most commands ask for no time

    try:
        return int(datetime.fromisoformat(text).timestamp()) if isinstance(text, str) and text[-1:] == "Z" else None
    except ValueError:
        return None


def made(name: str) -> int | None:
    """When a generation was made, in seconds since 1970, by its id; None where that is not of sysmut's form."""
    digits, letters = name[:14], name[14:]
    if len(name) != 22 or not name.isascii() or not digits.isdecimal() or not letters.isalpha():
        return None
    return seconds(f"{digits[:8]}T{digits[8:]}Z")


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """What of a JSON object can be in a record, or in a line of the history: texts, numbers, lists of texts, and null.
    Anything else nobody could show again, perhaps."""
    return {key: item for key, item in value.items() if _is_plain(item)}


def _is_plain(item: Any) -> bool:
    if isinstance(item, list):
        return all(isinstance(part, str) for part in item)
    return item is None or isinstance(item, str | int)


def generation(name: str) -> str:
    """The path of a generation, from the top level: `snapshots/ID`."""
    return f"{SNAPSHOTS}/{name}"


def root(name: str) -> str:
    """The path of a generation's root subvolume, from the top level: `snapshots/ID/@`."""
    return f"{SNAPSHOTS}/{name}/{ROOT}"


def link_set(name: str) -> str:
    """The path of a link set, from the top level: `links/ID`."""
    return f"{LINKS}/{name}"


def target_in(link: str, directory: str, target: str) -> str | None:
    """The NAME for which the symlink at `link` (a path from the top level) says `directory/NAME`,
    judged by its text alone; None where it says something else, or goes up again from a name, which may
    be a link itself. An absolute target counts from the top level, as it does for the boot loader."""
    steps = [step for step in target.split("/") if step not in ("", ".")]
    if ".." in itertools.dropwhile("..".__eq__, steps):
        return None
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(link), target))
    parent, name = posixpath.split(joined)
    return name if parent == f"/{directory}" and name else None


def shown(text: str) -> str:
    """A message with paths as the user knows them: from the top level."""
    return text.replace(f"{MOUNT_POINT}/", "/").replace(MOUNT_POINT, "the top level")


def common_name(path: str) -> str:
    """The subvolume's name for a common mounted at `path`: `/var/log` is `@var@log`."""
    return path.replace("/", "@")


def owner_of(path: str) -> str | None:
    """The id of the generation that a path from the top level lies in, or None."""
    parts = path.strip("/").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == SNAPSHOTS else None


def rotate(slots: "tuple[str | None, ...]", first: str) -> tuple[str, ...]:
    """The slots after `first` has become slot 0: the others keep their order, without repeats and
    without slots that name nothing; what is short is filled by repeating the last. The number of
    slots stays."""
    kept = list(dict.fromkeys([first, *(name for name in slots if name is not None)]))[: len(slots)]
    return tuple(kept + [kept[-1]] * (len(slots) - len(kept)))
