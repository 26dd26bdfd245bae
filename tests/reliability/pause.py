"""Where a process of sysmut is to wait until somebody has attached a tracer to it."""

import os
import signal
from typing import NoReturn

from sysmut.sandbox import keeper

FIFO = "PAUSE_FIFO"
"""The environment variable that names a fifo: the keeper waits until that has been opened for writing."""


def command() -> None:
    """The command itself stops before it begins, until SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def keeper_of_a_session() -> None:
    """The keeper waits before it begins. SIGSTOP has no effect on the first process of a pid namespace."""
    keep = keeper.keep

    def wait_and_keep(task: keeper.Task) -> NoReturn:
        os.close(os.open(os.environ[FIFO], os.O_RDONLY))
        keep(task)

    keeper.keep = wait_and_keep
