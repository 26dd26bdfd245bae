"""What is mounted where, in every process's mount namespace: the text of proc_pid_mountinfo(5).

Only reads /proc. A mount namespace that no process is in cannot be seen by anyone.
"""

import errno
import os
import re
from collections.abc import Iterator

from sysmut.values import frozen

_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))
_DELETED = "//deleted"
_NUMBER = "[0-9]{1,20}"


@frozen
class Mount:
    """One line of mountinfo."""

    device: str
    """The superblock's `major:minor`, which all mounts of one filesystem share."""
    root: str
    """The path within the filesystem that is mounted."""
    point: str
    """Where, as the process sees it."""
    fstype: str
    source: str
    options: str
    """The superblock's options; btrfs tells the mounted subvolume here."""

    @property
    def subvolume(self) -> int | None:
        """The id of the btrfs subvolume that is mounted."""
        for option in self.options.split(","):
            key, _, value = option.partition("=")
            if key == "subvolid" and re.fullmatch(_NUMBER, value):
                return int(value)
        return None


def parse(text: str) -> Iterator[Mount]:
    """The mounts of one mountinfo file, in its order: a later one at the same point hides an earlier."""
    for line in text.split("\n"):
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        rest = fields.index("-", 6)
        if len(fields) < rest + 4:
            continue
        yield Mount(
            device=fields[2],
            root=_decode(fields[3]).removesuffix(_DELETED),
            point=_decode(fields[4]).removesuffix(_DELETED),
            fstype=fields[rest + 1],
            source=_decode(fields[rest + 2]),
            options=fields[rest + 3],
        )


def _decode(field: str) -> str:
    if "\\" in field:
        for code, character in _ESCAPES:
            field = field.replace(code, character)
    return field


def _read(process: str) -> str:
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def of_self() -> tuple[Mount, ...]:
    """What this process sees."""
    return tuple(parse(_read("self")))


def mounted_at(point: str) -> Mount | None:
    """The mount that is seen at `point` by this process."""
    found = None
    for mount in of_self():
        if mount.point == point:
            found = mount
    return found


def of_everyone() -> Iterator[Mount]:
    """What any process sees. A namespace is read once for each root directory that its processes
    have, as a process in a chroot sees only what lies below its own.

    A process that ends meanwhile is passed over: what it alone had mounted is unmounted.
    """
    seen = set()
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        try:
            view = _view(process)
            if view is None or view not in seen:
                yield from parse(_read(process))
                seen.add(view)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as error:
            if error.errno != errno.EINVAL:  # a zombie, which has nothing mounted
                raise


def _view(process: str) -> tuple[int, int, int] | None:
    """What tells one list of mounts from another: the namespace, and the root directory in it. None
    where that may not be known (a process with more capabilities than this one)."""
    try:
        root = os.stat(f"/proc/{process}/root")
        return os.stat(f"/proc/{process}/ns/mnt").st_ino, root.st_dev, root.st_ino
    except PermissionError:
        return None


def roots() -> Iterator[int]:
    """The root directory of every process, opened, one for each device number; closed after use. A
    process in a chroot below its mount's point sees no mount at all in its mountinfo."""
    seen = set()
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        try:
            device = os.stat(f"/proc/{process}/root").st_dev
            if device in seen:
                continue
            fd = os.open(f"/proc/{process}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        seen.add(device)
        try:
            yield fd
        finally:
            os.close(fd)
