"""The cases: what is measured, by whom, and how one sees that it was done."""

from collections.abc import Callable

from tests.bench.measuring import Case, Contender, RunFailed
from tests.bench.programs import (
    BARE,
    PEER,
    PYTHON,
    SHELL,
    SYSMUT,
    C,
    Programs,
    on_stage,
    session_words,
    start_up,
)
from tests.bench.snapper import Snapper
from tests.bench.stage import Stage

_TYPED = "exec /bin/true\n"
"""What a peer's shell is told. It becomes the program, as one process."""

_MANY = 1_000
"""So many at most are deleted by whoever needs a process for each."""

_FEW = 100
"""With so many at most, each system call is counted."""


def session(stage: Stage, programs: Programs, snapper: Snapper | None, name: str, title: str) -> Case:
    """A session with /bin/true."""

    def published() -> None:
        slots = stage.slots
        if slots[0] in stage.base or slots[1:] != list(stage.base[:3]) or not stage.is_sealed(slots[0]):
            raise RunFailed(f"a session was run, and the slots are {slots}")
        stage.restore()

    contenders = [
        on_stage(SYSMUT, stage, lambda: programs.sysmut(stage, "run", "--", "/bin/true"), published),
        on_stage(PYTHON, stage, lambda: programs.floor("session", stage, *session_words(stage)), published),
        on_stage(SHELL, stage, lambda: programs.shell("session", stage, *session_words(stage)), published),
    ]
    if programs.has_compiler:
        command = programs.compiled
        contenders.append(on_stage(C, stage, lambda: command("session", stage, *session_words(stage)), published))
    if programs.peer_sysmut is not None:
        peer = programs.peer(programs.peer_sysmut, stage)
        contenders.append(on_stage(PEER, stage, lambda: peer, published, typed=_TYPED))
    if snapper is not None:
        contenders.append(snapper.contender(("create", "--description", "a week"), 4, 5))
    return Case(name, title, contenders)


def usage(programs: Programs) -> Case:
    """`sysmut --help`."""
    return Case("help", "`sysmut --help`", [Contender(SYSMUT, programs.help), start_up()])


def status(stage: Stage, programs: Programs) -> Case:
    """`sysmut status`."""
    contenders = [
        on_stage(SYSMUT, stage, lambda: programs.sysmut(stage, "status")),
        on_stage(PYTHON, stage, lambda: programs.floor("look", stage)),
        on_stage(SHELL, stage, lambda: programs.shell("status", stage)),
        start_up(),
    ]
    return Case("status", "`sysmut status`", contenders)


def listing(stage: Stage, programs: Programs, snapper: Snapper | None) -> Case:
    """`sysmut list`."""
    contenders = [
        on_stage(SYSMUT, stage, lambda: programs.sysmut(stage, "list")),
        on_stage(PYTHON, stage, lambda: programs.floor("look", stage, "records")),
        on_stage(SHELL, stage, lambda: programs.shell("list", stage)),
        start_up(),
    ]
    if snapper is not None:
        contenders.append(snapper.contender(("list", "--disable-used-space"), 4, 4))
    return Case("list", "`sysmut list`", contenders)


def activation(stage: Stage, programs: Programs) -> Case:
    """`sysmut activate 1`, put back each time, so that it alternates between two."""

    def activated() -> None:
        first, second, *others = stage.base
        if stage.slots != [second, first, *others]:
            raise RunFailed(f"slot 1 was activated, and the slots are {stage.slots}")
        stage.put_back_links()

    contenders = [
        on_stage(SYSMUT, stage, lambda: programs.sysmut(stage, "activate", "1"), activated),
        on_stage(PYTHON, stage, lambda: programs.floor("activate", stage, stage.new_id()), activated),
        on_stage(SHELL, stage, lambda: programs.shell("activate", stage, stage.new_id()), activated),
    ]
    return Case("activate", "`sysmut activate`, alternating between two", contenders)


def collection(
    stage: Stage, programs: Programs, snapper: Snapper | None, count: int, most: int | None = None, *,
    links: bool = False,
) -> Case:  # fmt: skip
    """`syscln` with so many generations to delete; with a link set for each, if wanted, as sessions leave it."""

    def collector(name: str, command: Callable[[], list[str]], *, records: bool = True) -> Contender:
        # The peer's have no records, as those that it makes.
        def collected() -> None:
            if stage.extra or stage.link_sets or stage.slots != list(stage.base):
                raise RunFailed(f"{name} left {len(stage.extra)} generations of {count}")
            stage.restore()

        return on_stage(name, stage, command, collected, lambda: stage.fill(count, records=records, links=links))

    contenders = [
        collector(SYSMUT, lambda: programs.syscln(stage)),
        collector(PYTHON, lambda: programs.floor("syscln", stage)),
        bare_delete(stage, programs, count) if count else start_up(),
    ]
    if programs.has_compiler:
        contenders.append(collector(C, lambda: programs.compiled("syscln", stage)))
    if count <= _MANY:
        contenders.append(collector(SHELL, lambda: programs.shell("syscln", stage)))
    if count <= _MANY and programs.peer_syscln is not None:
        peer = programs.peer(programs.peer_syscln, stage)
        contenders.append(collector(PEER, lambda: peer, records=False))
    if snapper is not None and count <= _FEW and not links:
        words = ("delete", f"1-{count}") if count else ("cleanup", "number")
        contenders.append(snapper.contender(words, count or 4, 0 if count else 4))
    title = f"`syscln` with {count:,} generations to delete" if count else "`syscln` with nothing to do"
    if links:
        return Case(f"syscln-{count}-links", f"{title}, and a link set for each", contenders, most, count, traced=False)
    return Case(f"syscln-{count}", title, contenders, most, count, traced=count <= _FEW)


def bare_delete(stage: Stage, programs: Programs, count: int) -> Contender:
    """The bare call, for so many."""
    return Contender(
        BARE,
        lambda: programs.bare_delete(stage),
        prepare=lambda: stage.fill(count),
        finish=stage.restore,
        commits=lambda: stage.commits,
        tells=True,
    )


def difference(stage: Stage, programs: Programs, snapper: Snapper | None, changed: str, name: str, title: str) -> Case:
    """`sysmut diff` of slot 0 and the generation `changed`."""
    words = (stage.base[0], changed)
    contenders = [
        on_stage(SYSMUT, stage, lambda: programs.sysmut(stage, "diff", *words)),
        on_stage(PYTHON, stage, lambda: programs.floor("diff", stage, *words)),
        on_stage(SHELL, stage, lambda: programs.shell("diff", stage, *words)),
    ]
    if snapper is not None:
        contenders.append(snapper.contender(("status", "3..4"), 4, 4))
    return Case(name, title, contenders)
