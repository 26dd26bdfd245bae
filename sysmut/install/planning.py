"""Deciding all that an installation will do. Only reads; refuses what could not be finished."""

import os
import shlex

from sysmut import fstab, generations, inroot, layout
from sysmut.errors import BadData, NoSpace, UsageError
from sysmut.generations import State
from sysmut.install import commons, leftovers, remarks, source
from sysmut.install.model import DIRECTORY, KEPT, RECOMMENDED, SUBVOLUME, Common, Plan, Request, Source, Watch
from sysmut.install.view import OTHER, Tree, View
from sysmut.toplevel import TopLevel

_FSTAB = "etc/fstab"
_FOR_KERNEL = ("proc", "sys", "dev", "run", "tmp")


def existing(top: TopLevel, request: Request) -> State | None:
    """The system that is there already, and has the commons that were named; None where there is none.
    RECOMMENDED asks it for nothing: what suits a system changes with what is installed in it.

    Raises UsageError where it lacks one, and NotSysmut where it is broken.
    """
    if not os.path.lexists(top.at(layout.CURRENT)):
        return None
    state = generations.read(top)
    try:
        template = inroot.read_text(top.fd, layout.TEMPLATE)
    except FileNotFoundError:
        template = ""
    mounted = {entry.target for entry in fstab.entries(template, f"/{layout.TEMPLATE}")}
    for path in _explicit(request):
        if path not in mounted:
            if state.slots[0] is not None:  # what no system may have must not be recommended to this one
                commons.require_possible(Tree(top.at(layout.root(state.slots[0]))), path)
            name = f"{layout.COMMONS}/{layout.common_name(path)}"
            raise UsageError(
                f"already a sysmut system, in which {path} is no common; init does not change one",
                hint=f"btrfs subvolume create {name} at the top level, add its line to /fstab there, "
                "and move the data in a session",
            )
    return state


def plan(top: TopLevel, request: Request, watch: Watch) -> Plan:
    """What `execute` would do. Reads only; an archive is read from end to end.

    Raises UsageError, BadData, NoSpace, BadConfiguration: nothing is begun that cannot be finished.
    """
    asked = _explicit(request)
    _require_room_for_layout(top)
    found = source.find(top, request.source)
    _require_image_elsewhere(found, request)
    tools = source.require_tools(found, moving=bool(request.commons))
    view, size = source.view_of(top, found, watch)
    entries, text = _fstab_of(top, view)
    found, notes = _completed(top, found, size, entries, watch)
    names, distribution = _distribution(view)
    recommended = commons.recommended(view, names) if RECOMMENDED in request.commons else ()
    chosen, told = _commons(top, view, (*recommended, *asked), asked, entries)
    own = {common.path: common.subvolume for common in chosen}
    old = leftovers.find(top)
    result = Plan(
        source=found,
        commons=chosen,
        slots=request.slots,
        template=fstab.make_template(text, top.filesystem, own),
        mount_points=_mount_points(view, entries, tuple(own)),
        distribution=distribution,
        recommended=recommended,
        notes=(*notes, *told, *remarks.on(top, found, entries, tuple(own), old)),
        leftovers=old,
        min_free=request.min_free,
        tools=tools,
    )
    if not old:  # what they take is free only when they are cleared away
        require_space(top, result)
    return result


def require_space(top: TopLevel, planned: Plan) -> None:
    """Raise NoSpace unless what is to be written fits, with the floor of free space left."""
    free = top.free()
    if planned.source.size + planned.min_free > free:
        raise NoSpace(
            f"{planned.source.given} needs about {planned.source.size // 2**20 + 1} MiB, and "
            f"{planned.min_free // 2**20} MiB are to stay free; {free // 2**20} MiB are free",
            hint="make room, or take a larger disk",
        )


def _explicit(request: Request) -> tuple[str, ...]:
    """The commons that were named, each once."""
    return tuple(dict.fromkeys(commons.normal(path) for path in request.commons if path != RECOMMENDED))


def _require_room_for_layout(top: TopLevel) -> None:
    for name in (layout.SNAPSHOTS, layout.LINKS, layout.NEXT, layout.COMMONS):
        if os.path.lexists(top.at(name)) and (os.path.islink(top.at(name)) or not os.path.isdir(top.at(name))):
            raise BadData(
                f"/{name} at the top level is not a directory", hint="move it away: the layout needs the name"
            )
    if os.path.isdir(top.at(layout.TEMPLATE)):
        raise BadData(f"/{layout.TEMPLATE} at the top level is a directory", hint="move it away")


def _require_image_elsewhere(found: Source, request: Request) -> None:
    if request.image is None or found.kind != DIRECTORY:
        return
    image = os.path.realpath(request.image)
    inside = image.startswith(f"{found.path.rstrip('/')}/")
    if inside and os.stat(image).st_dev == os.stat(found.path).st_dev:
        raise UsageError(f"{request.image} lies inside the source {found.given}", hint="move it out of there")


def _fstab_of(top: TopLevel, view: View) -> tuple[tuple[fstab.Entry, ...], str]:
    """The source's own fstab: its entries and its text."""
    name = f"/{_FSTAB} of the source"
    text = view.read(_FSTAB) or ""
    entries = fstab.entries(text, name)
    try:
        generations.require_commons(top, entries, name)
    except BadData as error:
        error.hint = "mend the source's fstab first: a generation with this line would not boot"
        raise
    return entries, text


def _completed(
    top: TopLevel, found: Source, size: int, entries: tuple[fstab.Entry, ...], watch: Watch
) -> tuple[Source, tuple[str, ...]]:
    """The source with its size and what is nested in it, and what there is to tell about that."""
    inner: tuple[str, ...] = ()
    if found.kind == SUBVOLUME:
        mounted = frozenset(e.subvolume for e in entries if e.subvolume and e.target != "/" and top.owns(e.source))
        inner, left = source.nested(top, found, mounted)
    elif found.kind == DIRECTORY:
        size, left = source.measure(found, top, watch)
    else:
        left = ()
    complete = Source(found.kind, found.given, found.path, found.running, inner, found.compression, size)
    if found.kind == SUBVOLUME:
        source.require_no_swap(top, complete)
    note = f"not taken in, as it is another filesystem or subvolume: {remarks.shown(left)}"
    return complete, (note,) if left else ()


def _distribution(view: View) -> tuple[tuple[str, ...], str]:
    """The names by which the source's os-release calls it (ID and ID_LIKE), and the one for people."""
    text = view.read("etc/os-release") or view.read("usr/lib/os-release") or ""
    values = {}
    for line in text.split("\n"):
        key, separator, value = line.strip().partition("=")
        if separator and key in ("ID", "ID_LIKE", "NAME", "PRETTY_NAME"):
            try:
                values[key] = " ".join(shlex.split(value))
            except ValueError:  # an unclosed quote
                continue
    names = (values.get("ID", ""), *values.get("ID_LIKE", "").split())
    shown = values.get("PRETTY_NAME") or values.get("NAME") or values.get("ID") or "an unknown distribution"
    return names, shown


def _commons(
    top: TopLevel, view: View, paths: tuple[str, ...], asked: tuple[str, ...], entries: tuple[fstab.Entry, ...]
) -> tuple[tuple[Common, ...], tuple[str, ...]]:
    """The commons to be, outer ones first, and what there is to tell about them."""
    chosen: dict[str, Common] = {}
    notes = []
    mounted = {os.path.normpath(entry.target): entry for entry in entries}
    for path in sorted(set(paths)):
        if path in asked:
            commons.require_possible(view, path)
        if path in mounted:
            notes.append(f"{path} is no common: the source's fstab mounts {mounted[path].source} there, and that stays")
            continue
        chosen[path] = common = commons.look(top, path, moved=view.kind(path.lstrip("/")) is not None)
        if not common.moved and path in asked:
            notes.append(f"{path} is not in the source: an empty directory is made")
        if common.state == KEPT:
            notes.append(f"/{common.subvolume} has data in it already: it is kept as it is, and nothing is moved in")
    for path in chosen:
        _require_mount_point_in(top, path, tuple(chosen.values()))
    return tuple(chosen.values()), tuple(notes)


def _require_mount_point_in(top: TopLevel, path: str, chosen: tuple[Common, ...]) -> None:
    """Raise BadData where a common is to be mounted inside another that is kept as it is, and has no
    directory for it."""
    around = [common for common in chosen if path.startswith(f"{common.path}/")]
    if around and around[-1].state == KEPT:
        inner = path[len(around[-1].path) + 1 :]
        if not os.path.isdir(top.at(f"{around[-1].subvolume}/{inner}")):
            raise BadData(
                f"--common {path}: /{around[-1].subvolume} is kept as it is, and has no directory {inner} to mount on",
                hint=f"make it: mkdir -p {around[-1].subvolume}/{inner} at the top level",
            )


def _mount_points(view: View, entries: tuple[fstab.Entry, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """The directories that the root must have, since it cannot be written to later; outer ones first."""
    for path in _FOR_KERNEL:
        if view.kind(path) == OTHER:
            raise BadData(f"/{path} in the source is not a directory, and so cannot be mounted on")
    targets = [entry.target for entry in entries if entry.is_mount and entry.target != "/"]
    return tuple(sorted({*_FOR_KERNEL, *(path.strip("/") for path in (*targets, *own))}))
