"""The rotation of `current`: a whole link set, made durable, takes the place of the one before."""

import contextlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager

from sysmut import btrfs, layout, toplevel
from sysmut.errors import Busy, NotSysmut, SysmutError, from_oserror
from sysmut.generations.model import State
from sysmut.generations.verify import require_sealed, require_whole
from sysmut.toplevel import TopLevel
from sysmut.values import replace


class NotDurable(SysmutError):
    """`current` names the new link set, but that is not all: the disk did not confirm it, or the boot
    menu could not be brought up to date."""


class Hindered(SysmutError):
    """What must be done before the rename cannot be done: nothing has changed."""


Around = Callable[[tuple[str, ...]], AbstractContextManager[None]]
"""What is to be done around the rename: it is given the new slots, entered when all is on disk, and left
when the rename is."""


def nothing_around(_slots: tuple[str, ...]) -> AbstractContextManager[None]:
    """Nothing is to be done."""
    return contextlib.nullcontext()


def publish(
    top: TopLevel,
    slots: tuple[str, ...],
    check: Callable[[], None] = lambda: None,
    around: Around = nothing_around,
) -> str:
    """Make `slots` the link set in force, durably, and return its id. The lock is held.

    The order was measured: everything that is named is on disk before the rename names it, and the
    rename is on disk, where the boot loader sees it, before this returns. syncfs(2) both times: an
    fsync of the directory would write btrfs's log tree, which no boot loader reads.

    `check` is called last before the rename, and may raise: then, as with any failure up to there,
    nothing has changed. A failure after it raises NotDurable.
    `around` may raise before the rename, to the same effect, and after it, when it says so itself.
    """
    _make_next(top)
    name = layout.new_id()
    path = top.at(layout.link_set(name))
    staged = top.at(f"{layout.NEXT}/{layout.CURRENT}")
    current = top.at(layout.CURRENT)
    with contextlib.ExitStack() as surroundings:
        try:
            _write(path, slots)
            _stage(staged, name)
            top.sync()
            surroundings.enter_context(around(slots))
            check()
            os.rename(staged, current)
        except BaseException:
            _take_back(top, name, staged)
            raise
        _confirm(top)
    return name


def _confirm(top: TopLevel) -> None:
    """See to it that the rename is on disk."""
    try:
        top.sync()
    except OSError as error:
        raise NotDurable(
            f"the new slot 0 is in place, but the disk did not confirm it: {from_oserror(error).message}",
            hint="see the kernel's messages (dmesg) before you rely on it",
        ) from None


def _write(path: str, slots: tuple[str, ...]) -> None:
    os.mkdir(path, 0o755)
    for number, generation in enumerate(slots):
        os.symlink(f"../../{layout.generation(generation)}", f"{path}/{number}")


def _make_next(top: TopLevel) -> None:
    """See to it that the directory `next` is there, and is one: a link would lead the new `current` elsewhere, and
    what has that name there would be deleted."""
    path = top.at(layout.NEXT)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotSysmut(
            f"`{layout.NEXT}` at the top level is not a directory", hint="move it away: one is made where none is"
        )


def _stage(staged: str, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged)  # left by a run that was cut off
    os.symlink(f"./{layout.link_set(name)}", staged)


def _take_back(top: TopLevel, name: str, staged: str) -> None:
    """Remove the link set that was not published. Whatever went wrong: never one that `current` names."""
    with contextlib.suppress(OSError):
        os.unlink(staged)
    with contextlib.suppress(OSError):
        current = os.readlink(top.at(layout.CURRENT)) if os.path.lexists(top.at(layout.CURRENT)) else ""
        path = top.at(layout.link_set(name))
        if layout.target_in(layout.CURRENT, layout.LINKS, current) != name:
            for link in os.listdir(path):
                os.unlink(f"{path}/{link}")
            os.rmdir(path)


def activate(
    top: TopLevel,
    state: State,
    generation: str,
    check: Callable[[], None] = lambda: None,
    around: Around = nothing_around,
) -> State:
    """Make a sealed, whole generation slot 0, and return the state then: the same where it is slot 0
    already and the rest is as it would be. The lock is held, and `state` was read under it."""
    after = preview(top, state, generation)
    if after.slots == state.slots:
        return state
    name = publish(top, layout.rotate(state.slots, generation), check, around)
    return replace(after, link_set=name)


def preview(top: TopLevel, state: State, generation: str) -> State:
    """The state as `activate` would make it, with what `activate` refuses."""
    with toplevel.claimed(top.at(layout.generation(generation))) as claimed:
        # One in a slot is published, even where its session has not ended yet.
        if claimed is None and generation not in state.slots:
            raise Busy(f"generation {generation} is open in a session", hint="wait for its end")
    require_sealed(top, generation)
    require_whole(top, generation)
    return replace(state, slots=layout.rotate(state.slots, generation))


def rollback_target(top: TopLevel, state: State, running: str | None) -> str | None:
    """The generation that a rollback goes to when none is named; None where a rollback is in force
    already, or there is nothing to go back to.

    It is the booted one where that was made before the one in slot 0, else the next that differs from
    slot 0. A slot that holds one made after slot 0's shows that it has been rolled back already.
    """
    first, *others = state.slots
    roots = {name: top.at(layout.root(name)) for name in state.slots if name is not None}
    ages = {name: btrfs.subvolume_id(path) for name, path in roots.items() if btrfs.is_subvolume(path)}
    candidates = [name for name in others if name in ages and name != first]
    if first not in ages:
        return running if running in candidates else next(iter(candidates), None)
    if running in candidates and ages[running] < ages[first]:
        return running
    if any(ages[name] > ages[first] for name in candidates if name is not None):
        return None
    return next(iter(candidates), None)
