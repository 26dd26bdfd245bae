"""The menu that boots the generations: made, written to the system partition, and kept right."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from sysmut.boot import checking
from sysmut.config import Config
from sysmut.generations import Around, State
from sysmut.toplevel import TopLevel

Tell = Callable[[str], None]


def kept_right(top: TopLevel, config: Config, before: State, say: Tell, warn: Tell) -> Around:
    """What is to be done about the menu around the rename that follows on the state `before`: `say` is told
    what was, `warn` what is to be done before the next reboot. Nothing where no generation has a kernel."""

    def around(slots: tuple[str, ...]) -> AbstractContextManager[None]:
        if not checking.is_to_boot(top, (*before.slots, *slots)):
            return contextlib.nullcontext()
        from sysmut.menu.upkeep import Upkeep  # late: a root for containers needs none of it

        return Upkeep(top, config, say, warn).around(before)(slots)

    return around


def repair(top: TopLevel, config: Config, state: State, say: Tell, warn: Tell) -> None:
    """Bring the menu up to date where it is to be kept so, and a run that was cut off has left another; and
    warn where it is out of reach. The lock is held."""
    if config.esp is not None and checking.is_to_boot(top, state.slots):
        from sysmut.menu.upkeep import Upkeep

        Upkeep(top, config, say, warn).repair(state)


def is_stale(top: TopLevel, config: Config, state: State) -> bool:
    """Whether the settings name a system partition with another menu than it should have. Raises what
    keeps one from looking."""
    if config.esp is None or not checking.is_to_boot(top, state.slots):
        return False
    from sysmut.menu.upkeep import Upkeep

    return Upkeep(top, config, lambda _: None, lambda _: None).is_stale(state)
