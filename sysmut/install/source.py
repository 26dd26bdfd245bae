"""What SOURCE means: a subvolume of this filesystem, a directory, an archive; and what is in it."""

import contextlib
import os
import stat
from collections.abc import Iterator

from sysmut import btrfs, fstab, layout, syscalls
from sysmut.errors import BadData, UsageError
from sysmut.install import archive, programs
from sysmut.install.model import ARCHIVE, DIRECTORY, SUBVOLUME, Source, Tools, Watch
from sysmut.install.view import Tree, View
from sysmut.toplevel import TopLevel

_BY_SUBVOLUME = "subvol="
_OF_OTHERS = (".snapshots", "timeshift-btrfs")
"""Where snapper and Timeshift keep their snapshots: the history of the old root."""

_PER_FILE = 1024
_KERNELS = ("proc", "sys", "dev", "run", "tmp")


def find(top: TopLevel, given: str | None) -> Source:
    """The source that the user names. Raises UsageError where there is nothing of that name."""
    if given is None:
        source = _by_path(top, "/")
        if source.kind != SUBVOLUME:
            raise UsageError(
                "the running system's root is no subvolume of this filesystem",
                hint="name what the first generation is made from: sysmut init [OPTIONS] SOURCE",
            )
        return source
    if given.startswith(_BY_SUBVOLUME):
        return _by_subvolume(top, given)
    return _by_path(top, given)


def _by_subvolume(top: TopLevel, given: str) -> Source:
    path = given[len(_BY_SUBVOLUME) :].strip("/")
    try:
        fd = syscalls.open_in_root(top.fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(
            f"{given}: {error.strerror}",
            hint="btrfs subvolume list / shows the subvolumes of the running system's disk",
        ) from None
    try:
        found = _as_subvolume(top, fd, given)
    finally:
        os.close(fd)
    if found is None:
        raise UsageError(f"{given}: not a subvolume", hint="a directory is named by its path, without subvol=")
    return found


def _by_path(top: TopLevel, given: str) -> Source:
    path = os.path.realpath(given)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UsageError(f"the source {given}: {error.strerror}") from None
    if stat.S_ISREG(mode):
        return Source(ARCHIVE, given, path, compression=archive.compression(path))
    if not stat.S_ISDIR(mode):
        raise UsageError(f"the source {given}: neither a directory nor an archive")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = _as_subvolume(top, fd, given)
    finally:
        os.close(fd)
    return found or Source(DIRECTORY, given, path, running=path == "/")


def _as_subvolume(top: TopLevel, fd: int, given: str) -> Source | None:
    """The open directory as a subvolume of this filesystem; None where it is not the root of one."""
    if not syscalls.is_subvolume_root(os.fstat(fd)):
        return None
    try:
        filesystem = btrfs.filesystem_id(fd, given)
    except OSError:  # another kind of filesystem, which happens to use this inode number
        return None
    if filesystem != top.filesystem:
        return None
    number = btrfs.subvolume_id(fd)
    path = "" if number == btrfs.FS_TREE else btrfs.subvolume_path(top.fd, number)
    # A chroot into a mounted root is taken for the running root: that is what it is to the user.
    running = os.path.samestat(os.fstat(fd), os.stat("/"))
    return Source(SUBVOLUME, given, path, running=running)


def require_no_swap(top: TopLevel, source: Source) -> None:
    """Raise BadData where an active swap file lies in a subvolume that is to be snapshotted: the
    kernel refuses that."""
    devices = {os.stat(top.at(f"{source.path}/{path}")).st_dev for path in ("", *source.nested)}
    with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
        paths = [fstab.decode(line.split()[0]) for line in file.readlines()[1:] if " file" in line.replace("\t", " ")]
    for path in paths:
        with contextlib.suppress(OSError):
            if os.stat(path).st_dev in devices:
                raise BadData(
                    f"{path} is an active swap file, and so {source.given} cannot be snapshotted",
                    hint=f"swapoff {path}, and make another one in a subvolume of its own",
                )


def nested(top: TopLevel, source: Source, mounted: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The subvolumes inside a SUBVOLUME: those to snapshot with it, and those to leave out, outer
    ones first. Left out are the layout's own, those of other tools, and the ones that fstab mounts
    (`mounted`, from the top level): their place in the generation is a mount point."""
    taken: list[str] = []
    left: list[str] = []
    for path, _ in sorted(btrfs.subvolumes(top.at(source.path), 0)):
        first = path.split("/")[0]
        if source.path == "" and first in (layout.SNAPSHOTS, layout.COMMONS, layout.LINKS, layout.NEXT):
            continue
        # By convention what is called @… at the top level is mounted from there, and part of no root.
        foreign = first in _OF_OTHERS or (source.path == "" and first.startswith("@"))
        whole = f"{source.path}/{path}".strip("/")
        inside_left = any(path.startswith(f"{other}/") for other in left)
        (left if foreign or inside_left or whole in mounted else taken).append(path)
    return tuple(taken), tuple(left)


def view_of(top: TopLevel, source: Source, watch: Watch) -> tuple[View, int]:
    """A look at the source, and the bytes that taking it in will write. Reads an archive through.

    Raises BadData where it is no root: without a directory `etc`.
    """
    view: View
    if source.kind == ARCHIVE:
        listing = archive.scan(source.path, source.compression, watch)
        view, size = listing, listing.size
    else:
        view, size = Tree(top.at(source.path) if source.kind == SUBVOLUME else source.path), 0
    if view.kind("etc") != "directory":
        raise BadData(
            f"{source.given} is not a root: there is no directory etc in it",
            hint="name the directory or archive that has etc, usr and the like at its top",
        )
    return view, size


def measure(source: Source, top: TopLevel, watch: Watch) -> tuple[int, tuple[str, ...]]:
    """The bytes that copying a DIRECTORY will write, and the directories in it on which something
    else is mounted (or which are subvolumes): what is in those is not copied."""
    device = os.stat(source.path).st_dev
    with contextlib.ExitStack() as stack:
        fd = os.open(source.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        shared = btrfs.is_btrfs(source.path) and btrfs.filesystem_id(fd, source.path) == top.filesystem
    size, other, seen = 0, [], set()
    for path, status in _walk(source.path, device, watch):
        if status.st_dev != device:
            other.append(os.path.relpath(path, source.path))
            continue
        size += _PER_FILE
        if stat.S_ISREG(status.st_mode) and not shared:  # on the same filesystem the data is shared
            if status.st_nlink == 1 or status.st_ino not in seen:
                size += status.st_blocks * 512
            if status.st_nlink > 1:
                seen.add(status.st_ino)
    return size, tuple(sorted(path for path in other if path not in _KERNELS))


def _walk(root: str, device: int, watch: Watch) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `root` on its own device, and what else is mounted there."""
    waiting = [root]
    while waiting:
        watch.tick(f"looking through {root}")
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                yield entry.path, status
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    waiting.append(entry.path)


def require_tools(source: Source, *, moving: bool) -> Tools:
    """The programs that taking in this source needs. Raises BadConfiguration where one is missing."""
    if source.kind == ARCHIVE and source.compression:
        programs.require(source.compression)
    return Tools(
        cp=programs.find_gnu("cp") if moving or source.kind == DIRECTORY else "",
        tar=programs.find_gnu("tar") if source.kind == ARCHIVE else "",
    )
