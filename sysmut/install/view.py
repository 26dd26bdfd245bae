"""A look at a source before anything is made of it: the same questions to a directory and to an
archive's list of members."""

import os
import posixpath
import stat
from collections.abc import Mapping
from typing import Protocol

from sysmut import inroot
from sysmut.errors import BadData
from sysmut.values import frozen

DIRECTORY = "directory"
LINK = "link"
OTHER = "other"

_MAX_LINKS = 40


class View(Protocol):
    """A root directory to look at. Paths are relative to it."""

    def kind(self, path: str) -> str | None:
        """What is at `path` itself, a link not followed; None for nothing."""

    def read(self, path: str) -> str | None:
        """The text of the file at `path`, links followed inside the root; None where there is none.
        Raises BadData for what is not a regular file."""


@frozen
class Tree:
    """A directory, seen as its own root."""

    root: str

    def kind(self, path: str) -> str | None:
        try:
            with inroot.opened(self.root, path, os.O_PATH | os.O_NOFOLLOW) as fd:
                mode = os.fstat(fd).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            return LINK
        return DIRECTORY if stat.S_ISDIR(mode) else OTHER

    def read(self, path: str) -> str | None:
        try:
            return inroot.read_text(self.root, path)
        except (FileNotFoundError, NotADirectoryError):
            return None


@frozen
class Listing:
    """An archive, as the list of its members."""

    kinds: Mapping[str, str]
    links: Mapping[str, str]
    """Path of a symlink -> where it points to."""
    texts: Mapping[str, str]
    """Path of a file called os-release or fstab -> its content."""
    size: int

    def kind(self, path: str) -> str | None:
        return self.kinds.get(path)

    def read(self, path: str) -> str | None:
        place = self._followed(path)
        if place in self.texts:
            return self.texts[place]
        if self.kinds.get(place) is None:
            return None
        raise BadData(f"/{path} in the archive: not a regular file, or too large")

    def _followed(self, path: str) -> str:
        """Where `path` leads to, links followed inside the root."""
        for _ in range(_MAX_LINKS):
            link = first_link(self, path)
            if link is None:
                return path
            rest = path[len(link) + 1 :]
            target = posixpath.join("/", posixpath.dirname(link), self.links.get(link, ""), rest)
            path = posixpath.normpath(target).lstrip("/")
        return path


def first_link(view: View, path: str) -> str | None:
    """The first part of `path` that is a symlink, the whole of it included."""
    parts = path.split("/")
    for length in range(1, len(parts) + 1):
        part = "/".join(parts[:length])
        if view.kind(part) == LINK:
            return part
    return None
