"""The menu that boots the generations: made, written to the system partition, and kept right."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from sysmut import generations
from sysmut.boot import checking
from sysmut.config import Config
from sysmut.generations import Around, State
from sysmut.toplevel import TopLevel


def look_ahead(top: TopLevel, config: Config, say: Callable[[str], None]) -> None:
    """Say, before a session begins, that it could not publish another kernel: where the menu is to be kept
    right, and the system partition is out of reach."""
    if config.esp is not None and checking.is_to_boot(top, generations.read(top).slots):
        from sysmut.menu.upkeep import Upkeep

        Upkeep(top, config, say).look_ahead()


def kept_right(top: TopLevel, config: Config, before: State, say: Callable[[str], None]) -> Around:
    """What is to be done about the menu around the rename that follows on the state `before`; `say` is told
    what a user must know. Nothing where no generation has a kernel."""

    def around(slots: tuple[str, ...]) -> AbstractContextManager[None]:
        if not checking.is_to_boot(top, (*before.slots, *slots)):
            return contextlib.nullcontext()
        from sysmut.menu.upkeep import Upkeep  # late: a root for containers needs none of it

        return Upkeep(top, config, say).around(before)(slots)

    return around
