"""What a session is asked for, and what it answers."""

from collections.abc import Callable

from sysmut.generations import Around, State, nothing_around
from sysmut.session.environment import Program
from sysmut.toplevel import TopLevel
from sysmut.values import frozen


@frozen
class Request:
    """What is asked of a session."""

    program: Program
    source: str = "0"
    """Any name that generations.find takes."""
    description: str = ""
    timeout: float | None = None
    drop_if_unchanged: bool = False
    keep_failed: bool = False
    force: bool = False
    """Publish it even if it would not boot."""
    outputs: tuple[int, int] = (1, 2)
    """Where the program's standard output and error are shown."""
    say: Callable[[str], None] = lambda text: None
    """Told details."""
    announce: Callable[[str], None] = lambda text: None
    """Told what a person at a shell must know."""
    around: Callable[[TopLevel, State], Around] = lambda top, state: nothing_around
    """What is to be done around the rename that publishes, for the state before it."""


@frozen
class Result:
    """How a session ended that did not fail."""

    generation: str
    source: str
    published: bool
    """False where nothing had changed, and the generation was dropped."""
    state: State
    booted: str | None
