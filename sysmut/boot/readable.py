"""Can rEFInd's btrfs driver read a file? If not, mend it.

The driver fails at what is rare in a kernel or an initramfs but happens: an LZO-compressed extent (the
mount option compress=lzo), a hole or a preallocated extent (what cpio and image tools leave).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from sysmut import extents, inroot
from sysmut.errors import BadData, SystemFailure

_TEMPORARY = ".sysmut-new"  # what inroot.is_temporary knows
_LARGEST = 2**30
_CHUNK = 2**20
_LINKS = 40  # as many as the kernel follows

_PROPERTY = "btrfs.compression"
_COMPRESSION = b"zstd"
_ACL = "system.posix_acl_access"


def flaws(root: int | str, path: str) -> tuple[str, ...]:
    """What of the regular file `path` in the root directory `root` (a path, or open) the driver cannot
    read, in plain words, such as `a hole at byte 4096`: the first of each kind; () if it can read all.

    Root is needed. Raises BadData for anything but a regular file.
    """
    with _reading(root, path) as fd:
        return flaws_of(fd, path)


def flaws_of(fd: int, path: str) -> tuple[str, ...]:
    """The same of a regular file that is open for reading or writing."""
    return told(extents.of(fd, path))


def told(found: Iterable[extents.Extent]) -> tuple[str, ...]:
    """The same of a file with these extents."""
    first: dict[str, int] = {}
    for extent in found:
        flaw = _flaw(extent)
        if flaw:
            first.setdefault(flaw, extent.offset)
    return tuple(f"{flaw} at byte {offset}" for flaw, offset in first.items())


def _flaw(extent: extents.Extent) -> str:
    if extent.kind == "hole":  # zeros, a hole that is written down, it reads as such
        return "a hole"
    if extent.kind == "unwritten":
        return "an unwritten (preallocated) extent"
    if extent.compression == "lzo":
        return "an LZO-compressed extent"
    if extent.compression == "unknown":
        return "an extent with an unknown compression"
    return ""


def rewrite(root: int | str, path: str) -> None:
    """Write the regular file `path` anew, so that the driver can read it, and rename that over the old one;
    where `path` is a symlink, the file that it leads to in the root, and the link stays.

    Content, owner, mode, extended attributes and times are kept; the flags of chattr are not, and other
    hard links keep the old file. It gets the property `btrfs.compression=zstd`, and keeps it: that goes
    before what the mount options (compress-force, too) or the directory say. Its data is on disk before
    the rename. A failure (an immutable file, a sealed root, a full disk) leaves the old file, and
    nothing beside it. Raises OSError with `path`; BadData for no regular file or one of over a GiB.
    """
    try:
        with _found(root, path) as (parent, name), _reading(parent, name, path, os.O_NOFOLLOW) as old:
            _replace(parent, name, old, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


@contextlib.contextmanager
def _found(root: int | str, path: str) -> Iterator[tuple[int, str]]:
    """The directory, open, and the name in it of what `path` is when its symlinks have been followed."""
    for _ in range(_LINKS):
        directory, name = os.path.split(path)
        with inroot.opened(root, directory or ".", os.O_PATH | os.O_DIRECTORY) as parent:
            with inroot.opened(parent, name, os.O_PATH | os.O_NOFOLLOW) as entry:
                is_link = stat.S_ISLNK(os.fstat(entry).st_mode)
                target = os.readlink("", dir_fd=entry) if is_link else ""
            if not is_link:
                yield parent, name
                return
        path = os.path.join(directory, target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


@contextlib.contextmanager
def _reading(root: int | str, path: str, shown: str = "", flags: int = 0) -> Iterator[int]:
    """The regular file `path`, opened for reading. Looked at before that, for a fifo would hang."""
    with inroot.opened(root, path, os.O_PATH | flags) as handle:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadData(f"{shown or path}: not a regular file")
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


def _replace(parent: int, name: str, old: int, path: str) -> None:
    size = os.fstat(old).st_size
    if size > _LARGEST:
        raise BadData(f"{path}: too large to be written anew ({size} bytes)")
    temporary = f".{name}{_TEMPORARY}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=parent)
    new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        try:
            _write_anew(old, new, path)
        finally:
            os.close(new)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise


def _write_anew(old: int, new: int, path: str) -> None:
    """Make the empty file `new` one like `old`, on disk, and see that the driver can read it."""
    status = os.fstat(old)  # before the reading, which is an access
    # It cannot be set with nodatacow (of the directory or the mount), and then nothing is ever compressed.
    with contextlib.suppress(OSError):
        os.setxattr(new, _PROPERTY, _COMPRESSION)
    left = status.st_size
    with open(new, "wb", closefd=False) as file:
        while data := os.read(old, min(left, _CHUNK)):
            file.write(data)
            left -= len(data)
    _copy_attributes(old, new, status)
    os.fsync(new)
    if remaining := flaws_of(new, path):
        raise SystemFailure(
            f"{path}: still has {remaining[0]} when written anew", hint="mount the filesystem without compress=lzo"
        )


def _copy_attributes(old: int, new: int, status: os.stat_result) -> None:
    """Owner first, for a change of it takes capabilities and set-user-id away; times last."""
    os.fchown(new, status.st_uid, status.st_gid)
    names = os.listxattr(old)
    if _ACL in os.listxattr(new) and _ACL not in names:  # from the directory's default
        os.removexattr(new, _ACL)
    for name in names:
        if name != _PROPERTY:
            os.setxattr(new, name, os.getxattr(old, name))
    os.fchmod(new, stat.S_IMODE(status.st_mode))
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
