"""What will be different once another generation is slot 0."""

from typing import Any

from sysmut import fstab, inroot, layout, packages
from sysmut.boot import kernels
from sysmut.changes.files import FileChange, of_etc
from sysmut.config import Config
from sysmut.errors import BadData, SysmutError, from_oserror
from sysmut.packages import Change, tally
from sysmut.text import counted
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_SHOWN = 5


@frozen
class Impact:
    """What one generation has otherwise than another."""

    before: str
    after: str
    kernels: tuple[str | None, str | None]
    """What each boots."""
    packages: tuple[Change, ...]
    etc: tuple[FileChange, ...]
    """The files of /etc that differ; paths from the root."""
    commons: tuple[str, ...]
    """Where the commons are mounted, which stay as they are."""
    unknown: tuple[str, ...] = ()
    """What could not be found out, and why."""


def impact(top: TopLevel, before: str, after: str, config: Config) -> Impact:
    """What will be different when `after` is slot 0 in the place of `before`. What cannot be found out is told in
    the value: it is no reason not to go back."""
    old, new = top.at(layout.root(before)), top.at(layout.root(after))
    unknown = []
    changed: tuple[Change, ...] = ()
    files: tuple[FileChange, ...] = ()
    labels: tuple[str | None, str | None] = (None, None)
    try:
        labels = (kernels.label(old, config.kernel), kernels.label(new, config.kernel))
        files = tuple(of_etc(top, before, after))
        changed = packages.changes(old, new)
    except (BadData, OSError) as error:
        problem: SysmutError = from_oserror(error) if isinstance(error, OSError) else error
        unknown.append(layout.shown(problem.message))
    return Impact(before, after, labels, changed, files, _commons(new), tuple(unknown))


def _commons(root: str) -> tuple[str, ...]:
    try:
        entries = fstab.entries(inroot.read_text(root, "etc/fstab"), "etc/fstab")
    except (BadData, OSError):  # which is told where the generation is looked at before it is activated
        return ()
    return tuple(e.target for e in entries if e.target != "/" and (e.subvolume or "").startswith(f"{layout.COMMONS}/"))


def to_json(found: Impact) -> dict[str, Any]:
    """The value as JSON has it."""
    return {
        "before": found.before,
        "after": found.after,
        "kernel": {"before": found.kernels[0], "after": found.kernels[1]},
        "packages": [change.to_json() for change in found.packages],
        "etc": [change.to_json() for change in found.etc],
        "commons": list(found.commons),
        "unknown": list(found.unknown),
    }


def to_lines(found: Impact) -> list[str]:
    """The value as a person reads it."""
    lines = [f"slot 0 will be {found.after} in the place of {found.before}:"]
    old, new = found.kernels
    if old != new:
        lines.append(f"  kernel    {old or 'none'} -> {new or 'none'}")
    if found.packages:
        lines.append(f"  packages  {tally(found.packages)}: {_some([str(change) for change in found.packages])}")
    if found.etc:
        lines.append(f"  /etc      {counted(len(found.etc), 'path')}: {_some([change.path for change in found.etc])}")
    lines += [f"  (what else is different could not be told: {problem})" for problem in found.unknown]
    if len(lines) == 1:
        lines.append("  kernel, packages and /etc are the same; other files may differ")
    if found.commons:
        lines.append(f"  {', '.join(found.commons)}: stay as they are, for commons do not go back")
    return [*lines, f"  all of it: sysmut diff {found.before} {found.after}"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
