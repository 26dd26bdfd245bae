"""fstab(5): text in, text out. What is not changed keeps every byte, comments included."""

import os
import re
from collections.abc import Iterable, Iterator

from sysmut import syscalls
from sysmut.errors import BadData
from sysmut.layout import PLACEHOLDER, ROOT
from sysmut.values import frozen

_NO_TARGET = ("none", "swap")


@frozen
class Entry:
    """One line that names a filesystem, its fields decoded."""

    line: int
    source: str
    target: str
    fstype: str
    options: str

    @property
    def option_list(self) -> tuple[str, ...]:
        return tuple(option for option in self.options.split(",") if option)

    def option(self, key: str) -> str | None:
        """The value of `key=…`, the last one as for mount(8)."""
        values = [o.partition("=")[2] for o in self.option_list if o.partition("=")[0] == key]
        return values[-1] if values else None

    @property
    def subvolume(self) -> str | None:
        """The path of the btrfs subvolume that is mounted, from the top level, with no slash at its
        ends; None where the line names none."""
        value = self.option("subvol")
        return None if self.fstype != "btrfs" or value is None else value.strip("/")

    @property
    def is_mount(self) -> bool:
        """Whether it is mounted somewhere (and not swap space)."""
        return self.fstype != "swap" and self.target not in _NO_TARGET


_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "lazytime": syscalls.MS_LAZYTIME,
}
_OPPOSITES = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "async": "sync"}
_FOR_PROGRAMS = frozenset(
    (
        *("defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev"),
        *("atime", "diratime", "norelatime", "nolazytime"),
    )
)


def mount_options(entry: Entry) -> tuple[int, str]:
    """An entry's options as mount(2) takes them: flags, and data for the filesystem. What only
    programs read (noauto, nofail, x-…) is left out."""
    flags, data = 0, []
    for option in entry.option_list:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option in _OPPOSITES:
            flags &= ~_FLAGS[_OPPOSITES[option]]
        elif _is_for_kernel(option):
            data.append(option)
    return flags, ",".join(data)


def mount_points(found: Iterable[Entry], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The directories that a read-only root must have for its fstab to be mounted, in the root itself,
    with no slash at their ends: a mount point below another mount's is made there, when that is
    mounted. `more` are mounted too."""
    targets = [entry.target.strip("/") for entry in found if entry.is_mount and entry.target != "/"]
    wanted = [*more, *targets]
    inner = {path for path in wanted if any(path.startswith(f"{other}/") for other in wanted)}
    return tuple(path for path in dict.fromkeys(wanted) if path not in inner)


def kernel_options(entry: Entry) -> tuple[str, ...]:
    """What of an entry's options is for the kernel, apart from which subvolume is mounted."""
    ours = [option for option in entry.option_list if option.partition("=")[0] not in ("subvol", "subvolid")]
    return tuple(option for option in ours if _is_for_kernel(option))


def _is_for_kernel(option: str) -> bool:
    return option not in _FOR_PROGRAMS and not option.startswith(("x-", "X-", "comment="))


def decode(field: str) -> str:
    """A field as it is meant: `\\040` is a space, `\\011` a tab, `\\012` a newline, `\\134` a backslash."""
    raw = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), os.fsencode(field))
    return os.fsdecode(raw)


def encode(field: str) -> str:
    """A field as fstab writes it."""
    return re.sub(r"[ \t\n\r\\#]", lambda match: f"\\{ord(match[0]):03o}", field)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        fields = [field for field in line.removesuffix("\r").replace("\t", " ").split(" ") if field]
        if fields and not fields[0].startswith("#"):
            yield number, fields


def entries(text: str, name: str) -> tuple[Entry, ...]:
    """The filesystems that an fstab names, in its order. `name` is for messages.

    Raises BadData, with the line's number, for a line that is not one of fstab's.
    """
    found = []
    for number, fields in _lines(text):
        if len(fields) < 3:
            raise BadData(
                f"{name}, line {number}: not a line of fstab (device, mount point, type, options)",
                hint="mend the line, or make it a comment with # at its start",
            )
        source, target, fstype, options = (decode(field) for field in [*fields, "defaults"][:4])
        if "\0" in source + target + fstype + options:
            raise BadData(f"{name}, line {number}: a NUL is in it", hint="mend the line, or take it out")
        if not target.startswith("/") and target not in _NO_TARGET:
            raise BadData(
                f"{name}, line {number}: the mount point {target!r} is not an absolute path",
                hint="mend the line, or make it a comment with # at its start",
            )
        found.append(Entry(number, source, target, fstype, options))
    return tuple(found)


def check_template(text: str, name: str) -> None:
    """Raise BadData unless `text` is a template from which a generation can boot: its fields parse,
    and the last line for `/`, the one that counts, is btrfs with the placeholder in its subvol."""
    roots = [entry for entry in entries(text, name) if entry.target == "/"]
    if not roots:
        raise BadData(
            f"{name}: no line for / in it",
            hint=f"add: UUID=… / btrfs subvol={PLACEHOLDER}/{ROOT},ro,noatime 0 0",
        )
    for entry in roots:
        if entry.subvolume != f"{PLACEHOLDER}/{ROOT}":
            raise BadData(
                f"{name}, line {entry.line}: the line for / does not say subvol={PLACEHOLDER}/{ROOT}, so "
                "every new generation would boot with another one as its root",
                hint=f"write it as: UUID=… / btrfs subvol={PLACEHOLDER}/{ROOT},ro,noatime 0 0",
            )


def instantiate(template: str, generation: str) -> str:
    """The fstab of a generation: the template with the placeholder replaced, wherever it stands, by
    the path of the generation from the top level (`/snapshots/ID`)."""
    return template.replace(PLACEHOLDER, encode(generation))


def make_template(source: str, filesystem: str, commons: dict[str, str]) -> str:
    """The template made from a system's own fstab.

    The line for `/` becomes, in its place, one for the generation on the filesystem with that UUID,
    keeping its other options; each common (mount point -> subvolume path from the top level) gets a
    line; `/tmp` gets a tmpfs where nothing is mounted there, for a read-only root cannot hold it. Every
    other line is kept as it is, and what is added comes before what is mounted below it.
    """
    known = {entry.line: entry for entry in entries(source, "fstab")}
    roots = [number for number, entry in known.items() if entry.target == "/"]
    kept = source.split("\n")
    while kept and not kept[-1].strip(" \t\r"):
        kept.pop()
    lines: list[tuple[str, str]] = []
    for number, line in enumerate(kept, 1):
        if number not in roots:
            lines.append((known[number].target if number in known else "", line))
        elif number == roots[-1]:
            lines.append(("/", _root_line(known[number], filesystem)))
    if not roots:
        lines.insert(0, ("/", _root_line(None, filesystem)))
    added = {
        target: _line(f"UUID={filesystem}", target, "btrfs", f"subvol=/{subvolume},rw,noatime")
        for target, subvolume in commons.items()
    }
    if "/tmp" not in {target for target, _ in lines} | set(added):
        added = {"/tmp": _line("tmpfs", "/tmp", "tmpfs", "mode=1777,noatime,nosuid,nodev"), **added}
    for target, text in added.items():
        below = [i for i, (other, _) in enumerate(lines) if other.startswith(f"{target}/")]
        lines.insert(below[0] if below else len(lines), (target, text))
    return "\n".join(line for _, line in lines) + "\n"


def _root_line(entry: Entry | None, filesystem: str) -> str:
    dropped = ("subvol", "subvolid", "rw", "ro", "defaults")
    old = entry.option_list if entry is not None and entry.fstype == "btrfs" else ("noatime",)
    options = [option for option in old if option.partition("=")[0] not in dropped]
    chosen = ",".join([f"subvol={PLACEHOLDER}/{ROOT}", "ro", *options])
    return _line(f"UUID={filesystem}", "/", "btrfs", chosen)


def _line(source: str, target: str, fstype: str, options: str) -> str:
    return " ".join([encode(source), encode(target), fstype, encode(options), "0", "0"])
