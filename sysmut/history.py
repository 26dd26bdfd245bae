"""What has happened to a system, as lines of JSON in a file at the top level: for people to read.

Nothing is decided by it, and nothing depends on it: what is on disk is the truth. A line that was cut
off by a power cut is passed over, and a system whose history is gone works as before.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any

from sysmut import layout
from sysmut.errors import BadData, SysmutError, from_oserror
from sysmut.text import age, counted
from sysmut.toplevel import TopLevel

LIMIT = 2**20
"""Bytes from which on the older half is dropped."""

MAKING = ("published", "kept", "made", "taken in")
"""The events by which a generation that may be there came to be."""

_MOST_NAMES = 40

_NOBODY = 2**32 - 1
"""What loginuid says of what nobody who has logged in has begun, such as cron's."""
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def note(top: TopLevel, event: str, tell: Callable[[str], None], **facts: Any) -> None:
    """Write down that something happened, now. `tell` is told if that fails, for the thing itself is done."""
    try:
        append(top, event, **facts)
    except (OSError, SysmutError) as error:
        problem = from_oserror(error, f"/{layout.HISTORY}") if isinstance(error, OSError) else error
        tell(f"it could not be written into the history: {problem.message}")


def append(top: TopLevel, event: str, **facts: Any) -> None:
    """Add a line: the event, the time, who began this, and whatever facts are not None. A long list of names is cut,
    and `more` tells how many are missing. It is on disk with the filesystem's next commit, and not before."""
    line = _line({"time": layout.timestamp(), "event": event, "user": user(), **facts})
    path = top.at(layout.HISTORY)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
        try:
            _require_file(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_at(fd, path):
                continue  # another process has shortened it meanwhile
            if os.fstat(fd).st_size + len(line) > LIMIT:
                _shorten(fd, path, line)
            else:
                _write(fd, line)
            return
        finally:
            os.close(fd)


def read(top: TopLevel) -> list[dict[str, Any]]:
    """The events, oldest first: each has `time` and `event`, and what was given to `append`."""
    try:
        fd = os.open(top.at(layout.HISTORY), os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return []
    with open(fd, "rb") as file:
        _require_file(fd)
        lines = file.read(2 * LIMIT).splitlines()
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("time", "event")):
                found.append(layout.plain(value))
    return found


def user() -> str | None:
    """The login name of who began this process, through sudo or doas too; None where nobody has logged in."""
    for name in ("SUDO_USER", "DOAS_USER"):
        if os.environ.get(name):
            return os.environ[name]
    with contextlib.suppress(OSError, ValueError, KeyError):
        with open("/proc/self/loginuid", encoding="ascii") as file:
            number = int(file.read())
        if number != _NOBODY:
            import pwd  # late: few come so far

            return pwd.getpwuid(number).pw_name
    return None


def line(event: Mapping[str, Any]) -> str:
    """An event as a person reads it: when, what, which generation, and the rest."""
    when = event["time"][:16].replace("T", " ") + "Z"
    names = event.get("generations")
    about = str(event.get("generation") or (counted(_total(event), "generation") if isinstance(names, list) else ""))
    return f"{when}  {event['event']:11}  {about:22}  {'; '.join(_rest(event))}".rstrip(" ;")


def _total(event: Mapping[str, Any]) -> int:
    more = event.get("more")
    return len(event.get("generations") or ()) + (more if isinstance(more, int) else 0)


def _rest(event: Mapping[str, Any]) -> list[str]:
    command, names = event.get("command"), event.get("generations")
    pairs = (
        ("as {}", event.get("pin")),
        ("instead of {}", event.get("instead_of")),
        ("from {}", event.get("source")),
        ("{}", " ".join(command) if isinstance(command, list) else None),
        ("{}", event.get("description")),
        ("by {}", event.get("user")),
        ("in {}", age(event["seconds"]) if isinstance(event.get("seconds"), int) and event["seconds"] else None),
        ("{}", event.get("reason")),
        ("{}", ", ".join(names) if isinstance(names, list) else None),
        ("and {} more", event.get("more")),
    )
    return [form.format(value) for form, value in pairs if value]


def _line(values: Mapping[str, Any]) -> bytes:
    told: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list | tuple):
            told[key] = list(value[:_MOST_NAMES])
            if len(value) > _MOST_NAMES:
                told["more"] = len(value) - _MOST_NAMES
        elif value is not None:
            told[key] = value
    return json.dumps(told).encode() + b"\n"


def _require_file(fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise BadData(f"/{layout.HISTORY}: not a regular file", hint="move it away: one is made where none is")


def _is_at(fd: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    return False


def _shorten(fd: int, path: str, line: bytes) -> None:
    """Put the newer half and the line in the place of all. The lock on the old file is held."""
    size = os.fstat(fd).st_size
    kept = os.pread(fd, LIMIT // 2, max(0, size - LIMIT // 2)).partition(b"\n")[2]
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    new = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        _write(new, kept + line)
        os.rename(temporary, path)
    finally:
        os.close(new)


def _write(fd: int, data: bytes) -> None:
    before = os.fstat(fd).st_size
    if before and os.pread(fd, 1, before - 1) != b"\n":
        data = b"\n" + data  # behind a line that was cut off
    written = os.write(fd, data)
    if written < len(data):  # the disk is full: half a line would spoil the next one
        os.ftruncate(fd, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"/{layout.HISTORY}")
