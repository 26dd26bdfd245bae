"""Files of a generation, seen as a process whose root directory it is would see them.

A generation's own symlinks, `..` chains, fifos and devices cannot lead to the host or hang the
caller: every path is resolved inside the root by the kernel, and only regular files are read.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from sysmut import syscalls
from sysmut.errors import BadData

LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What the kernel says of a path that leads nowhere, whatever is in its way."""

_READ_LIMIT = 4 * 2**20
_TEMPORARY = ".sysmut-new"


@contextlib.contextmanager
def opened(root: int | str, path: str, flags: int = os.O_PATH) -> Iterator[int]:
    """`path` in the root directory `root` (a path, or open), opened for the context."""
    if isinstance(root, str):
        with opened_root(root) as fd, opened(fd, path, flags) as found:
            yield found
        return
    fd = syscalls.open_in_root(root, path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened_root(path: str) -> Iterator[int]:
    """The directory `path` of the host, not through a symlink at its end, for use as a root."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def status(root: int | str, path: str) -> os.stat_result | None:
    """What `path` is, links followed; None if it is not there, or is a link that leads nowhere."""
    if "\0" in path:
        return None  # no file can have such a name
    try:
        with opened(root, path) as fd:
            return os.fstat(fd)
    except OSError as error:
        if error.errno not in LEADS_NOWHERE:
            raise
        return None


def read(root: int | str, path: str) -> bytes:
    """The content of a regular file of at most 4 MiB. Raises BadData for anything else."""
    with opened(root, path) as fd:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadData(f"{path}: not a regular file")
        if found.st_size > _READ_LIMIT:
            raise BadData(f"{path}: too large ({found.st_size} bytes)")
        # Opened anew by way of the kernel: what was looked at is what is read.
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            return file.read(_READ_LIMIT)


def read_text(root: int | str, path: str) -> str:
    """The content of a regular file as text; bytes that are not UTF-8 survive a round trip."""
    return read(root, path).decode(errors="surrogateescape")


def replace(root: int | str, path: str, text: str, mode: int = 0o644) -> None:
    """Make `path` a regular file with this content, by renaming a new one over whatever is there: a
    link or a fifo is replaced and not followed. An existing regular file's mode and owner are kept."""
    directory, name = os.path.split(path)
    temporary = f".{name}{_TEMPORARY}"
    with opened(root, directory or ".", os.O_PATH | os.O_DIRECTORY) as parent:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=parent)
        try:
            with open(fd, "wb") as file:
                file.write(text.encode(errors="surrogateescape"))
                _copy_owner(fd, parent, name, mode)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            if isinstance(error, OSError):  # of which a failed write would name no file
                raise OSError(error.errno, error.strerror, path) from None
            raise


def is_temporary(name: str) -> bool:
    """Whether a file of this name was left by a `replace` that was cut off."""
    return name.endswith(_TEMPORARY)


def _copy_owner(fd: int, parent: int, name: str, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(old.st_mode):
            os.fchown(fd, old.st_uid, old.st_gid)
            mode = stat.S_IMODE(old.st_mode)
    os.fchmod(fd, mode)


def make_directory(root: int, path: str, mode: int = 0o755) -> bool:
    """Make the directory `path`, and those above it that are missing; True if it was not there.

    Raises BadData where something else, such as a link that leads nowhere, is in its place.
    """
    made = False
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for length in range(1, len(parts) + 1):
        below = "/".join(parts[:length])
        try:
            with opened(root, below, os.O_PATH | os.O_DIRECTORY):
                continue
        except NotADirectoryError:
            raise BadData(f"/{below}: not a directory") from None
        except FileNotFoundError:
            pass
        _make_one(root, parts[: length - 1], parts[length - 1], mode if length == len(parts) else 0o755)
        made = True
    return made


def _make_one(root: int, parents: list[str], name: str, mode: int) -> None:
    with opened(root, "/".join(parents) or ".", os.O_PATH | os.O_DIRECTORY) as parent:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            shown = "/".join(["", *parents, name])
            raise BadData(f"{shown}: a link to something that is not there") from None
        os.chmod(name, mode, dir_fd=parent)  # whatever the umask is
