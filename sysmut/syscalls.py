"""The system calls that Python's standard library lacks, as typed functions that raise OSError.

Constants have their names from the kernel's headers. Each function is the call of that name: see
its manual page in section 2 (ioctls: ioctl_ficlone(2), loop(4), ioctl_iflags(2)).
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_DIRSYNC = 0x80
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000
MNT_DETACH = 0x2

CLONE_NEWNS = 0x20000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWPID = 0x20000000

PR_SET_PDEATHSIG = 1

WALL = 0x40000000  # __WALL of wait4(2): children of every kind, those that clone(2) made too

SYS_openat2 = 437  # the same on every architecture but alpha
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 0x1

BTRFS_IOC_TREE_SEARCH_V2 = 0xC0709411

# struct btrfs_ioctl_send_args: send_fd, clone_sources_count, clone_sources (a pointer), parent_root, flags,
# version, reserved. Laid out as C does it, for the pointer's size is in the ioctl's number.
_SEND_ARGS = struct.Struct("qQPQQI28x")
BTRFS_IOC_SEND = 0x40009426 | _SEND_ARGS.size << 16
BTRFS_SEND_FLAG_NO_FILE_DATA = 0x1

LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LOOP_GET_STATUS64 = 0x4C05
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_AUTOCLEAR = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.swapoff.argtypes = (ctypes.c_char_p,)
_libc.syncfs.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, path: str | None = None) -> int:
    """Raise the OSError that errno tells where `result` is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else _path(text)


def _path(text: str) -> bytes:
    """The bytes of a string for the kernel, which would take a NUL for its end."""
    if "\0" in text:
        raise OSError(errno.EINVAL, "a NUL in it", text)
    return os.fsencode(text)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` (of /proc/PID/ns) names; `kind` is its CLONE_NEW constant."""
    _check(_libc.setns(fd, kind))


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(_bytes(source), _path(target), _bytes(fstype), flags, _path(data)),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(_path(target), flags), target)


def syncfs(fd: int, path: str) -> None:
    """Write the filesystem of `fd` out to its disk, and wait. A write error since `fd` was opened
    is raised; `path` is for the message."""
    _check(_libc.syncfs(fd), path)


def die_with_parent(signum: int) -> None:
    """Have the kernel send this process `signum` when its parent dies."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signum))


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open `path` as a process whose root directory is `root_fd` would see it: symlinks and `..`
    cannot lead out. openat2(2) with RESOLVE_IN_ROOT.

    The default O_PATH opens nothing, so that neither a fifo nor a device can hang it. EAGAIN, which
    the kernel gives when something was renamed or mounted meanwhile, is tried again.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    for attempt in range(100):
        fd = _libc.syscall(SYS_openat2, root_fd, _path(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd != -1 or ctypes.get_errno() != errno.EAGAIN or attempt == 99:
            break
    return _check(int(fd), path)


def clear_immutable(fd: int, path: str) -> bool:
    """Take the flags of `chattr +i` and `+a` off an open file or directory; True if any was set."""
    buffer = bytearray(8)
    _ioctl(fd, FS_IOC_GETFLAGS, buffer, path)
    (flags,) = struct.unpack_from("=I", buffer)
    cleared = flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL)
    if cleared == flags:
        return False
    struct.pack_into("=I", buffer, 0, cleared)
    _ioctl(fd, FS_IOC_SETFLAGS, buffer, path)
    return True


def write_out(fd: int, path: str) -> None:
    """Write the open file's data out and wait for it, so that its extents are what they will be. Other
    than fsync(2) it leaves the log tree alone; it does with a file open for reading, sealed or not."""
    buffer = bytearray(32)  # struct fiemap: start, length, flags, mapped, room for extents (none), reserved
    # Whatever the range, the whole file is written out; with no room, none of the costly part is done.
    struct.pack_into("=QQIIII", buffer, 0, 0, 1, FIEMAP_FLAG_SYNC, 0, 0, 0)
    _ioctl(fd, FS_IOC_FIEMAP, buffer, path)


def tree_search(fd: int, inode: int, kind: int, start: int, path: str) -> list[tuple[int, bytes]]:
    """Items of one type that an inode has in the btrfs subvolume that `fd` is on: (key's offset, content),
    ascending from the offset `start`. As many as fit into 64 KiB; empty if there are none. Root is needed.
    """
    found, _ = _search(fd, 0, (inode, kind, start), (inode, kind, 2**64 - 1), kind, path)
    return [(offset, content) for _, offset, content in found]


def tree_items(fd: int, tree: int, kind: int, path: str) -> Iterator[tuple[int, int, bytes]]:
    """Every item of one type in a tree of the btrfs filesystem that `fd` is on: (key's object id, key's offset,
    content), ascending. Nothing where there is no such tree. Root is needed."""
    most = 2**64 - 1
    low: tuple[int, int, int] | None = (0, kind, 0)
    while low is not None:
        try:
            found, low = _search(fd, tree, low, (most, kind, most), kind, path)
        except FileNotFoundError:
            return
        yield from found


def _search(
    fd: int, tree: int, low: tuple[int, int, int], high: tuple[int, int, int], kind: int, path: str
) -> tuple[list[tuple[int, int, bytes]], tuple[int, int, int] | None]:
    """The items of one type between two keys (object id, type, offset), as many as fit into 64 KiB together with
    those of other types between them, and the key to go on from: None at the end. Tree 0 is that of the
    subvolume that `fd` is on."""
    # struct btrfs_ioctl_search_args_v2: the key (tree; range of object ids, of offsets, of transactions, of types;
    # how many items; reserved), then the size of the buffer, which follows.
    head = struct.Struct("=7Q4I32xQ")
    item = struct.Struct("=QQQII")  # struct btrfs_ioctl_search_header: transid, object id, offset, type, length
    buffer = bytearray(head.size + 2**16)
    limits = (low[0], high[0], low[2], high[2], 0, 2**64 - 1, low[1], high[1])
    head.pack_into(buffer, 0, tree, *limits, 2**32 - 1, 0, 2**16)
    _ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, buffer, path)
    (count,) = struct.unpack_from("=I", buffer, 64)
    found = []
    place = head.size
    key = (0, 0, 0)
    for _ in range(count):
        _, number, offset, what, length = item.unpack_from(buffer, place)
        place += item.size
        if what == kind:
            found.append((number, offset, bytes(buffer[place : place + length])))
        place += length
        key = (number, what, offset)
    number, what, offset = key
    following = (number, what, offset + 1) if offset < 2**64 - 1 else (number, what + 1, 0)
    return found, following if count and following <= high else None


def send(fd: int, parent_root: int, out_fd: int, path: str) -> None:
    """Write to `out_fd` the send stream (version 1, without file data) that makes of the subvolume with the id
    `parent_root` the one whose root is open as `fd`. Both are read-only. Root is needed.

    Returns when all is written: where `out_fd` is a pipe, another thread reads it. EAGAIN says that a balance
    or a deduplication is in the way, ENAMETOOLONG that a path in it is too long.
    """
    arguments = _SEND_ARGS.pack(out_fd, 0, 0, parent_root, BTRFS_SEND_FLAG_NO_FILE_DATA, 0)
    _ioctl(fd, BTRFS_IOC_SEND, bytearray(arguments), path)


def open_loop(path: str) -> int | None:
    """The loop device `path`, open for reading and writing; None where it is gone meanwhile."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise
        return None


def loop_backing(fd: int) -> tuple[int, int, int] | None:
    """What the open loop device shows: (st_dev, st_ino, offset) of its file; None if nothing."""
    buffer = bytearray(232)  # struct loop_info64
    try:
        fcntl.ioctl(fd, LOOP_GET_STATUS64, buffer)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    # lo_device is in the kernel's encoding (new_encode_dev), which os.makedev shares in 32 bits.
    device, inode, _, offset = struct.unpack_from("=QQQQ", buffer)
    return device, inode, offset


def attach_loop(backing: int, offset: int, size: int, path: str) -> int:
    """Attach a part of the open file `backing` to a free loop device and return that, open. It
    detaches by itself (LO_FLAGS_AUTOCLEAR) with the last close or unmount, a crash included.
    `size` 0 means to the end."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(100):
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block size, then struct loop_info64 (offset at 24, sizelimit
            # at 32, flags at 52 of it), then 64 reserved bytes.
            config = bytearray(304)
            struct.pack_into("=II", config, 0, backing, 0)
            struct.pack_into("=QQ", config, 8 + 24, offset, size)
            struct.pack_into("=I", config, 8 + 52, LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, bytes(config))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else took this number
                    raise OSError(error.errno, error.strerror, path) from None
            else:
                return device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free", path)


def detach_loop(fd: int, path: str) -> None:
    """Detach the open loop device from its file, at the latest when nobody has it open any more."""
    try:
        fcntl.ioctl(fd, LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nothing is attached
            raise OSError(error.errno, error.strerror, path) from None


def swapoff(path: str) -> None:
    """swapoff(2)."""
    _check(_libc.swapoff(_path(path)), path)


def is_subvolume_root(status: os.stat_result) -> bool:
    """Whether these are the type and inode number that the root of a btrfs subvolume has (256)."""
    return stat.S_ISDIR(status.st_mode) and status.st_ino == 256


def _ioctl(fd: int, request: int, buffer: bytearray, path: str) -> None:
    try:
        fcntl.ioctl(fd, request, buffer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
