"""All names of an inode, by the references that btrfs keeps with it: a file's other hard links are found without
looking for them."""

import struct
from collections.abc import Iterator

from sysmut import syscalls
from sysmut.errors import BadData

_ROOT = 256
"""BTRFS_FIRST_FREE_OBJECTID, the inode of a subvolume's root."""
_INODE_REF_KEY = 12
_INODE_EXTREF_KEY = 13
_REF = struct.Struct("<QH")  # struct btrfs_inode_ref: index, length of the name; its key's offset is the parent
_EXTREF = struct.Struct("<QQH")  # struct btrfs_inode_extref: parent, index, length of the name


class Names:
    """The names of inodes in the sealed subvolume whose root is open as `fd`. Root is needed."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._directories: dict[int, bytes] = {_ROOT: b""}

    def of(self, inode: int) -> Iterator[bytes]:
        """Every path of an inode that is no directory, from the subvolume's root."""
        for parent, name in self._references(inode):
            yield _joined(self._directory(parent), name)

    def _references(self, inode: int) -> Iterator[tuple[int, bytes]]:
        """The inode's directories, and its name in each. Those that do not fit into one item are in others."""
        for offset, item in self._items(inode, _INODE_REF_KEY):
            place = 0
            while place < len(item):
                _, length = _REF.unpack_from(item, place)
                place += _REF.size + length
                yield offset, item[place - length : place]
        for _, item in self._items(inode, _INODE_EXTREF_KEY):
            place = 0
            while place < len(item):
                parent, _, length = _EXTREF.unpack_from(item, place)
                place += _EXTREF.size + length
                yield parent, item[place - length : place]

    def _items(self, inode: int, kind: int) -> Iterator[tuple[int, bytes]]:
        start = 0
        while page := syscalls.tree_search(self._fd, inode, kind, start, self._path):
            yield from page
            start = page[-1][0] + 1

    def _directory(self, inode: int) -> bytes:
        """The path of a directory. Up to one that is known, then down again, noting each."""
        unknown: list[tuple[int, bytes]] = []
        while inode not in self._directories:
            reference = next(self._references(inode), None)
            if reference is None:
                raise BadData(f"{self._path}: inode {inode} has no name", hint="look at it: btrfs check")
            unknown.append((inode, reference[1]))
            inode = reference[0]
        path = self._directories[inode]
        for number, name in reversed(unknown):
            path = self._directories[number] = _joined(path, name)
        return path


def _joined(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
