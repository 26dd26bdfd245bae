"""Progress: shown on a terminal only, and only where something takes long."""

import os
import sys
import time
from types import TracebackType

from sysmut.cli.frame import printable

_PATIENCE = 2.0
"""Seconds before progress is shown."""

_PAUSE = 0.2


class Progress:
    """One line on the terminal, written anew again and again: what is being done, for how long."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._began = time.monotonic()
        self._last = 0.0
        self._shown = False

    def show(self, doing: str) -> None:
        """What is being done now."""
        now = time.monotonic()
        if not self._wanted or now - self._began < _PATIENCE or now - self._last < _PAUSE:
            return
        self._last = now
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        elapsed = f" … {now - self._began:.0f} s"
        self._write("\r\x1b[K" + printable(doing)[: max(0, width - 1 - len(elapsed))] + elapsed)
        self._shown = True

    def clear(self) -> None:
        """Make room for other output."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        try:
            sys.stderr.buffer.write(text.encode(errors="surrogateescape"))
            sys.stderr.buffer.flush()
        except OSError:  # the terminal is gone, and SIGHUP tells
            self._wanted = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
