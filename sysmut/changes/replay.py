"""A send stream, replayed on names alone: which paths of the old tree and of the new one did it touch?

Inodes come in the order of their numbers, so that a name may be taken, or the directory not there yet, where a
file is to go: then the kernel renames it to oINODE-GENERATION-N first, and to its place later, or moves it with a
directory that it is in. So each command's path is one that holds at that moment, and what becomes of it is known
at the end only. What is replayed is a tree that has just those nodes that some command names, and knows of every
other that it is still where it was.
"""

from collections.abc import Iterable

from sysmut.changes.stream import Command, Kind
from sysmut.errors import BadData

_MAKE = frozenset((Kind.MKFILE, Kind.MKDIR, Kind.MKNOD, Kind.MKFIFO, Kind.MKSOCK, Kind.SYMLINK))
_CONTENT = frozenset((Kind.WRITE, Kind.CLONE, Kind.TRUNCATE, Kind.UPDATE_EXTENT))
_ATTRIBUTES = frozenset((Kind.CHMOD, Kind.CHOWN, Kind.SET_XATTR, Kind.REMOVE_XATTR))


class _Node:
    """A name in the tree."""

    __slots__ = ("children", "name", "origin", "parent")

    def __init__(self, origin: bytes | None) -> None:
        self.parent: _Node | None = None
        self.name = b""
        self.origin = origin
        """The path that it had in the old tree; None for what is new."""
        self.children: dict[bytes, _Node | None] = {}
        """Those that a command named; None for a name that is gone. Any other is as in the old tree."""


class Replay:
    """The names of one subvolume, from the old tree to the new. Paths are from its root, which is `b""`."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.fresh: set[int] = set()
        """The inodes that are new; their numbers may have been those of others before."""
        self._root = _Node(b"")
        self._gone: set[bytes] = set()
        self._placed: set[_Node] = set()
        self._altered: set[_Node] = set()
        self._written: set[_Node] = set()
        for command in commands:
            self._apply(command)

    def _apply(self, command: Command) -> None:
        kind = command.kind
        if kind in _MAKE:
            self.fresh.add(command.inode)
            self._place(_Node(None), command.path)
        elif kind == Kind.LINK:
            self._place(_Node(None), command.path)
        elif kind == Kind.RENAME:
            self._place(self._take(command.path), command.other)
        elif kind in (Kind.UNLINK, Kind.RMDIR):
            self._take(command.path)
        elif kind in _CONTENT:
            self._written.add(self._find(command.path))
        elif kind in _ATTRIBUTES:
            self._altered.add(self._find(command.path))
        # UTIMES says nothing: times are not compared.

    def _find(self, path: bytes) -> _Node:
        node = self._root
        for name in path.split(b"/") if path else ():
            node = _child(node, name)
        return node

    def _take(self, path: bytes) -> _Node:
        """Take what is at the path out of the tree."""
        node = self._find(path)
        if node.parent is not None:
            node.parent.children[node.name] = None
            node.parent = None
        if node.origin is not None:
            self._gone.add(node.origin)
        return node

    def _place(self, node: _Node, path: bytes) -> None:
        """Put a node at the path, in place of what may be there."""
        if node is self._root or not path:
            raise BadData("a send stream of btrfs that moves the root itself")
        self._take(path)
        parent, _, name = path.rpartition(b"/")
        node.parent = self._find(parent)
        node.name = name
        node.parent.children[name] = node
        self._placed.add(node)

    def paths(self) -> set[bytes]:
        """Those of either tree at which something has changed, and some at which nothing has, except what a
        directory that was renamed holds (`moved`), and further names of a file (`altered`)."""
        nodes = self._placed | self._altered | self._written
        found = {path for node in nodes if (path := self._path(node)) is not None}
        return found | self._gone | {node.origin for node in nodes if node.origin is not None}

    def moved(self) -> list[bytes]:
        """The new paths of what has another one than before: all that is below it too, unless named itself."""
        pairs = [(node.origin, self._path(node)) for node in self._placed]
        return [new for old, new in pairs if old is not None and new is not None and old != new]

    def altered(self) -> list[tuple[bytes | None, bytes | None, bool]]:
        """Files whose inode was altered, each by one of its names: in the old tree, in the new, and whether its
        content was written to."""
        nodes = self._altered | self._written
        return [(node.origin, self._path(node), node in self._written) for node in nodes]

    def origin(self, path: bytes) -> bytes | None:
        """What was the path in the old tree of what is at this one in the new; None for what is new."""
        return self._find(path).origin

    def _path(self, node: _Node) -> bytes | None:
        """Where it is in the end; None if it is gone."""
        names: list[bytes] = []
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/".join(reversed(names)) if node is self._root else None


def _child(node: _Node, name: bytes) -> _Node:
    child = node.children.get(name)
    if child is None:
        origin = None
        if node.origin is not None and name not in node.children:
            origin = b"/".join((node.origin, name)) if node.origin else name
        child = _Node(origin)
        child.parent = node
        child.name = name
        node.children[name] = child
    return child
