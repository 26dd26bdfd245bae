"""The send stream between two subvolumes, taken from the kernel while it writes it."""

import contextlib
import errno
import os
from collections.abc import Iterator

from sysmut import btrfs, syscalls
from sysmut.changes import stream
from sysmut.errors import BadData, Busy


def between(before: str, after: str) -> Iterator[stream.Command]:
    """The commands that make the subvolume `after` out of `before`, both of them sealed and on one filesystem.

    The kernel goes through what the two do not share. It writes into a pipe that another thread holds, so that
    little memory is needed, whatever the change. Raises Busy where the kernel cannot do it now, else OSError.
    """
    import threading  # late: few commands compare

    parent = btrfs.subvolume_id(before)
    with _opened(after) as fd:
        reader, writer = os.pipe()
        problems: list[OSError] = []
        thread = threading.Thread(target=_send, args=(fd, parent, writer, after, problems))
        broken: BadData | None = None
        try:
            with open(reader, "rb") as file:  # closed before the join: then the kernel's next write ends it
                thread.start()
                yield from stream.commands(file)
        except BadData as error:
            broken = error
        finally:
            thread.join()
    for problem in problems:
        if problem.errno == errno.EAGAIN:
            raise Busy(
                f"{after}: btrfs cannot compare now: a balance or a deduplication is under way",
                hint="try again when it is over: btrfs balance status /",
            )
        if broken is None or problem.errno != errno.EPIPE:
            raise problem
    if broken is not None:
        raise broken


def _send(fd: int, parent: int, writer: int, path: str, problems: list[OSError]) -> None:
    try:
        syscalls.send(fd, parent, writer, path)
    except OSError as error:
        problems.append(error)
    finally:
        os.close(writer)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
