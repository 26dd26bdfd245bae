"""The terminal while a command has it: who is in its foreground, and its settings afterwards."""

import contextlib
import os
import signal
import termios
from collections.abc import Iterator


@contextlib.contextmanager
def lent() -> Iterator[int | None]:
    """The controlling terminal, open, if this process is in its foreground; else None.

    Afterwards this process group has the foreground again, and the settings are as before, whatever
    became of the process that had it.
    """
    fd = _controlling()
    if fd is None:
        yield None
        return
    try:
        settings = termios.tcgetattr(fd)
        try:
            yield fd
        finally:
            give(fd, os.getpgrp())
            with contextlib.suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(fd, termios.TCSADRAIN, settings)
    finally:
        os.close(fd)


def _controlling() -> int | None:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(fd) == os.getpgrp():
            return fd
    os.close(fd)
    return None


def give(fd: int, group: int) -> None:
    """Put a process group into the terminal's foreground. SIGTTOU, which a process in the background
    gets for this, is blocked meanwhile; a terminal that is gone is no error."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(fd, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
