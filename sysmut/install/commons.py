"""Which directories may be commons, and which ones suit a distribution."""

import os
import posixpath
import re
from collections.abc import Iterable

from sysmut import btrfs, layout
from sysmut.errors import BadData, UsageError
from sysmut.install.model import EMPTY, KEPT, NEW, Common
from sysmut.install.view import DIRECTORY, View, first_link
from sysmut.toplevel import TopLevel

TEMPORARY = ".sysmut-init"
"""What the name of a common begins with until it is whole."""

_FORBIDDEN = re.compile('[@,"\0-\x1f\x7f]')
_OF_THE_SYSTEM = re.compile(r"/etc|/(bin|sbin|lib[^/]*|usr)(/.*)?")
_OF_THE_ADMINISTRATOR = re.compile(r"/usr/(local|src)(/.*)?")
_OF_THE_KERNEL = re.compile(r"/(boot|dev|proc|sys|run|tmp)(/.*)?")
_DATABASES = (
    "var/lib/dpkg",
    "var/lib/apt",
    "var/lib/rpm",
    "var/lib/dnf",
    "usr/lib/sysimage/rpm",
    "var/lib/pacman",
    "lib/apk",
    "usr/lib/apk",
    "var/db/pkg",
    "var/db/xbps",
)
"""Where packages are listed (var/lib/apt: which of them were asked for)."""

_BASE = ("/home", "/root", "/srv", "/var/cache", "/var/log", "/var/spool", "/var/tmp")
_ALPINE = ("/home", "/var/cache", "/var/log", "/var/tmp")
"""Those of the wiki's page."""
_STATE = (
    "/var/mail",
    "/var/www",
    *(
        f"/var/lib/{name}"
        for name in (
            *("NetworkManager", "bluetooth", "iwd", "dhcp", "dhcpcd", "tailscale"),
            *("docker", "containerd", "containers", "libvirt", "machines", "lxc", "lxd", "incus", "flatpak"),
            *("postgresql", "mysql", "mariadb", "redis", "influxdb", "grafana", "prometheus"),
        )
    ),
)
"""Taken where the source has them: what programs keep there is no part of the system. Not
/var/lib/systemd, where deb-systemd-helper notes what packages have enabled."""
_STATE_OF = {
    "usr/lib/systemd/systemd": tuple(f"/var/lib/systemd/{name}" for name in ("linger", "timers", "timesync")),
    "usr/sbin/logrotate": ("/var/lib/logrotate",),
    "usr/bin/apt-get": ("/var/lib/apt/lists",),
}
"""Taken where the source has the program, which fails where it cannot write there: logind, timers that
catch up, and timesyncd, seen on Debian 12; or that fetches there what is otherwise each time."""


def normal(path: str) -> str:
    """The path of a common as it is to be written. Raises UsageError for one that cannot be meant."""
    shown = f"--common {path!r}"
    if not path.startswith("/"):
        raise UsageError(f"{shown}: not an absolute path", hint="write it from the root, as /var/log")
    if ".." in path.split("/"):
        raise UsageError(f"{shown}: with .. in it")
    if match := _FORBIDDEN.search(path):
        raise UsageError(f"{shown}: {match[0]!r} cannot be in the name of a common")
    clean = "/" + posixpath.normpath(path).strip("/")
    if clean == "/":
        raise UsageError(f"{shown}: the root itself is the generation")
    if _OF_THE_SYSTEM.fullmatch(clean) and not _OF_THE_ADMINISTRATOR.fullmatch(clean):
        raise UsageError(f"{shown}: what packages install there must change with the generation")
    if _OF_THE_KERNEL.fullmatch(clean):
        reason = "the kernel to boot belongs to the generation" if clean.startswith("/boot") else "not kept on disk"
        raise UsageError(f"{shown}: {reason}, so it cannot be a common")
    if len(os.fsencode(TEMPORARY + layout.common_name(clean))) > 255:
        raise UsageError(f"{shown}: too long for the name of a subvolume")
    return clean


def require_possible(view: View, path: str) -> None:
    """Raise BadData where the source does not allow a common at `path`: a link is in its way, or it
    would take the package database out of the generation."""
    inner = path.lstrip("/")
    link = first_link(view, inner)
    if link is not None:
        raise BadData(f"--common {path}: /{link} is a symlink in the source", hint="name the directory it leads to")
    parts = inner.split("/")
    for length in range(1, len(parts) + 1):
        above = "/".join(parts[:length])
        if view.kind(above) not in (None, DIRECTORY):
            raise BadData(f"--common {path}: /{above} is not a directory in the source")
    for database in _DATABASES:
        if f"{database}/".startswith(f"{inner}/") and view.kind(database) is not None:
            raise BadData(
                f"--common {path}: the package database, /{database}, would not be part of the generation, and "
                "would not fit the packages in it after a rollback",
                hint="take the directories below it that you need instead",
            )


def recommended(view: View, names: Iterable[str]) -> tuple[str, ...]:
    """The commons that suit a distribution that calls itself by these names (os-release's ID and
    ID_LIKE), as far as the source allows them."""
    base = _ALPINE if "alpine" in names else _BASE
    state = [path for path in _STATE if view.kind(path.lstrip("/")) == DIRECTORY]
    state += [path for program, paths in _STATE_OF.items() if view.kind(program) is not None for path in paths]
    chosen = []
    for path in (*base, *state):
        try:
            require_possible(view, path)
        except BadData:
            continue
        chosen.append(path)
    return tuple(chosen)


def look(top: TopLevel, path: str, *, moved: bool) -> Common:
    """The common for this mount point, as it is on disk. Raises BadData where something else has
    its name."""
    common = Common(path, NEW, moved)
    place = top.at(common.subvolume)
    if not os.path.lexists(place):
        return common
    if not btrfs.is_subvolume(place):
        raise BadData(
            f"/{common.subvolume} is there, and not a subvolume", hint="move it away, or leave this --common out"
        )
    return Common(path, KEPT, False) if os.listdir(place) else Common(path, EMPTY, moved)
