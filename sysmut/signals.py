"""Signals that end the work: noted when they come, acted upon where it is safe.

An exception raised by a signal handler could strike between any two steps; so the handlers only
take note, and whoever works asks at the points where stopping leaves nothing half done.
"""

import os
import signal
from types import FrameType, TracebackType

from sysmut.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """A context in which SIGINT, SIGTERM and SIGHUP are noted instead of acted upon.

    `received` is the first that came, 0 while none has; `fd` becomes readable when one comes. A
    signal that was ignored before (nohup) stays ignored. What else the caller has left that would be in
    the way is mended: a mask that holds these signals back, and SIGCHLD ignored, which would reap
    our children before we can.
    """

    def __init__(self) -> None:
        self.received = 0
        self.fd = -1
        self._write = -1
        self._before: dict[int, object] = {}
        self._wakeup = -1

    def __enter__(self) -> "Interrupts":
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.received:
            raise Interrupted(self.received, signal.Signals(self.received).name)

    def drain(self) -> None:
        """Make `fd` unreadable again."""
        try:
            while os.read(self.fd, 512):
                pass
        except BlockingIOError:
            pass


def reset() -> None:
    """Give every signal its default action and unblock all, as a program that is started expects.
    What was ignored when sysmut itself was started (nohup) stays ignored. For a forked child."""
    signal.set_wakeup_fd(-1)
    python_ignores = (signal.SIGPIPE, signal.SIGXFSZ)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = signal.getsignal(number)
        if handler is not None and (handler is not signal.SIG_IGN or number in python_ignores):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
