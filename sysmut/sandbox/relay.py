"""What happens while a command runs: its output is passed on and kept, signals and time heeded."""

import contextlib
import errno
import os
import select
import signal
import time

from sysmut.errors import Interrupted, SystemFailure
from sysmut.signals import Interrupts

GRACE = 3.0
"""Seconds between asking a command to end and killing it."""

_CHUNK = 4096  # PIPE_BUF: what a pipe takes without blocking once poll(2) says that it is writable

_LONGEST_POLL = 1e6  # seconds: poll(2) counts milliseconds in an int


class Stream:
    """Output on its way from the command's pipe to a file of ours and to the log."""

    def __init__(self, source: int, target: int, log: int) -> None:
        self.source = source
        self.target = target
        self.log = log
        self.pending = b""
        self.ended = False
        self.unlogged: OSError | None = None
        """Why the log is not whole, if it is not."""

    def take(self) -> None:
        """Read what is there, and keep it in the log, as far as that can be written."""
        self.pending = os.read(self.source, _CHUNK)
        self.ended = not self.pending
        rest = self.pending
        try:
            while rest:
                rest = rest[os.write(self.log, rest) :]
        except OSError as error:  # the command may well notice the full disk by itself, and end better
            self.unlogged = OSError(error.errno, f"the session's log: {error.strerror}")

    def show(self) -> None:
        """Pass on what was taken. Raises Interrupted where the reader, or the terminal, is gone."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            raise Interrupted(signal.SIGPIPE, "SIGPIPE: nobody reads the output any more") from None
        except OSError as error:
            if error.errno != errno.EIO:
                raise SystemFailure(f"the output cannot be written: {error.strerror}") from None
            raise Interrupted(signal.SIGHUP, "the loss of its terminal") from None

    @property
    def waits_for(self) -> tuple[int, int] | None:
        """What poll(2) is to look for: room for what is pending, else more of it."""
        if self.pending:
            return self.target, select.POLLOUT
        return None if self.ended else (self.source, select.POLLIN)


def attend(process: int, streams: list[Stream], interrupts: Interrupts, timeout: float | None, hangup: bool) -> bool:
    """Return when the process (a pidfd) has ended and its output is passed on; whether time ran out.

    The first signal, or the end of `timeout` seconds, asks the command to end (with SIGHUP where
    `hangup`, for an interactive shell ignores SIGTERM); a second signal, or GRACE seconds, kills it,
    and then output that nobody takes is only kept in the log.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    asked = timed_out = ended = False
    while not ended or any(stream.waits_for for stream in streams):
        ready = _poll(process if not ended else None, streams, interrupts.fd, deadline)
        ended = ended or process in ready
        for stream in streams:
            if stream.pending:
                _pass_on(stream, ready, drop=ended and asked)
            elif stream.source in ready:
                stream.take()
        late = deadline is not None and time.monotonic() >= deadline
        if not ended and (late or interrupts.fd in ready):
            interrupts.drain()
            timed_out = timed_out or (late and not asked)
            _end(process, signal.SIGKILL if asked else _request(interrupts.received, hangup))
            asked, deadline = True, time.monotonic() + GRACE
    return timed_out


def _poll(process: int | None, streams: list[Stream], interrupts: int, deadline: float | None) -> set[int]:
    poll = select.poll()
    wanted = [stream.waits_for for stream in streams]
    for fd, events in [(process, select.POLLIN), (interrupts, select.POLLIN), *(w for w in wanted if w)]:
        if fd is not None:
            poll.register(fd, events)
    pause = None if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_POLL) * 1000
    return {fd for fd, _ in poll.poll(pause)}


def _pass_on(stream: Stream, ready: set[int], *, drop: bool) -> None:
    if stream.target in ready:
        stream.show()
    elif drop:
        stream.pending = b""


def _request(received: int, hangup: bool) -> int:
    return signal.SIGHUP if hangup else received or signal.SIGTERM


def _end(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)
