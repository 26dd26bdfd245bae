"""Is an initramfs whole, for which kernels has it modules, and can it mount btrfs?"""

import stat
from dataclasses import dataclass, field
from typing import BinaryIO

from sysmut import inroot
from sysmut.boot import archive
from sysmut.values import frozen

_BTRFS = frozenset({"btrfs.ko", "btrfs.ko.gz", "btrfs.ko.xz", "btrfs.ko.zst"})
_MOST_RELEASES = 256


@frozen
class Contents:
    """What is in an initramfs, as far as it could be looked into."""

    releases: frozenset[str]
    """The kernels that it has a directory of modules for."""
    btrfs: frozenset[str]
    """Those of them with btrfs: as a module, or built in."""
    overlaytmpfs: bool
    """Whether its init knows the kernel parameter of that name, as Alpine's does."""
    unknown: str
    """What could not be looked into, and why; with that, what is missing above may yet be there."""


def look(file: BinaryIO, size: int) -> Contents:
    """Look through the whole of an open initramfs of `size` bytes, read from where it stands.

    Raises ValueError, with words that go behind the file's name: it is empty, damaged, cut off or none.
    """
    if size == 0:
        raise ValueError("is empty")
    seen = _Seen()
    unknown = ""
    try:
        for entry in archive.entries(file):
            seen.add(entry)
    except archive.CannotLook as reason:
        unknown = str(reason)
    if not seen.init and not unknown:
        raise ValueError("is no whole initramfs: there is no init in it")
    return Contents(frozenset(seen.releases), frozenset(seen.btrfs), seen.overlaytmpfs, unknown)


def builtin(root: int | str, release: str) -> bool:
    """Whether the kernel of this release has btrfs built in, by the list in the root's lib/modules.
    Raises BadData where that list is no file that can be read."""
    path = f"lib/modules/{release}/modules.builtin"
    return inroot.status(root, path) is not None and _lists_btrfs(inroot.read(root, path))


def _lists_btrfs(text: bytes) -> bool:
    return any(line.strip().endswith(b"fs/btrfs/btrfs.ko") for line in text.splitlines())


@dataclass
class _Seen:
    """What has been seen so far."""

    releases: set[str] = field(default_factory=set)
    btrfs: set[str] = field(default_factory=set)
    overlaytmpfs: bool = False
    init: bool = False

    def add(self, entry: archive.Entry) -> None:
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if parts[:1] == ["usr"]:
            parts = parts[1:]
        if parts[:2] == ["lib", "modules"]:
            self._add_module(entry, parts[2:])
        elif parts == ["init"] and not stat.S_ISDIR(entry.mode):
            self.init = True
            self._add_script(entry)
        elif parts[:1] == ["scripts"] or parts[:3] == ["lib", "dracut", "hooks"]:
            self._add_script(entry)

    def _add_module(self, entry: archive.Entry, parts: list[str]) -> None:
        if not parts or (len(parts) == 1 and not stat.S_ISDIR(entry.mode)):
            return
        self.releases.add(parts[0])
        if len(self.releases) > _MOST_RELEASES:
            raise ValueError("has modules for too many kernels in it for an initramfs")
        if stat.S_ISREG(entry.mode) and (
            parts[-1] in _BTRFS or (parts[1:] == ["modules.builtin"] and _lists_btrfs(entry.body()))
        ):
            self.btrfs.add(parts[0])

    def _add_script(self, entry: archive.Entry) -> None:
        if stat.S_ISREG(entry.mode) and not self.overlaytmpfs:
            self.overlaytmpfs = b"overlaytmpfs" in entry.body()
