"""What hypothesis makes up: texts, names, links, settings, command lines and files, as they come from a disk or
a person, and as they do not."""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from sysmut.cli import VERBS
from sysmut.config import Config
from sysmut.values import fields

T = TypeVar("T")

IDS = ("20260101000000AbCdEfGh", "20260101000000AbCdEfGi", "20260202000000AbCdEfGh")

_ODD = (
    *(" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x1b[31m", "\x7f", "\x85", "\x9b", "\xa0", "\u2028", "\udcff", "\udcc2"),
    *("\\", "\\040", "\\0", "#", '"', "'", "=", ",", ";", ":", ".", "..", "@", "$", "%", "{", "}", "-", "--", "~", "_"),
    *("ä", "é", "\u0663", "\xb2", "\u212a", "\U0001f4be", "K", "64M", "0", "1", "999", "n", "x" * 300),
)


def _as_read(pieces: Sequence[str]) -> str:
    """The text as Python has it when its bytes come from a file or the command line."""
    return os.fsdecode(os.fsencode("".join(pieces)))


def mostly(usual: st.SearchStrategy[T], other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Three times of four the usual. (`|` gives each of the alternatives in `other` as much room.)"""
    return st.integers(0, 3).flatmap(lambda number: usual if number else other)


def texts(*more: str, longest: int = 12) -> st.SearchStrategy[str]:
    """Any text without a NUL, with what is likely to be taken for something else, and `more`, in it."""
    letters = st.characters(codec="utf-8", exclude_characters="\0")
    pieces = st.lists(st.sampled_from(_ODD + more) | letters | st.sampled_from((more or _ODD)[:20]), max_size=longest)
    raw = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
    return mostly(pieces.map(_as_read), raw)


def _is_name(text: str) -> bool:
    return text not in ("", ".", "..") and "/" not in text and len(os.fsencode(text)) <= 255


TEXT = texts("/")
NAMES = TEXT.filter(_is_name)
FIELDS = mostly(
    TEXT.filter(bool), st.sampled_from(["#{}", "\\040{}", "{}\r", "{}\\"]).flatmap(lambda form: TEXT.map(form.format))
)
BYTES = st.binary(max_size=200) | TEXT.map(os.fsencode)

# -- fstab and mountinfo ---------------------------------------------------------------------------------

COMMENT = texts("CURRENT_SNAPSHOTS_PATH", "/").map(lambda text: "# " + text.replace("\n", " "))
OPTIONS = st.lists(
    st.sampled_from(
        [
            *("ro", "rw", "nosuid", "suid", "noatime", "defaults", "nofail", "x-systemd.automount", "size=1G", ""),
            *("subvol=/commons/@home", "subvol=", "subvolid=257", "subvolid=5", "subvolid=\xb2", "subvolid=-1"),
            *("subvol=CURRENT_SNAPSHOTS_PATH/@", "subvol=/snapshots/x/@", "sync", "async", "lazytime"),
        ]
    )
    | FIELDS,
    max_size=4,
).map(",".join)
TARGETS = st.sampled_from(["/", "/home", "/home/a", "/tmp", "/tmp/a", "/var/log", "none", "swap"]) | TEXT.map(
    "/{}".format
)
"""Mount points, as fstab names them."""
COMMONS = st.lists(
    st.sampled_from(["/home", "/home/a", "/home/a/b", "/var", "/var/log", "/srv"]) | TEXT.map("/srv/{}".format),
    max_size=4,
    unique=True,
)
SOURCES = st.sampled_from(["UUID=u", "LABEL=x", "PARTUUID=1", "/dev/sda1", "tmpfs", "UUID=", "=", "LABEL=", "a=b"])


def fstab_lines(encode: Any) -> st.SearchStrategy[str]:
    """A line of an fstab, with its fields as `encode` writes them."""
    kinds = st.sampled_from(["btrfs", "tmpfs", "ext4", "swap", "none"]) | FIELDS
    fields = st.tuples(SOURCES | FIELDS, TARGETS, kinds, OPTIONS.filter(bool), st.just("0"), st.just("0"))
    blanks = st.sampled_from([" ", "\t", "   ", " \t "])
    return st.builds(lambda found, blank: blank.join(map(encode, found)), fields, blanks)


# -- links -------------------------------------------------------------------------------------------------

_STEPS = st.sampled_from(
    [
        *("..", "..", "..", "snapshots", "snapshots", "links", *IDS, *IDS, "L", "M", "current", "pins", "trial"),
        *("@", "etc", ".", "", "0", "1", "p", "alias", "missing", "file", "n" * 256, "commons"),
    ]
)
_WRONG = (
    st.builds("{}{}".format, st.sampled_from(["", "", "/"]), st.lists(_STEPS, min_size=1, max_size=6).map("/".join))
    | st.builds("../../{}/../{}".format, st.sampled_from(["alias", "links/alias", "snapshots/alias", "pins"]), _STEPS)
    | st.sampled_from(["../" * 1300 + "x", "M", "L", "../links/M", "n" * 300])
    | TEXT
)
LINKED = mostly(
    st.sampled_from([f"{up}/snapshots/{name}" for up in ("../..", "..", ".", "") for name in IDS]), _WRONG
).filter(bool)
"""What a symlink says."""
WAYS = st.sampled_from(
    ["./links/L/", "links/./L", "links/M", "links/alias/../L", "links/x/../L", "links/alias", "x/../links/L"]
)
"""Of `current` to a link set."""
PLACES_OF_LINKS = mostly(
    st.sampled_from(["pins/p", "pins/0", "trial", "alias", "snapshots/alias", "links/alias"]),
    NAMES.map("pins/{}".format),
)
SLOT_NAMES = mostly(
    st.sampled_from(["0", "1", "2", "3"]),
    st.sampled_from(["5", "007", "-1", "\u0663", "1000", "x", " 1", "99"]) | NAMES,
)


def followed(top: Path, path: str) -> str | None:
    """Where a path from the top level leads, with `/` the top level and every link followed as boot loader and
    kernel do; None where it leads nowhere. Written down here again, step by step."""
    rest, here, links = path.split("/")[::-1], list[str](), 0
    while rest:
        step = rest.pop()
        if not top.joinpath(*here).is_dir() or len(os.fsencode(step)) > 255:
            return None
        place = top.joinpath(*here, step)
        if step == "..":
            here = here[:-1]
        elif step in ("", "."):
            continue
        elif not os.path.lexists(place):
            return None
        elif place.is_symlink():
            links, target = links + 1, os.readlink(place)
            rest += target.split("/")[::-1]
            here = [] if target.startswith("/") else here
            if links > 40:
                return None
        else:
            here.append(step)
    return "/".join(here)


# -- settings ----------------------------------------------------------------------------------------------

KEYS = sorted(fields(Config))
_WORDS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "",
        "64M",
        "1 GiB",
        "64\u212a",
        "\u0131B",
        "/a\0b",
        "/etc",
        "TERM",
        "x" * 300,
        "1" * 30,
        "PARTUUID=x",
        '"',
        "\n",
        "a b",
    ]
)
VALUES: st.SearchStrategy[Any] = (
    _WORDS
    | st.integers()
    | st.integers(-1, 5000)
    | st.booleans()
    | st.floats()
    | st.lists(_WORDS, max_size=3)
    | st.just({})
    | st.lists(st.integers(), max_size=2)
)

_ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from('ab "#=,/{}\\'), max_size=12)
_FITTING: dict[str, st.SearchStrategy[Any]] = {
    "mounts": st.lists(_WORDS, max_size=2),
    "environment": st.lists(st.sampled_from(["TERM", "a_1", "1a", "A=b", "A\0", ""]), max_size=2),
    "slots": st.integers(-1, 102),
    "panic": st.integers(-1, 3602),
    "min_free": st.integers(-1) | _WORDS,
    **dict.fromkeys(
        ("title", "volume", "kernel_options"), _ASCII | st.sampled_from(["\u2028", "a\tb", '"', "x" * 2100])
    ),
    "icon": _ASCII | st.sampled_from(["a\\b", "\\", "a b.png", "/EFI/x.png", '"']),
}


def _settings(*keys: str) -> st.SearchStrategy[tuple[str, Any]]:
    """One of the settings, and a value for it, that may be one that it cannot have."""
    names = st.sampled_from(keys)
    return names.flatmap(lambda key: st.tuples(st.just(key), mostly(_FITTING.get(key, _WORDS), VALUES)))


SETTINGS = _settings(*KEYS)
MENU_SETTINGS = st.lists(_settings("title", "icon", "kernel_options", "volume", "panic"), min_size=2, max_size=4).map(
    dict
)


def as_toml(key: str, value: Any) -> str:
    """The line of a settings file; every string of JSON is one of TOML's."""
    text = repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return f"{key} = {text}\n"


TOML = (
    st.lists(
        st.sampled_from(
            [
                *(
                    "[",
                    "]",
                    "[[",
                    "]]",
                    "{",
                    "}",
                    "=",
                    ".",
                    ",",
                    "\n",
                    " ",
                    '"',
                    "'",
                    '"""',
                    "'''",
                    "#",
                    "\\",
                    "\\u0000",
                ),
                *(
                    "slots",
                    "mounts",
                    "min_free",
                    "1979-13-01",
                    "07:99:00",
                    "1e999",
                    "nan",
                    "0x",
                    "1_0",
                    "9" * 5000,
                    "a",
                ),
            ]
        ),
        max_size=15,
    )
    .map("".join)
    .map(str.encode)
    | BYTES
    | st.sampled_from([b"a=" + b"[" * 5000, b"a." * 5000 + b"b=1", b"a=" + b"{b=" * 3000])
)

# -- records -----------------------------------------------------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_DEPTHS = st.integers(1, 3000).map(lambda depth: b'{"a":' + b"[" * depth + b"]" * depth + b"}")
RECORDS = (
    BYTES
    | st.builds(
        lambda value, codec: json.dumps(value).encode(codec),
        st.dictionaries(st.sampled_from(["description", "version", "command"]), JSON) | JSON,
        st.sampled_from(["utf-8", "utf-16", "utf-32-be", "utf-8-sig"]),
    )
    | _DEPTHS
    | st.sampled_from([b'{"a": 1e999}', b'{"a": -Infinity}', b'{"a": "\\ud800"}', b'{"a": ' + b"9" * 5000 + b"}"])
)

# -- the command line --------------------------------------------------------------------------------------

_FLAGS = (
    *("--json", "-q", "-v", "-n", "--dry-run", "--force", "--help", "-h", "--version", "--install", "--setup", "-"),
    *(
        "--removable",
        "--drop-if-unchanged",
        "--keep-failed",
        "-qv",
        "-nq",
        "--js",
        "--no",
        "-x",
        "---",
        "--=",
        "--json=1",
    ),
)
_VALUED = (
    *("--slots", "--min-free", "--timeout", "--description", "--shell", "-e", "--environment", "--mount", "--resolver"),
    *("--esp", "--volume", "--kernel", "--config", "--title", "--icon", "--kernel-options", "--panic", "--from"),
    *("--common", "--script"),
)
_PLAIN = texts().filter(lambda text: "/" not in text)
"""No paths: what a command line names must not be a thing of this machine."""
_VALUE = _PLAIN | st.sampled_from(
    ["0", "4", "-1", "nan", "inf", "1e400", "64M", "/missing", "a:/b:rw", "", "booted", "-"]
)
WORDS = st.lists(
    st.sampled_from([*VERBS, "session", "statsu", "0", "1", "booted", *IDS]).map(lambda word: [word])
    | st.sampled_from(_FLAGS).map(lambda word: [word])
    | st.tuples(st.sampled_from(_VALUED), _VALUE).map(list)
    | st.builds("{}={}".format, st.sampled_from(_VALUED), _VALUE).map(lambda word: [word])
    | st.sampled_from(_VALUED).map(lambda word: [word])
    | st.just(["--"])
    | _PLAIN.map(lambda word: [word]),
    max_size=6,
).map(lambda parts: [word for part in parts for word in part])
PLACES = st.sampled_from(
    [
        ["--root", "@"],
        ["--root", "@"],
        ["--root=@"],
        ["--image", "@/zeros"],
        ["--device", "/dev/null"],
        ["--root", "/missing"],
    ]
)
"""The top level, which is none; `@` is an empty directory."""

# -- what boots --------------------------------------------------------------------------------------------

BOOTABLE = ("vmlinuz-lts", "initramfs-lts")
KERNEL_FILES = st.lists(
    st.sampled_from(
        [
            *(
                "vmlinuz-lts",
                "vmlinuz-edge",
                "vmlinuz",
                "initramfs-lts",
                "initramfs-edge",
                "initrd.img",
                "amd-ucode.img",
            ),
            *("vmlinuz-a b", 'vmlinuz-"', "vmlinuz-6.1.0-9", "initrd.img-6.1.0-9", "vmlinuz-\udcff", "initramfs-a b"),
        ]
    )
    | NAMES,
    max_size=5,
    unique=True,
)
OS_RELEASE = st.lists(
    st.builds(
        "{}={}".format, st.sampled_from(["NAME", "ID", "ID_LIKE", "X"]), TEXT | st.sampled_from(['"Debian"', "arch"])
    )
    | TEXT,
    max_size=4,
).map("\n".join)
REFIND_CONF = st.lists(
    st.sampled_from(
        [
            *('"', '""', "#", " ", "=", ",", "{", "}\n", "\n", "\r\n", "\r", "\0", "a", "\xe4", "menuentry x {\n"),
            *("submenuentry ", "loader ", "options ", "include sysmut.conf\n", "include x\n", "scanfor manual\n"),
            *("scanfor internal\n", "timeout 5\n", "default_selection ", "use_nvram false\n"),
        ]
    ),
    max_size=12,
).map("".join)
REFIND_BYTES = st.builds(
    lambda mark, text, codec: mark + text.encode(codec),
    st.sampled_from([b"", b"", b"", b"\xff\xfe", b"\xef\xbb\xbf"]),
    REFIND_CONF,
    st.sampled_from(["latin-1", "latin-1", "utf-16-le"]),
) | st.binary(max_size=60)

_NUMBERS = st.integers(0, 0xFFFF).map("{:04X}".format)
_GUIDS = st.sampled_from(["0fc63daf-8483-4772-8e79-3d69d8477de4", "af3dc60f-0000-0000-0000-000000000001"])
_LOADERS = st.sampled_from(["\\EFI\\refind\\refind_x64.efi", "\\EFI\\BOOT\\BOOTX64.EFI", "\\x"])
FIRMWARE = st.lists(
    st.tuples(_NUMBERS, st.booleans(), _GUIDS, _LOADERS, st.sampled_from(["", " -c x", "\xff"])),
    max_size=4,
    unique_by=lambda entry: entry[0],
)
"""Entries of a firmware's menu: number, active, partition, loader, data behind it."""
ORDERS = st.lists(_NUMBERS, max_size=4, unique=True)


@st.composite
def elf(draw: st.DrawFn) -> bytes:
    """What begins like a program, with a header that may lie, and bytes behind it."""
    wide, order = draw(st.booleans()), draw(st.sampled_from("<>"))
    numbers = st.sampled_from([0, 1, 32, 56, 64, 120, 2**16 - 1, 2**32 - 1, *([2**62, 2**64 - 1] if wide else [])])
    head = bytearray(64)
    head[:6] = b"\x7fELF" + bytes([1 + wide, 1 + (order == ">")])
    struct.pack_into(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28, draw(st.just(64) | numbers))
    sizes = (draw(st.sampled_from([32, 56, 0])), draw(st.integers(0, 3) | st.just(2**16 - 1)))
    struct.pack_into(f"{order}HH", head, 54 if wide else 42, *sizes)
    kind = struct.pack(f"{order}I", draw(st.sampled_from([1, 3, 3])))
    fields = [struct.pack(f"{order}{'Q' if wide else 'I'}", draw(numbers)) for _ in range(6)]
    return bytes(head) + kind + b"".join(fields) + draw(BYTES)
