"""The deleting, and the second guard: what is in use at that moment stays, whatever the plan says."""

import errno
import os
import time
from collections.abc import Callable

from sysmut import btrfs, generations, layout, toplevel
from sysmut.cleanup.model import OPEN, Plan, Report, uses
from sysmut.errors import SysmutError, from_oserror
from sysmut.generations import Use, in_use
from sysmut.toplevel import TopLevel

_FRESH = 0.05
"""Seconds for which a look at every process's mounts counts as of this moment."""


def execute(top: TopLevel, planned: Plan, doing: Callable[[str], None] = lambda _: None) -> Report:
    """Delete what the plan says may go. The lock is held, and the plan was made under it.

    What turns out to be in use is kept; what cannot be deleted is reported, and the rest goes on.
    One sync at the end, if anything was done. `doing` is told what is being done.
    """
    report = Report(reasons={verdict.generation: verdict.reasons for verdict in planned.verdicts})
    guard = _Guard(top)
    doomed = planned.doomed
    for number, name in enumerate(doomed, 1):
        doing(f"deleting {number} of {len(doomed)} generations")
        try:
            with toplevel.claimed(top.at(layout.generation(name))) as claimed:
                subvolumes = planned.subvolumes.get(name, ())
                if claimed is None:
                    report.kept.append((name, OPEN))
                elif reason := guard.reason(name, subvolumes):
                    report.kept.append((name, reason))
                else:
                    _delete(top, name, subvolumes, claimed, report)
        except OSError as error:
            if os.path.lexists(top.at(layout.generation(name))):  # else somebody else removed it
                report.failed.append((name, _explained(error)))
    for name in planned.link_sets:
        try:
            _remove_link_set(top, name, report)
        except OSError as error:
            report.failed.append((layout.link_set(name), from_oserror(error)))
    if report.deleted or report.link_sets:
        doing("writing it to the disk")
        btrfs.commit(top.fd)  # as syncfs(2), which sets nobody to giving back the space: that took half a minute
    return report


class _Guard:
    """The second guard: what is in use now."""

    def __init__(self, top: TopLevel) -> None:
        self._top = top
        self._use = Use({}, {})
        self._looked = float("-inf")

    def reason(self, name: str, subvolumes: tuple[tuple[str, int], ...]) -> str | None:
        """Why the generation must stay, or None."""
        if time.monotonic() - self._looked > _FRESH:
            self._use = in_use(self._top)
            self._looked = time.monotonic()
        return next(uses(name, subvolumes, self._use), None)


def _delete(top: TopLevel, name: str, subvolumes: tuple[tuple[str, int], ...], directory: int, report: Report) -> None:
    alone = len(subvolumes) == 1 and subvolumes[0][0] == layout.ROOT
    others = generations.remove(top, name, plain=directory if alone else -1)
    if subvolumes or not others:
        report.deleted.append(name)
    if others:
        report.kept.append((name, f"its directory holds what is not sysmut's: {', '.join(sorted(others)[:3])}"))


def _remove_link_set(top: TopLevel, name: str, report: Report) -> None:
    path = top.at(layout.link_set(name))
    with os.scandir(path) as found:
        links = [entry.path for entry in found if entry.is_symlink()]
    for link in links:
        os.unlink(link)
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        report.kept.append((layout.link_set(name), "it holds what is not sysmut's"))
    else:
        report.link_sets.append(name)


def _explained(error: OSError) -> SysmutError:
    failure = from_oserror(error)
    if error.errno == errno.EPERM:
        failure.hint = (
            "it is being sent, holds an active swap file, or is the filesystem's default subvolume: "
            "btrfs subvolume get-default tells"
        )
    return failure
