"""Doing what a plan says, so that either all of it is there in the end, or nothing."""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from sysmut import fstab, generations, history, inroot, layout, toplevel
from sysmut.boot import kernels
from sysmut.errors import Busy, NoSpace, SysmutError, from_oserror
from sysmut.generations import Draft, NotDurable, Record, State
from sysmut.install import leftovers, populating
from sysmut.install.model import Plan, Watch
from sysmut.install.planning import require_space
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_FSTAB = "etc/fstab"
_OLD_TEMPLATE = "fstab.old"
_PATIENCE = 5.0


@frozen
class Result:
    """What was made."""

    generation: str
    state: State
    old_template: str | None
    """Where a template that was there before is kept, from the top level."""


class Undo:
    """Steps that take back what was made, latest first; run where its context ends in an error."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []

    def add(self, step: Callable[[], None]) -> None:
        """Have `step` done if the work fails."""
        self._steps.append(step)

    def forget(self) -> None:
        """All went well."""
        self._steps.clear()

    def __enter__(self) -> "Undo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for step in reversed(self._steps):
            try:
                step()
            except OSError as problem:
                if isinstance(error, SysmutError):
                    what = f"not removed: {from_oserror(problem).message}; a later init does it"
                    error.hint = f"{error.hint}; {what}" if error.hint else what


def execute(top: TopLevel, plan: Plan, watch: Watch) -> Result:
    """Make the layout, the first generation and the commons, and publish.

    Whatever fails, and a signal up to the last step, leaves the filesystem as it was. Raises
    NotDurable, with all in place, where the disk did not confirm it.
    """
    began = time.time()
    watch.interrupts.check()
    with contextlib.ExitStack() as stack:
        stack.callback(_settle, top)
        made = _make_directories(top)
        stack.enter_context(_alone(top))
        undo = stack.enter_context(Undo())
        for path in made:
            undo.add(functools.partial(os.rmdir, path))
        _require_nothing(top)
        # Found anew: one that was half made when the plan was may be sealed by now, and in force.
        leftovers.clear(top, leftovers.find(top))
        _await_space(top, plan, watch)
        draft = stack.enter_context(Draft(top, layout.new_id()))
        undo.add(functools.partial(_require_removed, draft))
        return _make(draft, plan, watch, undo, began)


def _settle(top: TopLevel) -> None:
    """Have the space of what was deleted free for the next attempt. Nothing depends on it."""
    with contextlib.suppress(OSError):
        top.sync()


def _await_space(top: TopLevel, plan: Plan, watch: Watch) -> None:
    """Raise NoSpace unless there is room; what was just deleted takes a moment to be free."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        watch.tick("making room")
        try:
            return require_space(top, plan)
        except NoSpace:
            if time.monotonic() > deadline or not plan.leftovers:
                raise
        top.sync()
        time.sleep(0.05)


def _require_removed(draft: Draft) -> None:
    """Raise OSError where a draft that failed could not be removed."""
    if draft.left_behind is not None:
        raise OSError(draft.left_behind.message)


def _make_directories(top: TopLevel) -> list[str]:
    """Make the directories of the layout that are missing; their paths."""
    made: list[str] = []
    try:
        for name in (layout.SNAPSHOTS, layout.LINKS, layout.NEXT, layout.COMMONS):
            with contextlib.suppress(FileExistsError):
                os.mkdir(top.at(name), 0o755)
                made.append(top.at(name))
                os.chmod(top.at(name), 0o755)  # whatever the umask is
    except OSError:
        for path in made:
            os.rmdir(path)
        raise
    return made


@contextlib.contextmanager
def _alone(top: TopLevel) -> Iterator[None]:
    """Hold a lock that keeps other installations out, flock(2) on `commons/`; the filesystem's own is
    for moments only. Raises Busy where another has it."""
    path = top.at(layout.COMMONS)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not toplevel.try_lock(fd) or not toplevel.still_there(fd, path):
            raise Busy("another sysmut init is at work on this filesystem", hint="wait for its end")
        yield
    finally:
        os.close(fd)


def _make(draft: Draft, plan: Plan, watch: Watch, undo: Undo, began: float) -> Result:
    top, check = draft.top, watch.interrupts.check
    with toplevel.locked(top, check):
        _require_nothing(top)
        draft.create()
    draft.write(_record(draft, plan, began, ended=False))
    populating.fill(draft, plan, watch)
    text = fstab.instantiate(plan.template, f"/{layout.generation(draft.id)}")
    with inroot.opened_root(draft.root) as root:
        populating.make_mount_points(root, plan.mount_points)
        inroot.replace(root, _FSTAB, text)
        staged = populating.move_commons(top, root, plan, watch, undo.add)
    watch.tick("writing all to the disk")
    top.sync()  # a common that has its name must be whole, after a power cut too
    with toplevel.locked(top, check):
        _require_nothing(top)
        check()
        for common in staged:
            populating.put_in_place(top, common, undo.add)
        old = _write_template(top, plan.template, undo)
        generations.require_whole(top, draft.id)
        draft.seal(_record(draft, plan, began, ended=True))
        try:
            generations.publish(top, (draft.id,) * plan.slots, check)
        except NotDurable:
            draft.kept = True
            undo.forget()
            raise
        draft.kept = True
        undo.forget()
        history.note(top, "taken in", watch.tick, generation=draft.id, command=(leftovers.VERB, plan.source.given))
        return Result(draft.id, generations.read(top), old)


def _require_nothing(top: TopLevel) -> None:
    if os.path.lexists(top.at(layout.CURRENT)):
        raise Busy("meanwhile this has become a sysmut system by other hands", hint="see: sysmut status")


def _record(draft: Draft, plan: Plan, began: float, *, ended: bool) -> Record:
    return Record(
        generation=draft.id,
        source=None,
        slot=None,
        command=(leftovers.VERB, plan.source.given),
        began=layout.timestamp(began),
        ended=layout.timestamp(time.time()) if ended else "",
        user=history.user(),
        kernel=kernels.label(draft.root, None) if ended else None,
    )


def _write_template(top: TopLevel, text: str, undo: Undo) -> str | None:
    """Write the template. One that is there and says something else is kept under another name,
    which is returned."""
    place, old = top.at(layout.TEMPLATE), top.at(_OLD_TEMPLATE)
    if not os.path.lexists(place):
        undo.add(lambda: os.unlink(place))
        inroot.replace(top.fd, layout.TEMPLATE, text)
        return None
    if os.path.isfile(place) and not os.path.islink(place) and inroot.read_text(top.fd, layout.TEMPLATE) == text:
        return None
    os.rename(place, old)
    undo.add(lambda: os.rename(old, place))
    inroot.replace(top.fd, layout.TEMPLATE, text)
    return _OLD_TEMPLATE
