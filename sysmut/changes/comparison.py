"""All that differs between two generations, or between one and the running system, as one value."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sysmut import layout, packages
from sysmut.boot import kernels
from sysmut.changes import files
from sysmut.changes.files import FileChange
from sysmut.changes.text import chosen, unified
from sysmut.config import Config
from sysmut.packages import Change
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_RUNNING = "/"
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "modified": "~", "renamed": ">", "attributes": "a"}


@frozen
class Comparison:
    """What the second has otherwise than the first."""

    before: str
    after: str | None
    """None for the running system."""
    kernels: tuple[str | None, str | None]
    packages: tuple[Change, ...]
    files: tuple[FileChange, ...]


def compare(top: TopLevel, before: str, after: str | None, config: Config) -> Comparison:
    """What generation `after` has otherwise than `before`; `after` None is the running system's root as it is now.

    Raises BadData for a generation that is not sealed, and for a package database that cannot be read.
    """
    old, new = _root(top, before), _root(top, after)
    changed = files.of_running(top, before) if after is None else files.of_generations(top, before, after)
    return Comparison(
        before,
        after,
        (kernels.label(old, config.kernel), kernels.label(new, config.kernel)),
        packages.changes(old, new),
        tuple(changed),
    )


def _root(top: TopLevel, generation: str | None) -> str:
    return _RUNNING if generation is None else top.at(layout.root(generation))


def texts(top: TopLevel, found: Comparison, paths: Sequence[str]) -> dict[str, list[str]]:
    """Path -> the lines of its unified diff, of the files that differ and are, or lie in, one of the paths."""
    if not paths:
        return {}
    old, new = _root(top, found.before), _root(top, found.after)
    renamed = {change.path: change.before for change in found.files if change.kind == "renamed"}
    shown = {
        path: [f"{path}: was {renamed[path]}, with the same content"] if path in renamed else unified(old, new, path)
        for path in chosen(found.files, paths)
    }
    return {path: lines for path, lines in shown.items() if lines}  # no lines: a directory, or attributes alone


def to_json(found: Comparison, shown: dict[str, list[str]], *, stat: bool) -> dict[str, Any]:
    """The value as JSON has it; with `stat` the numbers alone."""
    told: dict[str, Any] = {
        "version": 1,
        "before": found.before,
        "after": found.after or _RUNNING,
        "kernel": {"before": found.kernels[0], "after": found.kernels[1]},
        "stat": {
            "packages": _numbers(found.packages, ("added", "removed", "changed")),
            "files": _numbers(found.files, ("added", "removed", "modified", "renamed", "attributes")),
        },
    }
    if not stat:
        told["packages"] = [change.to_json() for change in found.packages]
        told["files"] = [change.to_json() for change in found.files]
    if shown:
        told["text"] = shown
    return told


def _numbers(changes: Sequence[Change] | Sequence[FileChange], kinds: Sequence[str]) -> dict[str, int]:
    found: Counter[str] = Counter(change.kind for change in changes)
    return {kind: found[kind] for kind in kinds}


def to_lines(found: Comparison, *, stat: bool) -> list[str]:
    """The value as a person reads it."""
    old, new = found.kernels
    lines = [f"--- {found.before}", f"+++ {found.after or 'the running system'}"]
    if old != new:
        lines.append(f"kernel: {old or 'none'} -> {new or 'none'}")
    lines.append(f"packages: {_said(_numbers(found.packages, ('added', 'removed', 'changed')))}")
    lines += [] if stat else _package_lines(found.packages)
    kinds = ("added", "removed", "modified", "renamed", "attributes")
    lines.append(f"files: {_said(_numbers(found.files, kinds))}")
    return lines + ([] if stat else [_file_line(change) for change in found.files])


def _said(numbers: dict[str, int]) -> str:
    words = {"attributes": "with other attributes"}
    return ", ".join(f"{number} {words.get(kind, kind)}" for kind, number in numbers.items() if number) or "none differ"


def _package_lines(changes: Sequence[Change]) -> list[str]:
    names = max((len(change.name) for change in changes), default=0)
    versions = max((len(", ".join(change.before)) for change in changes), default=0)
    return [
        f"{_SIGNS[change.kind]} {change.name:{names}}  {', '.join(change.before):{versions}}"
        f"{' -> ' if change.kind == 'changed' else '    '}{', '.join(change.after)}".rstrip()
        for change in changes
    ]


def _file_line(change: FileChange) -> str:
    sign = _SIGNS[change.kind]
    return f"{sign} {change.before} -> {change.path}" if change.kind == "renamed" else f"{sign} {change.path}"
