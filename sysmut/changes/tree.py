"""One of the two trees that are compared, by paths from its root, and never through a link."""

import errno
import os
import stat
from collections.abc import Iterator

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


class Tree:
    """A root directory. Paths begin with a slash, and `/` is the root itself."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._directories = {"/": True}

    def at(self, path: str) -> str:
        """The path on this system."""
        return f"{self.root.removesuffix('/')}{path}"

    def status(self, path: str) -> os.stat_result | None:
        """lstat(2) of a path; None if it is not there, or only by way of a link."""
        return self._lstat(path) if self._is_directory(os.path.dirname(path)) else None

    def entries(self, path: str) -> list[tuple[str, bool]]:
        """The names in a directory, each with whether it is a directory; none if there is no such directory, or if
        its path is too long, which `status` says, too."""
        try:
            if not self._is_directory(path):
                return []
            with os.scandir(self.at(path)) as found:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        except OSError as error:
            if error.errno not in (*_NOT_THERE, errno.ENAMETOOLONG):
                raise
            return []

    def below(self, path: str) -> Iterator[str]:
        """Every path in a directory, at any depth; none if there is no such directory."""
        pending = [path]
        while pending:
            directory = pending.pop()
            for name, is_directory in self.entries(directory):
                inner = f"{directory.removesuffix('/')}/{name}"
                yield inner
                if is_directory:
                    pending.append(inner)

    def _lstat(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(self.at(path))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            return None

    def _is_directory(self, path: str) -> bool:
        """Whether it is a directory, and all that it is in, too. Up to one that is known, then down again."""
        unknown = []
        while path not in self._directories:
            unknown.append(path)
            path = os.path.dirname(path)
        found = self._directories[path]
        for path in reversed(unknown):
            status = self._lstat(path) if found else None
            found = status is not None and stat.S_ISDIR(status.st_mode)
            self._directories[path] = found
        return found
