"""The mounts of a session: values that can say what they are, and the one function that makes them."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from sysmut import inroot, mounts, syscalls
from sysmut.errors import BadData
from sysmut.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT
from sysmut.values import frozen

_TAKEN_AWAY = (errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What comes of a mount that the command has unmounted, or whose path it has removed."""

_O_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Mount:
    """One mount. `target` is a path in the generation and cannot lead out of it; a directory that is
    missing there is made."""

    source: str
    target: str
    fstype: str = ""
    """Empty: the host's file or directory `source` is bound there."""
    flags: int = 0
    data: str = ""
    optional: bool = False
    """Passed over where source or target is missing."""
    placeholder: bool = False
    """A missing target is made as an empty file for as long as the session lasts."""

    def __str__(self) -> str:
        return f"mount {self.fstype or 'bind'} {self.source} on {self.target}"


@frozen
class File:
    """A file that is put into the session's /run before the command starts."""

    path: str
    content: bytes
    mode: int


STANDARD = (
    Mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC),
    # The running kernel's settings are the host's: a package's script may read them only.
    Mount("/proc/sys", "/proc/sys", flags=MS_RDONLY),
    Mount("/proc/sysrq-trigger", "/proc/sysrq-trigger", flags=MS_RDONLY, optional=True),
    Mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY),
    # The host's devices can be used; their names cannot be removed through this mount.
    Mount("/dev", "/dev", flags=MS_NOSUID | MS_NOEXEC | MS_RDONLY),
    Mount("/dev/pts", "/dev/pts", flags=MS_NOSUID | MS_NOEXEC, optional=True),
    Mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", optional=True),
    Mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"),
)


class Root:
    """A generation's root directory being made ready, in the mount namespace of the caller."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        # A mount of its own, so that the session's list of mounts begins with it.
        syscalls.mount(path, path, None, MS_BIND)
        if read_only:
            syscalls.mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._placeholders: list[tuple[str, os.stat_result]] = []

    def mount(self, mounts: tuple[Mount, ...]) -> None:
        """Make the mounts, in order. Raises OSError or BadData with the mount's target."""
        for mount in mounts:
            if mount.optional and not mount.fstype and not os.path.exists(mount.source):
                continue
            try:
                with self._target(mount) as target:
                    if target is not None:
                        self._mount_one(mount, target)
            except OSError as error:
                raise OSError(error.errno, f"{mount}: {error.strerror}") from None

    def _mount_one(self, mount: Mount, target: int) -> None:
        place = f"/proc/self/fd/{target}"
        if mount.fstype:
            syscalls.mount(mount.source, place, mount.fstype, mount.flags, mount.data)
            return
        source = f"{mount.source}"
        syscalls.mount(source, place, None, MS_BIND)
        if mount.flags:
            with inroot.opened(self.fd, mount.target) as bound:
                syscalls.mount(None, f"/proc/self/fd/{bound}", None, MS_REMOUNT | MS_BIND | mount.flags)

    @contextlib.contextmanager
    def _target(self, mount: Mount) -> Iterator[int | None]:
        if inroot.status(self.fd, mount.target) is None:
            if mount.placeholder:
                self._make_placeholder(mount.target)
            elif mount.optional:
                yield None
                return
            else:
                inroot.make_directory(self.fd, mount.target)
        with inroot.opened(self.fd, mount.target) as fd:
            yield fd

    def _make_placeholder(self, path: str) -> None:
        """An empty file where `path` leads to, and the directories above it."""
        for _ in range(20):
            directory, name = os.path.split(path)
            inroot.make_directory(self.fd, directory)
            with inroot.opened(self.fd, directory, os.O_PATH | os.O_DIRECTORY) as parent:
                try:
                    link = os.readlink(name, dir_fd=parent)
                except FileNotFoundError:
                    fd = os.open(name, _O_FILE, 0o644, dir_fd=parent)
                    self._placeholders.append((path, os.fstat(fd)))
                    os.close(fd)
                    return
            path = os.path.join(directory, link)
        raise BadData(f"{path}: too many links")

    def put(self, files: tuple[File, ...]) -> None:
        """Write the files, which the generation does not keep: their directory is on /run's tmpfs.
        Raises BadData where /run leads elsewhere, such as into a common."""
        for file in files:
            directory, name = os.path.split(file.path)
            self._require_passing(os.path.dirname(directory))
            inroot.make_directory(self.fd, directory, 0o700)
            with inroot.opened(self.fd, directory, os.O_PATH | os.O_DIRECTORY) as parent:
                fd = os.open(name, _O_FILE, 0o600, dir_fd=parent)
                with open(fd, "wb") as output:
                    output.write(file.content)
                    os.fchmod(fd, file.mode)

    def _require_passing(self, path: str) -> None:
        with inroot.opened(self.fd, path) as fd:
            device = os.fstat(fd).st_dev
        shown = f"{os.major(device)}:{os.minor(device)}"
        if not any(mount.device == shown and mount.fstype == "tmpfs" for mount in mounts.of_self()):
            raise BadData(f"{path}: leads to what outlives the session: it must be a directory of the generation")

    def remove_placeholders(self) -> None:
        """Unmount what was bound over placeholders, and remove those that are still empty."""
        for path, made in self._placeholders:
            try:
                with inroot.opened(self.fd, path) as fd:
                    syscalls.umount(f"/proc/self/fd/{fd}", syscalls.MNT_DETACH)
            except OSError as error:
                if error.errno not in _TAKEN_AWAY:
                    raise
            directory, name = os.path.split(path)
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),  # the command took it away
                inroot.opened(self.fd, directory, os.O_PATH | os.O_DIRECTORY) as parent,
            ):
                now = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if os.path.samestat(now, made) and stat.S_ISREG(now.st_mode) and now.st_size == 0:
                    os.unlink(name, dir_fd=parent)
