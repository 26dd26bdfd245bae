"""Files on a FAT filesystem, read and written with care.

FAT has no journal and no case: names are looked up as the firmware does, whatever their case, and a
file is replaced by a whole new one that was read back from the disk first.
"""

import contextlib
import errno
import fcntl
import os
import stat

from sysmut.errors import BadData, NoSpace, SystemFailure, UsageError
from sysmut.values import frozen

_TEMPORARY = "sysmut-new.tmp"
"""No name that the firmware or rEFInd would take for a program, a driver or a configuration."""
_READ_LIMIT = 16 * 2**20
_FORBIDDEN = frozenset('"*/:<>?\\|') | {chr(number) for number in (*range(32), 127)}
_ROOM = "remove from the system partition what is not needed"


@frozen
class Tree:
    """A directory on FAT, with all that is in it. Paths are from there, with `/`, and found in any case."""

    path: str

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory; none where it is not there."""
        found = self.spelled(path)
        return () if found is None else tuple(sorted(self._names(found)))

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none. Raises BadData for what is no regular file, or
        larger than any file that has to do with booting a menu (16 MiB)."""
        found = self.spelled(path)
        if found is None:
            return None
        where = f"{self.path}/{found}"
        try:
            fd = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _failed(error, where) from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise BadData(f"{where}: not a regular file")
            if status.st_size > _READ_LIMIT:
                raise BadData(f"{where}: too large ({status.st_size} bytes)")
            with open(fd, "rb", closefd=False) as file:
                return file.read(_READ_LIMIT)
        finally:
            os.close(fd)

    def write(self, path: str, data: bytes, *, keep: str | None) -> bool:
        """Make the file `path` have this content, whole or not at all, and return when it is on disk;
        False if it had it already, which changes nothing. `keep` is the name, in the same directory,
        under which the content before is kept; missing directories are made.

        Raises UsageError for a name that FAT cannot have, NoSpace for a full partition, SystemFailure:
        then the file is as it was, and no temporary one is left.
        """
        parts = path.strip("/").split("/")
        for name in (*parts, *(() if keep is None else (keep,))):
            _check_name(name, path)
        before = self.read(path)
        if before == data:
            return False
        directory = self._made("/".join(parts[:-1]))
        if before is not None and keep is not None:
            self._replace(directory, self._actual(directory, keep), before)
        self._replace(directory, self._actual(directory, parts[-1]), data)
        return True

    def _replace(self, directory: str, name: str, data: bytes) -> None:
        where = os.path.join(self.path, directory) if directory else self.path
        try:
            parent = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(parent, fcntl.LOCK_EX)  # the temporary file has one name
                _write_new(parent, name, data)
            finally:
                os.close(parent)
        except OSError as error:
            raise _failed(error, f"{where}/{name}") from None

    def _made(self, path: str) -> str:
        """The directory `path` as it is spelled, made if it is missing, durably."""
        made = ""
        for name in filter(None, path.split("/")):
            parent, made = made, os.path.join(made, self._actual(made, name))
            try:
                os.mkdir(os.path.join(self.path, made), 0o755)
                _sync_directory(os.path.join(self.path, parent))
            except FileExistsError:
                continue
            except OSError as error:
                raise _failed(error, os.path.join(self.path, made)) from None
        return made

    def spelled(self, path: str) -> str | None:
        """How an existing path is spelled on disk; None where it is not there."""
        spelled = ""
        for name in path.replace("\\", "/").strip("/").split("/"):
            if name in ("", ".", ".."):
                return None
            actual = self._actual(spelled, name)
            spelled = os.path.join(spelled, actual)
            if not os.path.lexists(os.path.join(self.path, spelled)):
                return None
        return spelled

    def _actual(self, directory: str, name: str) -> str:
        """How a name in a directory is spelled; as given where it is not there."""
        if "\0" in name or os.path.lexists(os.path.join(self.path, directory, name)):
            return name.replace("\0", "?")
        return next((other for other in self._names(directory) if other.lower() == name.lower()), name)

    def _names(self, directory: str) -> list[str]:
        try:
            return os.listdir(os.path.join(self.path, directory))
        except (FileNotFoundError, NotADirectoryError):
            return []


def _write_new(parent: int, name: str, data: bytes) -> None:
    """Write `data` to disk under another name, read it back, and put it in the place of `name`, durably."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_TEMPORARY, dir_fd=parent)  # of a run that was cut off
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(_TEMPORARY, flags, 0o644, dir_fd=parent)
    with open(fd, "w+b") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is read from the disk
            file.seek(0)
            if file.read() != data:
                raise OSError(errno.EIO, "what was written is not what is read back")
            _put_in_place(parent, fd, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(_TEMPORARY, dir_fd=parent)
            raise


def _put_in_place(parent: int, fd: int, name: str) -> None:
    """Rename the temporary file, open as `fd`, to `name`, in steps of which each leaves one file whole.

    In the kernel's vfat a rename over a file sets the old one's clusters free, takes the temporary name
    away, and leaves it to the write-back of the new inode, seconds later, to enter where the new
    content is (vfat_rename, mark_inode_dirty). So the old file is held open, which keeps its clusters; the
    temporary name goes first, or two names would be one chain of clusters; then the entry is written,
    within one sector.
    """
    old = None
    with contextlib.suppress(FileNotFoundError):
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.rename(_TEMPORARY, name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)
        os.fsync(fd)
    finally:
        if old is not None:
            os.close(old)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _failed(error: OSError, path: str) -> NoSpace | SystemFailure:
    message = f"{path}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(message, hint=_ROOM)
    hint = "mount it writable: mount -o remount,rw" if error.errno == errno.EROFS else ""
    return SystemFailure(message, hint=hint)


def _check_name(name: str, path: str) -> None:
    """Raise UsageError for a name that FAT cannot have, or that would not be the same on it."""
    if not name.strip(". ") or name[-1] in ". " or not name.isascii() or len(name) > 255 or _FORBIDDEN & set(name):
        raise UsageError(f"{path}: {name!r} is no name for a file on a FAT filesystem")
