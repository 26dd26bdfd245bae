"""Orders of publishing that are known to be wrong, for controls: what cannot find them broken finds nothing.

Each function is called in the process that is to publish, and changes what it does for its syncs: the first,
before `current` is renamed, and the second, after it.
"""

import os
from collections.abc import Callable

import btrfsutil

from sysmut.toplevel import TopLevel


def _nothing(_top: TopLevel) -> None:
    pass


def _put(first: Callable[[TopLevel], None], second: Callable[[TopLevel], None]) -> None:
    pending = [first, second]

    def sync(top: TopLevel) -> None:
        pending.pop(0)(top)

    TopLevel.sync = sync  # type: ignore[assignment,method-assign]


def rename_then_fsync() -> None:
    """An fsync of the top level's directory instead of both: the log tree has the rename and not the links."""
    _put(_nothing, lambda top: os.fsync(top.fd))


def rename_then_commit() -> None:
    """A commit of the transaction instead of both: data that was written just before is not on disk."""

    def commit(top: TopLevel) -> None:
        btrfsutil.wait_sync(top.fd, btrfsutil.start_sync(top.fd))

    _put(_nothing, commit)


def no_sync_after() -> None:
    """No sync after the rename: what is reported as done may be gone."""
    _put(TopLevel.sync, _nothing)
