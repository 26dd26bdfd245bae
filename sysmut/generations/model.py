"""What is on disk: the link set in force, the generations, the pins; and what a user calls them."""

import os
from collections.abc import Mapping

from sysmut import inroot, layout, mounts
from sysmut.errors import NotSysmut, UsageError
from sysmut.toplevel import OVERLAY_LOWER, TopLevel
from sysmut.values import frozen

_SHOWN = 3
_SLOT_DIGITS = 3


@frozen
class State:
    """One reading of the top level."""

    link_set: str
    """The one that `current` names."""
    slots: tuple[str | None, ...]
    """The generation in each slot; None for a slot whose link leads nowhere."""
    pins: Mapping[str, str]
    """Name -> generation; a pin that leads nowhere is left out."""
    trial: str | None
    generations: frozenset[str]
    """Every directory in `snapshots/`, whatever is in it."""
    link_sets: frozenset[str]
    """Every directory in `links/`."""

    @property
    def referenced(self) -> frozenset[str]:
        """The generations that something refers to."""
        named = {*self.slots, *self.pins.values(), self.trial}
        return frozenset(name for name in named if name is not None)

    def references(self, generation: str) -> tuple[str, ...]:
        """What refers to a generation, in words."""
        found = [f"slot {number}" for number, name in enumerate(self.slots) if name == generation]
        found += [f"pin {pin}" for pin, name in self.pins.items() if name == generation]
        return tuple(found + (["trial"] if self.trial == generation else []))


def read(top: TopLevel) -> State:
    """What is on disk now. Raises NotSysmut where there is no layout, or `current` does not name a
    link set: then nothing can be said about what is needed, and nothing may be touched."""
    try:
        text = os.readlink(top.at(layout.CURRENT))
    except FileNotFoundError:
        raise NotSysmut(
            "not a sysmut system: there is no `current` at the top level", hint="make it one: sysmut init"
        ) from None
    except OSError:
        raise NotSysmut("`current` at the top level is not a symlink") from None
    name = layout.target_in(layout.CURRENT, layout.LINKS, text) or _link_set_at(top, layout.CURRENT)
    if name is None:
        raise NotSysmut(f"`current` says {text!r}, and not links/ID")
    link_sets = _directories(top.at(layout.LINKS))
    if os.path.islink(top.at(layout.link_set(name))):  # else the set that it leads to would not be in force
        raise NotSysmut(f"`current` names {layout.link_set(name)}, which is a link itself")
    generations = _directories(top.at(layout.SNAPSHOTS))
    found = _Finder(top, generations)
    return State(
        link_set=name,
        slots=_slots(top, name, found),
        pins=_pins(top, found),
        trial=found.named_by(layout.TRIAL),
        generations=generations,
        link_sets=link_sets,
    )


def _directories(path: str) -> frozenset[str]:
    """The names of the directories in `path`."""
    try:
        if os.path.islink(path):  # what it leads to may be needed by others, and in use by other names
            raise NotSysmut(f"`{os.path.basename(path)}` at the top level is a link, and not a directory")
        with os.scandir(path) as found:
            return frozenset(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    except NotADirectoryError:
        raise NotSysmut(f"`{os.path.basename(path)}` at the top level is not a directory") from None
    except FileNotFoundError:
        raise NotSysmut(
            f"not a sysmut system: there is no `{os.path.basename(path)}` at the top level",
            hint="make it one: sysmut init",
        ) from None


def _place(top: TopLevel, link: str) -> str | None:
    """Where a link leads to, by however many others, as a path from the top level; None where it leads nowhere."""
    try:
        with inroot.opened(top.fd, link) as fd:
            return os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{top.path}/")
    except OSError as error:
        if error.errno not in inroot.LEADS_NOWHERE:
            raise
        return None


def _link_set_at(top: TopLevel, link: str) -> str | None:
    """The link set that a link leads to, whatever it says."""
    parent, name = os.path.split(_place(top, link) or "")
    return name if parent == layout.LINKS else None


class _Finder:
    """From a symlink to the generation that it leads to."""

    def __init__(self, top: TopLevel, generations: frozenset[str]) -> None:
        self._top = top
        self._generations = generations

    def named_by(self, link: str) -> str | None:
        """The generation that `link`, a path from the top level, leads to, by however many links;
        None where it leads nowhere, or elsewhere."""
        try:
            text = os.readlink(self._top.at(link))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            text = ""
        name = layout.target_in(link, layout.SNAPSHOTS, text)
        if name in self._generations:
            return name
        return self._by_place(link)

    def _by_place(self, link: str) -> str | None:
        """The generation that the link leads to, or into."""
        owner = layout.owner_of(_place(self._top, link) or "")
        return owner if owner in self._generations else None


def _slots(top: TopLevel, link_set: str, found: _Finder) -> tuple[str | None, ...]:
    path = layout.link_set(link_set)
    try:
        names = os.listdir(top.at(path))
    except (FileNotFoundError, NotADirectoryError):
        raise NotSysmut(
            f"`current` names {path}, which is not there",
            hint=f"point it at a link set that is: ls {layout.LINKS} at the top level",
        ) from None
    short = (name for name in names if name.isascii() and name.isdigit() and len(name) <= _SLOT_DIGITS)
    numbers = {int(name) for name in short if name == str(int(name))}
    if not numbers:
        raise NotSysmut(f"`current` names {path}, in which there are no slots")
    return tuple(found.named_by(f"{path}/{number}") for number in range(max(numbers) + 1))


def _pins(top: TopLevel, found: _Finder) -> dict[str, str]:
    pairs = ((name, found.named_by(f"{layout.PINS}/{name}")) for name in sorted(_names_of_pins(top)))
    return {name: generation for name, generation in pairs if generation is not None}


def unresolved_pins(top: TopLevel, state: State) -> tuple[str, ...]:
    """The names in `pins/` that lead to no generation."""
    return tuple(sorted(set(_names_of_pins(top)) - set(state.pins)))


def _names_of_pins(top: TopLevel) -> list[str]:
    try:
        with inroot.opened(top.fd, layout.PINS, os.O_RDONLY | os.O_DIRECTORY) as fd:
            return os.listdir(fd)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise NotSysmut(f"`{layout.PINS}` at the top level is not a directory: what is pinned cannot be told") from None


def booted(top: TopLevel) -> str | None:
    """The generation that the running system has as its root, if that is on this filesystem; below
    an overlay too (Alpine's overlaytmpfs)."""
    for point in ("/", OVERLAY_LOWER):
        mount = mounts.mounted_at(point)
        if mount is not None and mount.fstype == "btrfs" and mount.device == top.device:
            return layout.owner_of(mount.root)
    return None


def find(state: State, name: str, running: str | None) -> str:
    """The generation that a user names by slot, id, unique beginning of an id, pin, or `booted`.

    `running` is the booted one. Raises UsageError where the name fits none, or more than one.
    """
    if name.isascii() and name.isdigit() and len(name) <= _SLOT_DIGITS:
        return _in_slot(state, int(name))
    if name == "booted":
        if running is None or running not in state.generations:
            raise UsageError("the running system's root is no generation of this filesystem")
        return running
    for known in ({name: name} if name in state.generations else {}, state.pins):
        if name in known:
            return known[name]
    matches = sorted(known for known in state.generations if name and known.startswith(name))
    if len(matches) == 1:
        return matches[0]
    if matches:
        more = f" and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
        raise UsageError(
            f"{len(matches)} generations begin with {name!r}: {', '.join(matches[:_SHOWN])}{more}",
            hint="write more of the id",
        )
    raise UsageError(f"no generation is named {name!r}", hint="give a slot, an id, or a pin: sysmut status")


def _in_slot(state: State, number: int) -> str:
    if number >= len(state.slots):
        raise UsageError(f"there is no slot {number}", hint=f"the slots are 0 to {len(state.slots) - 1}")
    generation = state.slots[number]
    if generation is None:
        raise UsageError(f"slot {number} leads nowhere: its generation is gone", hint="sysmut status shows the slots")
    return generation
