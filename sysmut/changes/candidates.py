"""The paths at which two roots may differ: by what btrfs sends, and by nothing else."""

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from sysmut import compare, inroot
from sysmut.changes import sending
from sysmut.changes.links import Names
from sysmut.changes.replay import Replay
from sysmut.changes.tree import Tree


@dataclass
class _Sent:
    """What is known of the inodes of a subvolume that stands at the same path in both roots."""

    fresh: set[int] = field(default_factory=set)
    """They are new, even if their numbers are not."""
    written: set[int] = field(default_factory=set)
    """Their content may differ."""
    complete: bool = True
    """False where nothing was sent, so that these say nothing."""


class Candidates:
    """Paths at which the tree `old` and the tree `new` may differ. All subvolumes in them are sealed."""

    def __init__(self, old: Tree, new: Tree) -> None:
        self.old = old
        self.new = new
        self.paths: set[str] = set()
        self._sent: dict[tuple[int, int], _Sent] = {}

    def same_inode(self, was: os.stat_result, now: os.stat_result) -> bool:
        """Whether the one is what has become of the other."""
        sent = self._sent.get((was.st_dev, now.st_dev))
        return sent is not None and was.st_ino == now.st_ino and now.st_ino not in sent.fresh

    def same_content(self, was: os.stat_result, now: os.stat_result) -> bool:
        """Whether that holds, and nobody has written to it."""
        sent = self._sent.get((was.st_dev, now.st_dev))
        if sent is None or not self.same_inode(was, now):
            return False
        return now.st_ino not in sent.written if sent.complete else compare.same_inode(was, now)

    def add_removed(self, place: str) -> None:
        """The subvolume `place` is in the old tree only."""
        self.paths |= {place, *self.old.below(place)}

    def add_added(self, place: str) -> None:
        """The subvolume `place` is in the new tree only."""
        self.paths |= {place, *self.new.below(place)}

    def add_pair(self, place: str) -> None:
        """Different subvolumes are at `place` in the two trees. Where they cannot be sent, all in them counts."""
        was, now = self.old.status(place), self.new.status(place)
        if was is None or now is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        sent = self._sent[was.st_dev, now.st_dev] = _Sent()
        try:
            replay = Replay(sending.between(self.old.at(place), self.new.at(place)))
        except PermissionError:  # it is not sealed: nothing that is seen of it would hold
            raise
        except OSError:
            # ENAMETOOLONG for what is deeper than a path can be long; and of Linux 6.18 ENOENT was seen, once in some
            # thousand times, where hundreds of directories had changed places. Then there is the long way round.
            sent.complete = False
            self.add_removed(place)
            self.add_added(place)
            return
        sent.fresh = replay.fresh
        self._add(place, replay.paths())
        self._add_moved(place, replay)
        self._add_altered(place, replay, sent)

    def _add(self, place: str, paths: Iterable[bytes | None]) -> None:
        self.paths.update(_within(place, path) for path in paths if path is not None)

    def _add_moved(self, place: str, replay: Replay) -> None:
        """What is in directories that were renamed: by its new paths, and by its old ones."""
        seen: set[str] = set()
        for directory in sorted(_within(place, path) for path in replay.moved()):
            if directory not in seen:
                inside = set(self.new.below(directory))
                seen |= inside
                self.paths |= inside
                self._add(place, (replay.origin(_from(place, path)) for path in inside))

    def _add_altered(self, place: str, replay: Replay, sent: _Sent) -> None:
        """A file is altered under all its names, of which the kernel tells one."""
        linked = set()
        for origin, path, written in replay.altered():
            tree, name = (self.old, origin) if path is None else (self.new, path)
            status = None if name is None else tree.status(_within(place, name))
            if status is None:
                continue
            if written:
                sent.written.add(status.st_ino)
            if not stat.S_ISDIR(status.st_mode) and (path is None or status.st_nlink > 1):
                linked.add(status.st_ino)
        linked -= sent.fresh  # of which every name is new, and was told
        if linked:
            root = self.new.at(place)
            with inroot.opened(root, ".", os.O_RDONLY | os.O_DIRECTORY) as fd:
                names = Names(fd, root)
                for inode in linked:
                    found = list(names.of(inode))
                    self._add(place, found)
                    self._add(place, map(replay.origin, found))


def _within(place: str, path: bytes) -> str:
    """A path from a subvolume's root as one from the tree's."""
    return f"{place.removesuffix('/')}/{os.fsdecode(path)}" if path else place


def _from(place: str, path: str) -> bytes:
    return os.fsencode(path.removeprefix(place).removeprefix("/"))
