"""Do two roots, or two files, hold the same? Names, types, owners, modes, link targets, attributes and
contents count; times do not, and a root's own etc/fstab does not."""

import errno
import os
import stat

_IGNORED = "./etc/fstab"
_CHUNK = 2**20


def same(before: str, after: str) -> bool:
    """Whether the directory `after`, a snapshot of `before` that may have been changed since, still
    holds the same. Follows no links, opens nothing but regular files, and reads only those whose
    inode was touched. What lies deeper than a path can be long counts as changed."""
    pending = ["."]  # no recursion: a tree may be deeper than Python's stack
    try:
        while pending:
            path = pending.pop()
            names = set(os.listdir(f"{after}/{path}"))
            if names != set(os.listdir(f"{before}/{path}")):
                return False
            if not all(_same_entry(before, after, f"{path}/{name}", pending) for name in names):
                return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
    return same_attributes(before, after)


def _same_entry(before: str, after: str, path: str, directories: list[str]) -> bool:
    """Whether the entry at `path` is the same; a directory's own entries are left for later."""
    if path == _IGNORED:
        return True
    old, new = f"{before}/{path}", f"{after}/{path}"
    was, now = os.lstat(old), os.lstat(new)
    if stat.S_ISDIR(was.st_mode) and stat.S_ISDIR(now.st_mode):
        directories.append(path)
        return same_attributes(old, new)
    if same_inode(was, now):
        return True
    return same_attributes(old, new) and same_but_attributes(old, new, was, now)


def same_inode(was: os.stat_result, now: os.stat_result) -> bool:
    """Whether these are of one inode, in a subvolume and in a snapshot of it, that was not touched since:
    whatever changes an inode changes its ctime."""
    return (was.st_ino, was.st_ctime_ns, was.st_size) == (now.st_ino, now.st_ctime_ns, now.st_size)


def same_but_attributes(old: str, new: str, was: os.stat_result, now: os.stat_result) -> bool:
    """Whether two files, of which lstat(2) says `was` and `now`, are of one type and have the same content,
    link target or device number. Of directories, only that they are such."""
    if stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode):
        return False
    if stat.S_ISDIR(now.st_mode):
        return True
    if (was.st_size, was.st_rdev) != (now.st_size, now.st_rdev):
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(old) == os.readlink(new)
    return not stat.S_ISREG(now.st_mode) or _same_content(old, new, now.st_size)


def same_attributes(old: str, new: str) -> bool:
    """Whether mode, owner, group and extended attributes are the same; of links, those of the link."""
    was, now = os.lstat(old), os.lstat(new)
    if (was.st_mode, was.st_uid, was.st_gid) != (now.st_mode, now.st_uid, now.st_gid):
        return False
    return _attributes(old) == _attributes(new)


def _attributes(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(old: str, new: str, size: int) -> bool:
    with open(old, "rb", 0, opener=_open) as first, open(new, "rb", 0, opener=_open) as second:
        files = (first.fileno(), second.fileno())
        if not all(stat.S_ISREG(os.fstat(fd).st_mode) for fd in files):
            return False
        place = 0
        while (place := min(_next_data(fd, place, size) for fd in files)) < size:
            chunk, other = (os.pread(fd, _CHUNK, place) for fd in files)
            if chunk != other:
                return False
            place += len(chunk)
        return True


def _open(path: str, flags: int) -> int:
    """Not through a link, and not waiting for anybody, whatever has come to be in the file's place."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)


def _next_data(fd: int, place: int, size: int) -> int:
    """Where the next byte is that is not in a hole: a file may be all hole, and of any size."""
    try:
        return os.lseek(fd, place, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
