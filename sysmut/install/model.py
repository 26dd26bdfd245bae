"""The values of an installation: what is asked for, what is found, what is to be done."""

from collections.abc import Callable
from typing import Any

from sysmut import layout
from sysmut.signals import Interrupts
from sysmut.values import frozen

SUBVOLUME = "subvolume"
DIRECTORY = "directory"
ARCHIVE = "archive"

NEW = "new"
EMPTY = "empty"
KEPT = "kept"

RECOMMENDED = "recommended"
"""The word that stands for the commons that suit the distribution."""


@frozen
class Request:
    """What the user asks for."""

    source: str | None
    """A path, or `subvol=PATH` from the top level; None for the running root."""
    commons: tuple[str, ...] = ()
    """Mount points, and RECOMMENDED."""
    slots: int = layout.DEFAULT_SLOTS
    min_free: int = 0
    """Bytes that must be left free."""
    image: str | None = None
    """The disk image that the top level is in."""


@frozen
class Watch:
    """How the caller follows what takes long, and ends it."""

    interrupts: Interrupts
    progress: Callable[[str], None] = lambda _doing: None
    """Called again and again with what is being done."""

    def tick(self, doing: str) -> None:
        """Tell what is being done. Raises Interrupted if a signal has come."""
        self.interrupts.check()
        self.progress(doing)


@frozen
class Source:
    """Where the first generation comes from."""

    kind: str
    """SUBVOLUME (of this filesystem, to be snapshotted), DIRECTORY or ARCHIVE (to be copied)."""
    given: str
    """As the user named it."""
    path: str
    """Of a SUBVOLUME from the top level (empty: the top level itself), else on the host."""
    running: bool = False
    """It is the running system's root."""
    nested: tuple[str, ...] = ()
    """Of a SUBVOLUME: the subvolumes in it that are snapshotted too, outer ones first."""
    compression: str = ""
    """Of an ARCHIVE: the program that it is compressed with."""
    size: int = 0
    """Bytes that will be written, as far as one can tell."""


@frozen
class Common:
    """A subvolume that no generation owns."""

    path: str
    """Its mount point."""
    state: str
    """NEW, or there already: EMPTY, or KEPT with the data in it."""
    moved: bool
    """What the source has there is moved in."""

    @property
    def subvolume(self) -> str:
        """Its path from the top level."""
        return f"{layout.COMMONS}/{layout.common_name(self.path)}"


@frozen
class Tools:
    """The programs that copy: paths, empty where not needed."""

    cp: str = ""
    tar: str = ""


@frozen
class Plan:
    """What would be done."""

    source: Source
    commons: tuple[Common, ...]
    """Outer ones first."""
    slots: int
    template: str
    """The text of the template."""
    mount_points: tuple[str, ...]
    """Directories that a read-only root must have."""
    distribution: str
    """The name that the source gives itself."""
    recommended: tuple[str, ...]
    """The commons that RECOMMENDED stood for."""
    notes: tuple[str, ...]
    """What the user should know."""
    leftovers: tuple[str, ...]
    """Paths from the top level of what a run that was cut off has left: cleared away first."""
    min_free: int
    tools: Tools


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON has it."""
    return {
        "source": {"kind": plan.source.kind, "name": plan.source.given, "size_bytes": plan.source.size},
        "distribution": plan.distribution,
        "commons": [
            {"path": common.path, "subvolume": common.subvolume, "state": common.state, "moved": common.moved}
            for common in plan.commons
        ],
        "number_of_slots": plan.slots,
        "template": plan.template,
        "notes": list(plan.notes),
    }


def to_lines(plan: Plan) -> list[str]:
    """The plan as a person reads it."""
    lines = [f"source      {plan.source.given}: {_how(plan.source)}"]
    lines += [f"common      {common.path} on {common.subvolume}: {_what(common)}" for common in plan.commons]
    lines += [f"slots       {plan.slots}, all on the first generation", "template    /fstab:"]
    lines += [f"  {line}" for line in plan.template.rstrip("\n").split("\n")]
    lines += [f"clear away  {path}, left by a run that was cut off" for path in plan.leftovers]
    return lines + [f"note: {note}" for note in plan.notes]


def _how(source: Source) -> str:
    if source.kind != SUBVOLUME:
        program = f", {source.compression}" if source.compression else ""
        return f"{source.kind}{program}, copied, about {max(1, source.size // 2**20)} MiB"
    count = len(source.nested)
    inner = f", with {count} subvolume{'' if count == 1 else 's'} in it" if count else ""
    name = f"/{source.path}" if source.path else "the top level itself"
    return f"subvolume {name}{inner}, snapshotted"


def _what(common: Common) -> str:
    if common.state == KEPT:
        return "there already, and kept as it is"
    made = "new" if common.state == NEW else "there already, empty"
    return f"{made}; what the source has there is moved in" if common.moved else made
