"""The boot menu kept right while `current` moves.

Where the names of the kernels stay as they are the menu stays right by itself. Where they change, no
order of two writes, to the system partition and to the filesystem, is right after a power cut between
them. So a menu is written first that names the generations by their own paths, which is right before the
rename and after it, and the new one when the rename is on disk.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from sysmut import generations
from sysmut.config import Config
from sysmut.errors import NotSysmut, SysmutError, from_oserror
from sysmut.generations import NotDurable, State
from sysmut.menu import esp, install, stanza
from sysmut.menu.volume import volume_of
from sysmut.toplevel import TopLevel
from sysmut.values import frozen, replace

_COMMAND = "sysmut refind --install"


@frozen
class Upkeep:
    """What is done about the menu. `say` is told what was done, `warn` what a user must do or know before
    the next reboot."""

    top: TopLevel
    config: Config
    say: Callable[[str], None]
    warn: Callable[[str], None]

    def around(self, before: State) -> Callable[[tuple[str, ...]], AbstractContextManager[None]]:
        """What generations.publish takes, for the state that it begins with."""
        return lambda slots: self._around(before, replace(before, slots=slots))

    def repair(self, state: State) -> None:
        """Write the menu for the state where another is on the system partition: after a run that was cut
        off it is one that boots what was booted before, and is right only as long as that is there."""
        menu = self._survey(state, quiet=True)
        if menu is None:
            return  # slot 0 was published by force: what boots is the user's business now
        try:
            old, new = self._compare(menu)
            if old != new:
                with self._opened(writable=True) as partition:
                    _write(partition, new)
                self.say("the boot menu was stale, and was brought up to date")
        except (SysmutError, OSError) as error:
            problem = from_oserror(error) if isinstance(error, OSError) else error
            hint = f" ({problem.hint})" if problem.hint else ""
            self.warn(f"the boot menu is out of reach, so no other kernel can be published: {problem.message}{hint}")

    def is_stale(self, state: State) -> bool:
        """Whether another menu is on the system partition than should be, or none."""
        menu = self._survey(state, quiet=True)
        if menu is None:
            return False  # which is found elsewhere
        old, new = self._compare(menu)
        return old != new or not old

    def _compare(self, menu: stanza.Menu) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The menus that are installed, by folder, and what they should be."""
        with self._opened(writable=False) as partition:
            if not partition.refind_directories():
                hint = f"if {partition.path} is not mounted, mount it; else sysmut refind --setup --install"
                raise NotSysmut(f"there is no rEFInd in {partition.path}", hint=hint)
            old = install.installed(partition)
        for folder, content in old.items():
            install.require_same(content, f"{folder}/{install.FILE}", self.top.filesystem)
        return old, self._rendered(menu, old)

    def _rendered(self, menu: stanza.Menu, folders: Iterable[str]) -> dict[str, bytes]:
        volume = volume_of(self.top, self.config)
        return {folder: install.render(self.top, menu, self.config, volume, folder) for folder in folders}

    @contextlib.contextmanager
    def _around(self, before: State, after: State) -> Iterator[None]:
        wanted = self._survey(after)
        changed = wanted is not None and wanted != self._survey(before, quiet=True)
        with contextlib.ExitStack() as stack:
            if wanted is not None and self.config.esp is not None:
                try:
                    self._prepare(stack, before, wanted)
                except (SysmutError, OSError) as error:
                    problem = from_oserror(error) if isinstance(error, OSError) else error
                    if changed:
                        raise generations.Hindered(
                            f"the boot menu must change with the kernels, and cannot: {problem.message}",
                            hint=problem.hint,
                        ) from None
                    self.warn(f"the boot menu could not be looked at: {problem.message}")
                changed = False
            yield
        if changed:
            self.warn(f"the boot menu no longer fits the kernels; before you reboot: {_COMMAND}")

    def _survey(self, state: State, *, quiet: bool = False) -> stanza.Menu | None:
        """What the menu for a state is to offer; None where slot 0 cannot be booted from a menu."""
        try:
            return stanza.survey(self.top, state, self.config)
        except SysmutError as error:
            if not quiet:
                self.warn(f"the boot menu is left as it is: {error.message}")
            return None

    def _prepare(self, stack: contextlib.ExitStack, before: State, wanted: stanza.Menu) -> None:
        """Have the menus replaced when the rename has been done, which `stack` does."""
        old, new = self._compare(wanted)
        if not old:
            self.warn(f"sysmut's menu is not on the system partition; before you reboot: {_COMMAND}")
        elif old != new:
            lasting = self._lasting(before, old)
            partition = stack.enter_context(self._opened(writable=True))
            stack.enter_context(self._replaced(partition, old, lasting, new))

    def _opened(self, *, writable: bool) -> AbstractContextManager[esp.Esp]:
        return esp.opened(self.config.esp, None, self.config.image, writable=writable)

    def _lasting(self, before: State, folders: Iterable[str]) -> dict[str, bytes]:
        """For each folder the menu that is right before the rename and after it, where there is one: with
        the kernel that is named from now on, or else with what there was."""
        for config in (self.config, replace(self.config, kernel=None)):
            with contextlib.suppress(SysmutError):
                return self._rendered(stanza.survey(self.top, before, config, by_generation=True), folders)
        return {}  # what was in slot 0 could not be booted by any menu

    @contextlib.contextmanager
    def _replaced(
        self, partition: esp.Esp, old: dict[str, bytes], lasting: dict[str, bytes], new: dict[str, bytes]
    ) -> Iterator[None]:
        try:
            _write(partition, lasting)
            yield
        except NotDurable:
            raise  # what was written is right whatever the disk has
        except BaseException:
            with contextlib.suppress(SysmutError, OSError):
                _write(partition, old)
            raise
        try:
            _write(partition, new)
        except (SysmutError, OSError) as error:
            problem = from_oserror(error) if isinstance(error, OSError) else error
            raise NotDurable(
                f"the new slot 0 is in place, but the boot menu still boots the one before: {problem.message}",
                hint=f"when that is mended: {_COMMAND}",
            ) from None
        self.say("the boot menu was brought up to date")


def _write(partition: esp.Esp, menus: dict[str, bytes]) -> None:
    for folder, content in menus.items():
        partition.write(f"{folder}/{install.FILE}", content, keep=None)
