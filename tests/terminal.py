"""A terminal for a program under test: a pty that is its controlling terminal."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType

from tests.lab import clean_environment


class Terminal:
    """Runs a program as the leader of its session on a pty of 80 columns and 24 lines."""

    def __init__(self, *command: str, shell: bool = False) -> None:
        self.master, slave = os.openpty()
        self.resize(24, 80)
        self.seen = ""

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            ["sh", "-c", 'set -m; "$@"; echo "status $?"', "sh", *command] if shell else command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 (no threads here)
            env=clean_environment(TERM="xterm"),
        )
        self.slave = slave

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str) -> None:
        """Type this; `\\x03` is Ctrl-C, `\\x1a` Ctrl-Z."""
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 30) -> str:
        """Read until this has appeared; what came before it. What was read is not seen again."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            rest = deadline - time.monotonic()
            assert rest > 0, f"{text!r} did not appear; there is: {self.seen!r}"
            if select.select([self.master], [], [], rest)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def wait(self) -> int:
        """Wait for the program to end; its return code. The rest of what it said is in `seen`."""
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.process.returncode

    def hang_up(self) -> None:
        """Take the terminal away, as a lost connection does."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.master >= 0:
            self.hang_up()
