"""Pins: names that keep a generation, and by which the boot menu offers it."""

import os
import re
import stat

from sysmut import inroot, layout, toplevel
from sysmut.errors import BadData, Busy, NotSysmut, UsageError
from sysmut.generations.model import State, unresolved_pins
from sysmut.generations.verify import require_sealed
from sysmut.toplevel import TopLevel
from sysmut.values import replace

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+@~-]{0,63}"
"""What can stand in a path, in a boot menu and in a kernel's command line, and is no option."""

_OTHER = "take another name"


def pin(top: TopLevel, state: State, generation: str, name: str) -> State:
    """Pin a sealed generation by this name, durably; the state then, which is the same where that was so
    already. The lock is held, and `state` was read under it.

    Raises UsageError for a name that means something else, Busy for a generation that is open in a session.
    """
    _require_name(state, generation, name)
    if state.pins.get(name) == generation:
        return state
    if name in state.pins or name in unresolved_pins(top, state):
        raise UsageError(
            f"there is a pin {name} already, of {state.pins.get(name, 'a generation that is gone')}",
            hint=f"take it away first: sysmut unpin {name}",
        )
    with toplevel.claimed(top.at(layout.generation(generation))) as claimed:
        if claimed is None and not state.references(generation):
            raise Busy(f"generation {generation} is open in a session", hint="wait for its end")
    require_sealed(top, generation)
    _make_directory(top)
    with inroot.opened(top.fd, layout.PINS, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.symlink(f"../{layout.generation(generation)}", name, dir_fd=fd)
    top.sync()
    return replace(state, pins=dict(sorted({**state.pins, name: generation}.items())))


def unpin(top: TopLevel, state: State, name: str) -> State:
    """Take a pin away, durably, also one that leads nowhere; the state then. The lock is held, and `state` was
    read under it. Raises UsageError where there is no such pin."""
    if name not in state.pins and name not in unresolved_pins(top, state):
        known = ", ".join(state.pins)
        raise UsageError(f"there is no pin {name!r}", hint=f"the pins are: {known}" if known else "there are none")
    with inroot.opened(top.fd, layout.PINS, os.O_RDONLY | os.O_DIRECTORY) as fd:
        if not stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            raise BadData(f"/{layout.PINS}/{name} is not a link", hint="it is not sysmut's: remove it by hand")
        os.unlink(name, dir_fd=fd)
    top.sync()
    return replace(state, pins={pin: named for pin, named in state.pins.items() if pin != name})


def _require_name(state: State, generation: str, name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"a pin cannot be called {name!r}",
            hint="take up to 64 letters, digits and . _ + @ ~ -, a letter or digit first",
        )
    if name == "booted" or (name.isdigit() and len(name) <= 3):
        raise UsageError(f"a pin cannot be called {name!r}, which names something else", hint=_OTHER)
    if name in state.generations and name != generation:
        raise UsageError(
            f"a pin cannot be called {name}, which is the id of another generation", hint="take another name"
        )


def _make_directory(top: TopLevel) -> None:
    """See to it that `pins` is a directory: links in what it leads to would be relative to that."""
    path = top.at(layout.PINS)
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotSysmut(
                f"`{layout.PINS}` at the top level is not a directory", hint="move it away: one is made where none is"
            ) from None
