"""A mount namespace of one's own. Every sysmut that runs anywhere else keeps a copy of the mounts that it found,
and with them, for moments, a filesystem busy that a search has unmounted and wants to mount as it was earlier.

What is mounted in it goes with it, whatever happens.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from sysmut import syscalls

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run in a thread that has a mount namespace of its own, as has all that it starts."""

    @functools.wraps(function)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        with ThreadPoolExecutor(1, initializer=_leave) as pool:
            return pool.submit(function, *arguments, **named).result()

    return run


def _leave() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)  # of this thread alone
    syscalls.mount(None, "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
