"""The family of errors: what went wrong, what to do next, and the exit status that says it.

The statuses are those of sysexits(3). Whatever raises one of these is reported by the command
line as one line and a hint; the core never prints and never exits.
"""

import errno
from typing import Any


class SysmutError(Exception):
    """A failure that is told to the user as `message`, then `hint`; `status` is the exit status."""

    status = 71
    origin = "sysmut"

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.generation: str | None = None
        """The generation that was kept although its session failed."""
        self.details: dict[str, Any] = {}
        """What JSON tells beside the error: the part of the work that was done."""
        if status is not None:
            self.status = status


class UsageError(SysmutError):
    """The command line asks for something that is not there or cannot be meant."""

    status = 64


class BadData(SysmutError):
    """A file that sysmut must read (fstab, a generation, an archive) is not usable."""

    status = 65


class NotSysmut(SysmutError):
    """This is not a btrfs filesystem with sysmut's layout, or the layout is broken."""

    status = 69


class SystemFailure(SysmutError):
    """A system call failed."""

    status = 71


class NoSpace(SysmutError):
    """The filesystem is full, or would be too full."""

    status = 73


class Busy(SysmutError):
    """Another process was quicker, or holds what is needed: trying again may succeed."""

    status = 75


class NotRoot(SysmutError):
    """Only root may do this."""

    status = 77


class BadConfiguration(SysmutError):
    """The settings, or the installation of sysmut itself, are wrong."""

    status = 78


class Interrupted(SysmutError):
    """A signal ended the work before it was done: 128 + n."""

    def __init__(self, signum: int, name: str) -> None:
        super().__init__(f"ended by {name}", status=128 + signum)


class ScriptFailed(SysmutError):
    """The shell, script or command of a session failed; `status` is its own (128 + n for a signal)."""

    origin = "script"


def from_oserror(error: OSError, path: str = "") -> SysmutError:
    """The error of the family for a failed system call: NoSpace for a full disk or quota, else
    SystemFailure; the path in question comes first in the message."""
    names = [_text(name) for name in (error.filename, error.filename2) if name not in (None, "")]
    where = " -> ".join(names) or path
    reason = error.strerror or str(error)
    message = f"{where}: {reason}" if where else reason
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(message, hint="free some space: run syscln, or remove what is not needed")
    return SystemFailure(message)


def _text(name: object) -> str:
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)
