"""The boot menu kept right while `current` moves.

Where the names of the kernels stay as they are the menu stays right by itself. Where they change, no
order of two writes, to the system partition and to the filesystem, is right after a power cut between
them. So a menu is written first that names the generations by their own paths, which is right before the
rename and after it, and the new one when the rename is on disk.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from sysmut import generations
from sysmut.config import Config
from sysmut.errors import SysmutError, from_oserror
from sysmut.generations import NotDurable, State
from sysmut.menu import esp, install, stanza
from sysmut.menu.volume import volume_of
from sysmut.toplevel import TopLevel

_COMMAND = "sysmut refind --install"


@dataclass(frozen=True)
class Upkeep:
    """What publishing and activating do about the menu; `say` is told what a user must know."""

    top: TopLevel
    config: Config
    say: Callable[[str], None]

    def around(self, before: State) -> Callable[[tuple[str, ...]], AbstractContextManager[None]]:
        """What generations.publish takes, for the state that it begins with."""
        return lambda slots: self._around(before, replace(before, slots=slots))

    @contextlib.contextmanager
    def _around(self, before: State, after: State) -> Iterator[None]:
        wanted = self._survey(after)
        changed = wanted is not None and wanted != self._survey(before, quiet=True)
        with contextlib.ExitStack() as stack:
            if wanted is not None and self.config.esp is not None:
                try:
                    partition = stack.enter_context(esp.opened(self.config.esp, None, self.config.image, writable=True))
                    stack.enter_context(self._on_partition(partition, before, wanted))
                    changed = False
                except (SysmutError, OSError) as error:
                    problem = from_oserror(error) if isinstance(error, OSError) else error
                    if changed:
                        raise generations.Hindered(
                            f"the boot menu must change with the kernels, and cannot: {problem.message}",
                            hint=problem.hint,
                        ) from None
                    self.say(f"the boot menu could not be looked at: {problem.message}")
            yield
        if changed:
            self.say(f"the boot menu no longer fits the kernels; before you reboot: {_COMMAND}")

    def _survey(self, state: State, *, quiet: bool = False) -> stanza.Menu | None:
        """What the menu for a state is to offer; None where slot 0 cannot be booted from a stanza."""
        try:
            return stanza.survey(self.top, state, self.config)
        except SysmutError as error:
            if not quiet:
                self.say(f"the boot menu is left as it is: {error.message}")
            return None

    @contextlib.contextmanager
    def _on_partition(self, partition: esp.Esp, before: State, wanted: stanza.Menu) -> Iterator[None]:
        folder = install.folder(partition)
        path = f"{folder}/{install.FILE}"
        old = partition.read(path)
        if old is None:
            yield
            self.say(f"sysmut's menu is not on the system partition: {_COMMAND}")
            return
        install.require_same(old, path, self.top.filesystem)
        volume = volume_of(self.top, self.config)
        new = install.render(self.top, wanted, self.config, volume, folder)
        if new == old:
            yield
            return
        self._write_lasting(partition, path, before, volume, folder)
        try:
            yield
        except NotDurable:
            raise  # what was written is right whatever the disk has
        except BaseException:
            with contextlib.suppress(SysmutError, OSError):
                partition.write(path, old, keep=None)
            raise
        self._finish(partition, path, new)

    def _write_lasting(self, partition: esp.Esp, path: str, before: State, volume: str, folder: str) -> None:
        """Write the menu that is right before the rename and after it, where there is one."""
        try:
            lasting = stanza.survey(self.top, before, self.config, by_generation=True)
        except SysmutError:
            return  # what was in slot 0 could not be booted either
        partition.write(path, install.render(self.top, lasting, self.config, volume, folder), keep=None)

    def _finish(self, partition: esp.Esp, path: str, new: bytes) -> None:
        try:
            partition.write(path, new, keep=None)
        except (SysmutError, OSError) as error:
            problem = from_oserror(error) if isinstance(error, OSError) else error
            raise NotDurable(
                f"the new slot 0 is in place, but the boot menu still boots the one before: {problem.message}",
                hint=f"when that is mended: {_COMMAND}",
            ) from None
        self.say("the boot menu was brought up to date")
