"""A mutation, from snapshot to published or discarded.

A generation is discarded unless this room gets as far as publishing it. There are two exceptions,
both named to the user: one that was overtaken is sealed and can be activated, and one that failed
under `keep_failed` is left to be looked at.
"""

import errno
import os
import signal
import time
from typing import Any

from sysmut import btrfs, compare, fstab, generations, inroot, layout, sandbox, toplevel
from sysmut.boot import sealing
from sysmut.config import Config
from sysmut.errors import BadData, Busy, NoSpace, ScriptFailed, SysmutError, from_oserror
from sysmut.generations import Draft, Hindered, NotDurable, State
from sysmut.session import held, recording
from sysmut.session.environment import Program, command
from sysmut.session.looking import look
from sysmut.session.mounts import MADE_HERE, session_mounts
from sysmut.session.request import Request, Result
from sysmut.signals import Interrupts
from sysmut.toplevel import TopLevel
from sysmut.values import frozen, replace

__all__ = ["Program", "Request", "Result", "look", "mutate"]

TIMED_OUT = 124
"""The exit status for a script that took too long, as timeout(1) has it."""

_FSTAB = "etc/fstab"

_RECLAIM = 0.5
"""Seconds for which btrfs may take its time to give back what was deleted."""


def mutate(top: TopLevel, config: Config, request: Request, interrupts: Interrupts) -> Result:
    """Make a generation from the one that the request names, run the program in it, publish it.

    Raises ScriptFailed for a program that failed, Busy where another session published first,
    Interrupted for a signal, and the rest of the family; `current` is as before then. The one
    exception is NotDurable, which says so.
    """
    draft = Draft(top, layout.new_id())
    began = time.time()
    try:
        with draft:
            with toplevel.locked(top, interrupts.check):
                state = generations.read(top)
                template = _read_template(top)
                booted = generations.booted(top)
                source = generations.find(state, request.source, booted)
                if request.program.is_shell:
                    sandbox.require_terminal()
                _require_space(top, config.min_free, "before the session")
                draft.create()
                draft.copy(source)
            result = _carry_out(draft, _Plan(config, request, source, state, template, booted, began), interrupts)
    except OSError as error:
        raise _told(draft, request, began, from_oserror(error)) from None
    except SysmutError as error:
        raise _told(draft, request, began, error) from None
    _note(draft, request, began, "published" if result.published else "unchanged", source=result.source, status=0)
    return result


def _note(draft: Draft, request: Request, began: float, event: str, **facts: Any) -> None:
    tell = request.announce if facts["status"] == 0 else request.say  # a failure has its own line, and one is enough
    recording.note(draft, request.program, request.description, began, event, tell, **facts)


def _told(draft: Draft, request: Request, began: float, error: SysmutError) -> SysmutError:
    """The error, with what became of the generation, which is written down too."""
    if draft.created:
        event = "published" if isinstance(error, NotDurable) else "kept" if draft.kept else "discarded"
        _note(draft, request, began, event, status=error.status, reason=layout.shown(error.message))
    if draft.kept:
        error.generation = draft.id
        return error
    if draft.left_behind is not None:
        fate = f"the new generation was not removed: {draft.left_behind.message}"
    elif draft.created:
        fate = "the new generation was discarded, and the slots are as before"
    else:
        return error
    error.hint = f"{error.hint}; {fate}" if error.hint else fate
    return error


@frozen
class _Plan:
    """What is settled once the generation is there."""

    config: Config
    request: Request
    source: str
    state: State
    template: str
    booted: str | None
    began: float
    """Seconds since 1970."""


def _read_template(top: TopLevel) -> str:
    name = f"/{layout.TEMPLATE}"
    try:
        text = inroot.read_text(top.fd, layout.TEMPLATE)
    except FileNotFoundError:
        raise BadData(
            f"{name}: there is no template at the top level",
            hint=f"write one: the fstab of a generation, with {layout.PLACEHOLDER} for its path",
        ) from None
    fstab.check_template(text, name)
    generations.require_commons(top, fstab.entries(text, name), name)
    return text


def _require_space(top: TopLevel, floor: int, when: str) -> None:
    free = top.free()
    deadline = time.monotonic() + _RECLAIM
    while free < floor and time.monotonic() < deadline:
        btrfs.commit(top.fd)  # what was deleted a moment ago (by syscln, or a session that failed) is free soon
        time.sleep(0.05)
        free = top.free()
    if free < floor:
        raise NoSpace(
            f"{free // 2**20} MiB are free {when}, fewer than the {floor // 2**20} MiB of min_free",
            hint="make room: run syscln, or remove what is not needed",
        )


def _carry_out(draft: Draft, plan: _Plan, interrupts: Interrupts) -> Result:
    try:
        _run(draft, plan, interrupts)
        if plan.request.drop_if_unchanged and _unchanged(draft, plan.source):
            return Result(draft.id, plan.source, False, plan.state, plan.booted)
        _require_space(draft.top, plan.config.min_free, "after the session")
        generations.require_whole(draft.top, draft.id)
        _require_bootable(draft, plan)
        interrupts.check()
        draft.seal(_record(draft, plan))
        return _publish(draft, plan, interrupts)
    except (SysmutError, OSError):
        # What is kept for another reason has been named by it.
        if plan.request.keep_failed and not draft.kept:
            draft.kept = True
            plan.request.announce(
                f"kept for inspection, until syscln removes it: {layout.generation(draft.id)} at the top level"
            )
        raise


def _run(draft: Draft, plan: _Plan, interrupts: Interrupts) -> None:
    """Prepare the new generation, run the program in it, and see to it that it succeeded."""
    text = fstab.instantiate(plan.template, f"/{layout.generation(draft.id)}")
    found = fstab.entries(text, f"/{layout.TEMPLATE}")
    _prepare(draft, text, fstab.mount_points(found, MADE_HERE))
    slot = plan.state.slots.index(plan.source) if plan.source in plan.state.slots else None
    facts = {
        "SYSMUT_GENERATION": draft.id,
        "SYSMUT_SOURCE": plan.source,
        "SYSMUT_SLOT": "" if slot is None else str(slot),
    }
    mounts = session_mounts(draft.top, plan.config, found, plan.request.say)
    task = command(plan.request.program, plan.config, draft.root, facts, mounts, plan.request.timeout)
    interrupts.check()
    if task.interactive:
        plan.request.announce(f"generation {draft.id}, from {plan.source}")
        plan.request.announce("exit 0 publishes it, exit 1 discards it; a bare exit is as the last command's status")
    log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) if task.interactive else draft.open_log()
    swaps = held.swaps()
    task = replace(task, release=lambda: held.release(draft.root, swaps))
    try:
        outcome = sandbox.run(task, draft.root, plan.request.outputs, log, interrupts)
    finally:
        os.close(log)
        left = held.released(draft.root, swaps)  # the generation of a session that failed goes in any case
    if outcome.timed_out:
        raise ScriptFailed(f"timed out after {plan.request.timeout:g} s", status=TIMED_OUT)
    if outcome.status:
        raise ScriptFailed(_why(plan.request.program, outcome.status), status=outcome.status)
    if left is not None:
        raise left
    if outcome.held:
        raise held.still_held(draft.root)


def _prepare(draft: Draft, text: str, directories: tuple[str, ...]) -> None:
    """Write the generation's fstab, and make the mount points that it lacks."""
    path = _FSTAB
    try:
        inroot.replace(draft.root, path, text)
        with inroot.opened_root(draft.root) as root:
            for path in directories:
                if inroot.status(root, path) is None:
                    inroot.make_directory(root, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadData(f"{layout.root(draft.id)}/{path}: cannot be written: {error.strerror}") from None


def _why(program: Program, status: int) -> str:
    meaning = f" (as by signal {status - 128})" if 128 < status < 128 + signal.NSIG else ""
    return f"{program.name} ended with status {status}{meaning}"


def _unchanged(draft: Draft, source: str) -> bool:
    names = generations.subvolumes(draft.top, draft.id)
    before = draft.top.at(layout.generation(source))
    try:
        if names != generations.subvolumes(draft.top, source):
            return False
        return all(compare.same(f"{before}/{name}", f"{draft.path}/{name}") for name in names)
    except (OSError, BadData):
        if os.path.exists(f"{before}/{layout.ROOT}/."):
            raise
        return False  # the source was collected meanwhile: what cannot be compared may have changed


def _require_bootable(draft: Draft, plan: _Plan) -> None:
    """Mend what can be mended of the new generation, and see to it that it would boot, unless forced."""
    for path in sealing.mend(draft.top, draft.id, plan.config):
        plan.request.announce(f"/{path} was written anew: the boot loader could not have read it as it was")
    found = sealing.examine(draft.top, draft.id, plan.source, plan.config)
    sealing.verdict(found, force=plan.request.force, say=plan.request.announce)


def _record(draft: Draft, plan: _Plan) -> generations.Record:
    request = plan.request
    return recording.record(
        draft, plan.source, request.source, request.program, request.description, plan.began, plan.config, request.say
    )


def _publish(draft: Draft, plan: _Plan, interrupts: Interrupts) -> Result:
    with toplevel.locked(draft.top, interrupts.check):
        now = generations.read(draft.top)
        if not draft.still_there():
            raise Busy("the generation was removed by another program while the session was open")
        generations.require_sealed(draft.top, draft.id)
        if now.link_set != plan.state.link_set:
            draft.kept = True
            raise Busy(
                f"another session published first; generation {draft.id} is sealed and kept, not in a slot",
                hint=f"take it before syscln does: sysmut activate {draft.id}; or run the session again",
            )
        slots = layout.rotate(now.slots if plan.config.slots is None else _resized(now, plan.config.slots), draft.id)
        try:
            name = generations.publish(draft.top, slots, interrupts.check, plan.request.around(draft.top, now))
        except NotDurable:
            draft.kept = True
            raise
        except Hindered as error:
            draft.kept = True
            kept = f"generation {draft.id} is sealed and kept, not in a slot: sysmut activate {draft.id}"
            error.hint = f"{error.hint}; {kept}" if error.hint else kept
            raise
        draft.kept = True
        return Result(draft.id, plan.source, True, replace(now, link_set=name, slots=slots), plan.booted)


def _resized(state: State, number: int) -> tuple[str | None, ...]:
    return (state.slots + (None,) * number)[:number]
