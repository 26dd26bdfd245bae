"""What sysmut asks of btrfs. The sole importer of btrfsutil.

Paths are those of a mounted filesystem. Failures are OSError with the path in them.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator

from sysmut import syscalls
from sysmut.errors import BadConfiguration

try:
    import btrfsutil
except ImportError as _error:
    raise BadConfiguration(
        f"the Python package btrfsutil is missing, or does not match this system's library ({_error})",
        hint="install the distribution's own: python3-btrfsutil on Debian, py3-btrfs-progs on Alpine, "
        "btrfs-progs on Arch; a virtual environment needs --system-site-packages to see it",
    ) from None

FS_TREE = 5
"""The subvolume id of the top level."""

_SEALED = 0x1  # BTRFS_ROOT_SUBVOL_RDONLY, in a root item's flags

_QUOTA_TREE = 8
_QGROUP_INFO = 242
_EXTENT_DATA = 108
_INLINE = 0

_IOC_SNAP_DESTROY = 0x5000940F
_IOC_FS_INFO = 0x8400941F
_FSID_OFFSET = 16

_IOC_SPACE_INFO = 0xC0109414
_SPACES = 64
"""Room for more answers than there are: three kinds of block group, each in nine profiles."""
_BLOCK_GROUP_KINDS = 0x7  # BTRFS_BLOCK_GROUP_DATA, _SYSTEM and _METADATA
_BLOCK_GROUP_PROFILES = {
    0: "single",
    0x008: "raid0",
    0x010: "raid1",
    0x020: "dup",
    0x040: "raid10",
    0x080: "raid5",
    0x100: "raid6",
    0x200: "raid1c3",
    0x400: "raid1c4",
}


def filesystem_id(fd: int, path: str) -> str:
    """The UUID of the filesystem that `fd` is on, as fstab writes it."""
    buffer = bytearray(1024)
    try:
        fcntl.ioctl(fd, _IOC_FS_INFO, buffer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    digits = buffer[_FSID_OFFSET : _FSID_OFFSET + 16].hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def profiles(fd: int, path: str) -> frozenset[str]:
    """The profiles of all block groups (data, metadata and system) of the filesystem that `fd` is on, by
    mkfs.btrfs's names: `single`, `dup`, `raid1c3`, …; `unknown` for one that is none of these."""
    buffer = bytearray(16 + _SPACES * 24)
    struct.pack_into("=Q", buffer, 0, _SPACES)
    try:
        fcntl.ioctl(fd, _IOC_SPACE_INFO, buffer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    _, count = struct.unpack_from("=QQ", buffer)
    # struct btrfs_ioctl_space_info: flags, total bytes, used bytes. One that is none of the kinds is the
    # global reserve, which lies in the others.
    flags = [struct.unpack_from("=Q", buffer, 16 + number * 24)[0] for number in range(count)]
    return frozenset(
        _BLOCK_GROUP_PROFILES.get(each & ~_BLOCK_GROUP_KINDS, "unknown") for each in flags if each & _BLOCK_GROUP_KINDS
    )


def is_btrfs(path: str) -> bool:
    """Whether `path` is on btrfs."""
    try:
        btrfsutil.subvolume_id(path)
    except OSError:
        return False
    return True


def is_subvolume(path: str) -> bool:
    """Whether `path` itself is the root of a subvolume; a symlink to one is not."""
    try:
        return syscalls.is_subvolume_root(os.lstat(path)) and bool(btrfsutil.is_subvolume(path))
    except FileNotFoundError:
        return False


def subvolume_id(path: "str | int") -> int:
    """The id of the subvolume that `path` is in."""
    return int(btrfsutil.subvolume_id(path))


def subvolume_path(fd: int, number: int) -> str:
    """Where the subvolume with this id is, from the top level."""
    return os.fsdecode(btrfsutil.subvolume_path(fd, number))


def default_subvolume(fd: int) -> int:
    """The id of the subvolume that is mounted where none is named."""
    return int(btrfsutil.get_default_subvolume(fd))


def subvolumes(path: "str | int", top: int = FS_TREE) -> Iterator[tuple[str, int]]:
    """Each subvolume below the one with id `top` (0: the one that `path` is in), as path relative to
    that and id, inner ones before outer ones. Costs microseconds a subvolume: it reads btrfs's own
    index and no directory."""
    for name, number in btrfsutil.SubvolumeIterator(path, top, post_order=True):
        yield os.fsdecode(name), int(number)


def described(path: "str | int", top: int = FS_TREE) -> Iterator[tuple[str, int, bool, float]]:
    """The same as `subvolumes`, and of each whether it is sealed, and when it was made, in seconds since 1970.
    What is deleted meanwhile is left out."""
    found = iter(btrfsutil.SubvolumeIterator(path, top, info=True, post_order=True))
    while True:
        try:
            name, info = next(found)
        except StopIteration:
            return
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            continue
        yield os.fsdecode(name), int(info.id), bool(info.flags & _SEALED), float(info.otime)


def being_deleted(fd: int) -> tuple[int, ...]:
    """The ids of the subvolumes that are deleted, and whose space the kernel has not given back yet."""
    return tuple(btrfsutil.deleted_subvolumes(fd))


def made(path: str) -> int:
    """When the subvolume at `path` was made, in seconds since 1970."""
    return int(btrfsutil.subvolume_info(path).otime)


def exclusive_sizes(fd: int, path: str) -> dict[int, int]:
    """What each subvolume holds that no other does, in bytes by subvolume id, as the quotas of the filesystem that
    `fd` is on have counted; empty where quotas are off."""
    # struct btrfs_qgroup_info_item: generation, referenced, the same compressed, exclusive, the same compressed.
    # A qgroup's level is in the upper 16 bits of its id; level 0 is the subvolumes themselves.
    items = syscalls.tree_items(fd, _QUOTA_TREE, _QGROUP_INFO, path)
    return {number: struct.unpack_from("=5Q", content)[3] for _, number, content in items if number < 2**48}


def extents(fd: int, subvolume: int, path: str) -> Iterator[tuple[int, int]]:
    """The data extents that a subvolume's files lie in: where each begins on the filesystem, and its bytes there;
    the same one again where several files, or parts of one, lie in it. What is stored in metadata is left out."""
    # struct btrfs_file_extent_item: generation, bytes in memory, three kinds of encoding, type; then, unless it is
    # inline, where it is on disk (0: a hole) and its size there, and what part of it the file has.
    for _, _, content in syscalls.tree_items(fd, subvolume, _EXTENT_DATA, path):
        if content[20] != _INLINE:
            place, size = struct.unpack_from("=QQ", content, 21)
            if place:
                yield place, size


def commit(fd: int) -> None:
    """Commit what is pending, which sets the kernel to giving back the space of what was deleted."""
    btrfsutil.sync(fd)


def create(path: str) -> None:
    """Make an empty subvolume."""
    btrfsutil.create_subvolume(path)


def snapshot(source: "str | int", path: str, *, nested: bool = True) -> None:
    """Make `path` a writable snapshot of `source`; with `nested`, also of the subvolumes in it, which
    are empty directories in a snapshot otherwise."""
    btrfsutil.create_snapshot(source, path, recursive=nested and _has_nested(source))


def _has_nested(path: "str | int") -> bool:
    return next(iter(btrfsutil.SubvolumeIterator(path, 0)), None) is not None


def is_sealed(path: str) -> bool:
    """Whether the subvolume is read-only."""
    return bool(btrfsutil.get_subvolume_read_only(path))


def seal(path: str) -> None:
    """Make the subvolume, and those in it, read-only."""
    for name, _ in subvolumes(path, 0):
        _set_read_only(os.path.join(path, name), True)
    _set_read_only(path, True)


def unseal(path: str) -> None:
    """Make one subvolume writable: only for one that is to be deleted."""
    _set_read_only(path, False)


def _set_read_only(path: str, value: bool) -> None:
    btrfsutil.set_subvolume_read_only(path, value)


def delete(path: str) -> None:
    """Delete one subvolume, read-only or not, in which no other lies.

    A subvolume whose root is immutable (chattr +i, which snapshots inherit) cannot be deleted: then
    the flag is taken off first. If it still cannot be (it is being sent, or holds an active swap
    file), it is sealed again if it was, and the error raised.
    """
    try:
        btrfsutil.delete_subvolume(path)
    except OSError as error:  # btrfsutil's own, which is never a PermissionError
        if error.errno != errno.EPERM:
            raise
        sealed = is_sealed(path)
        if sealed:
            _set_read_only(path, False)
        try:
            _clear_immutable(path)
            btrfsutil.delete_subvolume(path)
        except OSError:
            if sealed:
                _set_read_only(path, True)
            raise


def _clear_immutable(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        syscalls.clear_immutable(fd, path)
    finally:
        os.close(fd)


def delete_plain(directory: int, name: str) -> bool:
    """Delete a subvolume in the open directory, by one call; whether that was possible: what stands in its way
    (another in it, a flag) is for `delete_tree` to find out."""
    # struct btrfs_ioctl_vol_args: fd (of no meaning here), and the name.
    arguments = bytearray(struct.pack("=q4088s", 0, os.fsencode(name)))  # bytes of this length ioctl would not take
    try:
        fcntl.ioctl(directory, _IOC_SNAP_DESTROY, arguments)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(error.errno, error.strerror, name) from None
        return False
    return True


def delete_tree(path: str) -> None:
    """Delete the subvolume and those in it. A read-only outer one is made writable first, for an
    inner one cannot be removed from it otherwise; nor from a directory that is immutable."""
    for name, _ in list(subvolumes(path, 0)):
        holder = os.path.join(path, os.path.dirname(name))
        _make_writable(holder)
        _clear_immutable(holder)
        delete(os.path.join(path, name))
    delete(path)


def _make_writable(path: str) -> None:
    """Make the subvolume that the directory `path` is in writable, so that a name in it can go."""
    while not syscalls.is_subvolume_root(os.lstat(path)):
        path = os.path.dirname(path)
    if is_sealed(path):
        _set_read_only(path, False)
