"""Room on the filesystem: the oldest that may go do, one after another, until enough is free."""

import time
from collections.abc import Callable

from sysmut import btrfs, toplevel
from sysmut.cleanup import executing, planning
from sysmut.cleanup.model import Report, Shortfall
from sysmut.cleanup.retention import Retention, for_space
from sysmut.text import counted
from sysmut.toplevel import TopLevel
from sysmut.values import replace

_TOO_MUCH = "the filesystem is smaller than that, and nothing is deleted for it"

_STILL = 30.0
"""Seconds without any change after which the kernel is not waited for any more."""

_PATIENCE = 600.0
"""Seconds after which it is not waited for in any case."""

_SHORTEST, _LONGEST = 0.01, 0.5
"""Seconds between two looks."""


def make_room(
    top: TopLevel, retention: Retention, report: Report, doing: Callable[[str], None] = lambda _: None
) -> None:
    """Delete the oldest generations that may go until as much is free as `keep_free` asks for, and add
    what was done to `report`, and what it falls short of that.

    The lock is not held by the caller: it is taken for each of them, which is then planned anew, and not
    held while the kernel gives back the space. What the kernel is still at is waited for before anything
    more is deleted; where it does not get on, nothing more is.
    """
    if retention.keep_free is None:
        return
    size = top.size()
    wanted = retention.keep_free.of(size)
    while top.free() < wanted:
        reason = _next(top, retention, wanted, report, doing) if wanted <= size else _TOO_MUCH
        if reason:
            report.shortfall = Shortfall(top.free(), wanted, reason)
            return


def _next(top: TopLevel, retention: Retention, wanted: int, report: Report, doing: Callable[[str], None]) -> str:
    """Delete the oldest that was not tried yet, if that is still needed when the kernel has given back what it is
    at. Why that cannot be; empty where it was done or is not needed."""
    if unfinished := _waited(top, wanted, doing):
        return f"the kernel has not given back the space of {counted(unfinished, 'deleted subvolume')} yet"
    with toplevel.locked(top):
        planned = planning.plan(*planning.survey(top, described=True), retention)
        if not planned.short:
            return ""
        oldest = next((name for name in planned.spare if name not in report.tried), None)
        if oldest is None:
            return "nothing is left that may go"
        alone = replace(planned, verdicts=(for_space(oldest, retention),), link_sets=())
        report.add(executing.execute(top, alone, doing))
    return ""


def _waited(top: TopLevel, wanted: int, doing: Callable[[str], None]) -> int:
    """Wait until as much is free, or the kernel has given back the space of all that is deleted. Returns
    how many deleted subvolumes it is still at, if it does not get on."""
    began = changed = time.monotonic()
    before: tuple[object, ...] = ()
    pause = _SHORTEST
    while True:
        pending = btrfs.being_deleted(top.fd)
        btrfs.commit(top.fd)  # it wakes the kernel's cleaner, and only with it does what that gave back become free
        free = top.free()
        if not pending or free >= wanted:
            return 0
        now = time.monotonic()
        if (pending, free) != before:
            before, changed = (pending, free), now
        if now - changed > _STILL or now - began > _PATIENCE:
            return len(pending)
        doing(f"waiting for the space of {counted(len(pending), 'deleted subvolume')}")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST)
