"""What a session mounts: the kernel's filesystems, the commons and tmpfs that fstab names, the
resolver file, and what the settings add.

Other filesystems that fstab names (a system partition, NFS) are not mounted: what a script writes
there could not be taken back when the session fails. The settings can ask for one (`mounts`).
"""

import os
from collections.abc import Callable

from sysmut import btrfs, fstab, layout, syscalls
from sysmut.config import Config
from sysmut.errors import BadConfiguration, BadData
from sysmut.fstab import Entry
from sysmut.sandbox import STANDARD, Mount
from sysmut.toplevel import TopLevel

_KERNELS_OWN = ("/proc", "/sys", "/dev", "/run")
MADE_HERE = ("proc", "sys", "dev", "run")
"""What a session mounts whatever fstab says, as every system does."""


def session_mounts(
    top: TopLevel, config: Config, entries: tuple[Entry, ...], say: Callable[[str], None]
) -> tuple[Mount, ...]:
    """The mounts, in order, for a generation with these fstab entries; `say` is told what is left out."""
    mounts = list(STANDARD)
    for entry in entries:
        if entry.target == "/" or not entry.is_mount or "noauto" in entry.option_list or _is_kernels(entry.target):
            continue
        mount = _from_entry(top, entry)
        if mount is None:
            say(f"not mounted in the session: {entry.target} ({entry.source}); --mount shows it")
        else:
            mounts.append(mount)
    if config.resolver not in ("", Config.resolver) and not os.path.exists(config.resolver):
        raise BadConfiguration(f"resolver: {config.resolver}: no such file")
    if config.resolver and os.path.exists(config.resolver):
        source = os.path.realpath(config.resolver)
        mounts.append(Mount(source, "/etc/resolv.conf", flags=syscalls.MS_RDONLY, placeholder=True))
    return (*mounts, *(_from_setting(text) for text in config.mounts))


def _is_kernels(target: str) -> bool:
    return any(target == path or target.startswith(f"{path}/") for path in _KERNELS_OWN)


def _from_entry(top: TopLevel, entry: Entry) -> Mount | None:
    flags, data = fstab.mount_options(entry)
    if entry.fstype == "tmpfs":
        return Mount("tmpfs", entry.target, "tmpfs", flags, data)
    if entry.fstype != "btrfs" or not top.owns(entry.source):
        return None
    subvolume = entry.subvolume
    number = entry.option("subvolid")
    if not subvolume and number not in (None, str(btrfs.FS_TREE)):
        try:
            subvolume = btrfs.subvolume_path(top.fd, int(number or ""))
        except (OSError, ValueError, OverflowError):
            raise BadData(
                f"/{layout.TEMPLATE}, line {entry.line}: there is no subvolume with the id {number}",
                hint="name it by its path: subvol=/commons/NAME",
            ) from None
    if not subvolume:
        return None  # the top level itself: a session touches the new generation only
    return Mount(top.inside(subvolume), entry.target, flags=flags)


def _from_setting(text: str) -> Mount:
    """`SOURCE[:TARGET][:rw]`, a path of the host bound in the session, read-only unless `rw`."""
    source, *rest = text.split(":")
    writable = rest[-1:] == ["rw"]
    if writable:
        rest = rest[:-1]
    target = rest[0] if rest else source
    if len(rest) > 1 or not source.startswith("/") or not target.startswith("/"):
        raise BadConfiguration(f"mounts: {text!r} is not SOURCE[:TARGET][:rw] with absolute paths")
    if not os.path.normpath(target).strip("/"):
        raise BadConfiguration(f"mounts: {text!r} would be mounted on the root itself", hint="name a directory in it")
    if not os.path.exists(source):
        raise BadConfiguration(f"mounts: {source}: no such file or directory")
    flags = 0 if writable else syscalls.MS_RDONLY
    return Mount(os.path.realpath(source), target, flags=flags, placeholder=not os.path.isdir(source))
