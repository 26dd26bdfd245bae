"""Filling the first generation from its source, and moving what belongs to the commons out of it."""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator

from sysmut import btrfs, inroot, layout, syscalls
from sysmut.errors import BadData
from sysmut.generations import Draft
from sysmut.install import programs
from sysmut.install.commons import TEMPORARY
from sysmut.install.model import ARCHIVE, EMPTY, KEPT, SUBVOLUME, Common, Plan, Source, Tools, Watch
from sysmut.toplevel import TopLevel
from sysmut.values import frozen

_MODES = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
"""Of directories that the source lacks; 0755 for others."""

_OF_THE_LAYOUT = (layout.SNAPSHOTS, layout.LINKS, layout.NEXT, layout.COMMONS, layout.PINS)

AddUndo = Callable[[Callable[[], None]], None]


@frozen
class Staged:
    """A common that is whole, under its temporary name."""

    common: Common
    temporary: str
    """From the top level."""


def fill(draft: Draft, plan: Plan, watch: Watch) -> None:
    """Make the generation's root out of the source."""
    source = plan.source
    if source.kind == SUBVOLUME:
        watch.tick(f"snapshotting {source.given}")
        _snapshot(draft.top, source, draft.root)
        return
    btrfs.create(draft.root)
    os.chmod(draft.root, 0o755)  # whatever the umask is
    if source.kind == ARCHIVE:
        _unpack(source, plan.tools, draft.root, watch)
    else:
        argv = (plan.tools.cp, "-a", "-x", "--reflink=auto", "-T", "--", source.path, draft.root)
        programs.run(argv, watch, f"copying {source.given}")


def _snapshot(top: TopLevel, source: Source, root: str) -> None:
    origin = top.at(source.path)
    btrfs.snapshot(origin, root, nested=False)
    for path in source.nested:
        os.rmdir(f"{root}/{path}")  # the empty directory that a snapshot has in a subvolume's place
        btrfs.snapshot(f"{origin}/{path}", f"{root}/{path}", nested=False)
    if source.path == "":
        _remove_layout(top, root)


def _remove_layout(top: TopLevel, root: str) -> None:
    """Take out of a snapshot of the top level what is the top level's own: the layout, and empty
    directories in the place of subvolumes."""
    for name in _OF_THE_LAYOUT:
        if os.path.isdir(f"{root}/{name}") and not os.path.islink(f"{root}/{name}"):
            shutil.rmtree(f"{root}/{name}")
    for name in (layout.CURRENT, layout.TRIAL):
        if os.path.islink(f"{root}/{name}"):
            os.unlink(f"{root}/{name}")
    with contextlib.suppress(OSError, BadData):
        if layout.PLACEHOLDER in inroot.read_text(root, layout.TEMPLATE):
            os.unlink(f"{root}/{layout.TEMPLATE}")
    for path, _ in btrfs.subvolumes(top.fd):
        if path.startswith("@") and "/" not in path:
            with contextlib.suppress(OSError):
                os.rmdir(f"{root}/{path}")


def _unpack(source: Source, tools: Tools, root: str, watch: Watch) -> None:
    argv = [tools.tar, "--extract", "--file=-", f"--directory={root}", "--preserve-permissions", "--same-owner"]
    argv += ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"]
    if os.path.isdir("/sys/fs/selinux"):
        argv.append("--selinux")
    if source.compression:
        argv.append(f"--use-compress-program={source.compression}")
    with open(source.path, "rb") as file:
        programs.run(tuple(argv), watch, f"unpacking {source.given}", stdin=file.fileno())


def make_mount_points(root: int, paths: tuple[str, ...]) -> None:
    """Make the directories that are missing in the open root."""
    for path in paths:
        if inroot.status(root, path) is None:
            inroot.make_directory(root, path, _MODES.get(path, 0o755))


def move_commons(top: TopLevel, root: int, plan: Plan, watch: Watch, undo: AddUndo) -> list[Staged]:
    """Fill each common, under a temporary name, with what the generation has at its mount point, and
    empty that. Inner ones first: the outer then has the mount point of the inner, with its mode."""
    staged = []
    for common in reversed(plan.commons):
        with _directory(root, common.path) as fd:
            if common.state != KEPT:
                temporary = _stage(top, common, undo)
                argv = (plan.tools.cp, "-a", "--reflink=auto", "-T", "--", f"/proc/self/fd/{fd}/.", top.at(temporary))
                programs.run(argv, watch, f"moving {common.path} into its common", keep=(fd,))
                staged.append(Staged(common, temporary))
                _empty(fd, common.path, watch)
        _unnest(root, common.path)
    return staged


def _unnest(root: int, path: str) -> None:
    """Make a plain directory of an empty subvolume that a common is mounted on: it would be
    snapshotted with every generation for nothing."""
    above, name = os.path.split(path)
    with inroot.opened(root, above, os.O_RDONLY | os.O_DIRECTORY) as parent:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        with inroot.opened(root, path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            if not syscalls.is_subvolume_root(status) or os.listdir(fd):
                return
        _remove(parent, name, os.rmdir)
        os.mkdir(name, 0o700, dir_fd=parent)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=parent)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=parent)


@contextlib.contextmanager
def _directory(root: int, path: str) -> Iterator[int]:
    """The directory in the root, opened. Raises BadData where a link is in its way after all: an
    archive may name the same member twice."""
    parts = path.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        with inroot.opened(root, "/".join(parts[:length]), os.O_PATH | os.O_NOFOLLOW) as part:
            if not stat.S_ISDIR(os.fstat(part).st_mode):
                raise BadData(f"--common {path}: /{'/'.join(parts[:length])} in the source is not a directory")
    with inroot.opened(root, path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        yield fd


def _stage(top: TopLevel, common: Common, undo: AddUndo) -> str:
    """The temporary name, from the top level, of a common's subvolume: a new one, or the empty one
    that was there, which may have properties of its own (no copy-on-write, a quota)."""
    temporary = f"{layout.COMMONS}/{TEMPORARY}{layout.common_name(common.path)}"
    place, final = top.at(temporary), top.at(common.subvolume)
    if common.state != EMPTY:
        btrfs.create(place)
        undo(lambda: btrfs.delete_tree(place))
        return temporary
    before = os.stat(final)
    os.rename(final, place)

    def restore() -> None:
        with inroot.opened(top.fd, temporary, os.O_RDONLY | os.O_DIRECTORY) as fd:
            _empty(fd, common.path, None)
            os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
        os.rename(place, final)

    undo(restore)
    return temporary


def put_in_place(top: TopLevel, staged: Staged, undo: AddUndo) -> None:
    """Give a common its final name."""
    place, final = top.at(staged.temporary), top.at(staged.common.subvolume)
    os.rename(place, final)
    undo(lambda: os.rename(final, place))


def _empty(fd: int, shown: str, watch: Watch | None) -> None:
    """Remove everything in an open directory."""
    for path, directories, files, holder in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=fd):
        if watch is not None:
            watch.tick(f"emptying {shown}{path[1:]}")
        for name in files:
            _remove(holder, name, os.unlink)
        for name in directories:
            is_link = stat.S_ISLNK(os.stat(name, dir_fd=holder, follow_symlinks=False).st_mode)
            _remove(holder, name, os.unlink if is_link else os.rmdir)


def _remove(holder: int, name: str, how: Callable[..., None]) -> None:
    """Unlink or rmdir; what `chattr +i` or `+a` protects (logs, mostly) too, for this is a copy."""
    try:
        how(name, dir_fd=holder)
    except PermissionError:
        syscalls.clear_immutable(holder, name)
        kind = os.stat(name, dir_fd=holder, follow_symlinks=False).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=holder)
            try:
                syscalls.clear_immutable(fd, name)
            finally:
                os.close(fd)
        how(name, dir_fd=holder)
