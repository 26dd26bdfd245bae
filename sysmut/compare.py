"""Do two roots hold the same? Names, types, owners, modes, link targets, attributes and contents
count; times do not, and the root's own etc/fstab does not."""

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
    return _same_attributes(before, after)


def _same_entry(before: str, after: str, path: str, directories: list[str]) -> bool:
    """Whether the entry at `path` is the same; a directory's own entries are left for later."""
    if path == _IGNORED:
        return True
    old, new = f"{before}/{path}", f"{after}/{path}"
    was, now = os.lstat(old), os.lstat(new)
    if stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode):
        return False
    if stat.S_ISDIR(now.st_mode):
        directories.append(path)
        return _same_attributes(old, new)
    if (was.st_ino, was.st_ctime_ns, was.st_size) == (now.st_ino, now.st_ctime_ns, now.st_size):
        return True  # whatever changes an inode changes its ctime
    if (was.st_size, was.st_rdev) != (now.st_size, now.st_rdev) or not _same_attributes(old, new):
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(old) == os.readlink(new)
    return not stat.S_ISREG(now.st_mode) or _same_content(old, new)


def _same_attributes(old: str, new: str) -> bool:
    was, now = os.lstat(old), os.lstat(new)
    if (was.st_mode, was.st_uid, was.st_gid) != (now.st_mode, now.st_uid, now.st_gid):
        return False
    return _attributes(old) == _attributes(new)


def _attributes(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(old: str, new: str) -> bool:
    with open(old, "rb") as first, open(new, "rb") as second:
        while True:
            chunk = first.read(_CHUNK)
            if chunk != second.read(_CHUNK):
                return False
            if not chunk:
                return True
