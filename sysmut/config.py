"""Settings: from options, from the environment, from `/etc/sysmut.toml`; one frozen value.

An option beats the environment, which beats the file, which beats the defaults. The command line
reads the first two; this room reads the file and puts all together.
"""

import re
from collections.abc import Mapping
from typing import Any

from sysmut.errors import BadConfiguration, UsageError
from sysmut.values import fields, frozen

DEFAULT_FILE = "/etc/sysmut.toml"

# Compiled where they are used, which they seldom are.
_PART = r"([0-9]{1,2}(?:\.[0-9]{1,6})?)\s*%"
_SIZE = r"(?i)([0-9]{1,18})\s*([KMGT]?)(i?B)?"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NUMBERS = {
    "slots": (1, 100, "a number"),
    "panic": (0, 3600, "a number of seconds"),
    "keep": (0, 1_000_000, "a number of generations"),
    "keep_days": (0, 100_000, "a number of days"),
}


@frozen
class Space:
    """An amount of space: so many bytes, or a part of the filesystem."""

    text: str
    """As it was given."""
    size: int = 0
    percent: float = 0

    def of(self, total: int) -> int:
        """The bytes, on a filesystem of `total` bytes."""
        return self.size or int(total * self.percent / 100)

    def __str__(self) -> str:
        return self.text


@frozen
class Config:
    """Every setting. The fields have the names that the file has, and the options, with `-` for `_`."""

    root: str | None = None
    """A directory on which the top level is mounted already."""
    device: str | None = None
    """The block device, or UUID=…, of the btrfs filesystem."""
    image: str | None = None
    """A disk image that holds the btrfs filesystem, by itself or in a GPT partition."""
    slots: int | None = None
    """The number of slots; None leaves it as it is."""
    shell: str | None = None
    """The shell of an interactive session, as a path in the generation."""
    environment: tuple[str, ...] = ()
    """Names of environment variables to pass into a session, besides TERM."""
    mounts: tuple[str, ...] = ()
    """Host paths to show in a session: `PATH[:TARGET][:rw]`."""
    resolver: str = "/etc/resolv.conf"
    """The host's file that a session sees as /etc/resolv.conf; empty for none."""
    min_free: int = 32 * 2**20
    """Bytes that must be free before a session and after it, for it to be published."""
    keep: int = 0
    """How many generations syscln keeps although nothing refers to them, the newest of all; 0 for none."""
    keep_days: float = 0
    """The age in days up to which it keeps them; 0 for none."""
    keep_free: Space | None = None
    """What must be free for it to keep them: else the oldest go."""
    esp: str | None = None
    """The system partition of the firmware: where it is mounted, or its device. Where it is set, the
    boot menu on it is kept up to date."""
    volume: str | None = None
    """How the boot menu names the btrfs partition; else its PARTLABEL or PARTUUID."""
    title: str | None = None
    """The boot menu entry's title; else the name that the distribution gives itself."""
    icon: str | None = None
    """The entry's icon, as a path on the system partition."""
    kernel: str | None = None
    """The name (flavor or release) of the kernel to boot where there are several; else the newest."""
    kernel_options: str = ""
    """What is added to every kernel command line."""
    panic: int = 30
    """Seconds after which a kernel that panics reboots; 0 for never."""


_OF_ONE_SYSTEM = ("device", "esp", "volume")
_IN_MENU = ("volume", "title", "icon", "kernel_options")
_IN_FILE = frozenset(fields(Config)) - {"root", "image"}


def load(options: Mapping[str, Any], file: str | None = None) -> Config:
    """The settings in force. `options` are those given by option or environment (None: not given);
    `file` is read if it is there, and must be there if it was asked for.

    Raises UsageError, with the option, or BadConfiguration, with the file and the key, for what cannot
    be meant.
    """
    values: dict[str, Any] = dict(_read(file or DEFAULT_FILE, required=file is not None))
    given = {key: value for key, value in options.items() if value not in (None, ())}
    places = [key for key in ("root", "device", "image") if key in given]
    for place in places:
        if given[place] == "":  # an unset variable of a script must not mean the running system
            raise UsageError(f"--{place} is empty", hint="leave it out for the running system")
    if len(places) > 1:
        raise UsageError(f"--{' and --'.join(places)} each name the top level", hint="give one of them")
    if places:  # what the file says is of the running system, and must not be done to another's sake
        for key in _OF_ONE_SYSTEM:
            values.pop(key, None)
    for key, value in given.items():
        try:
            values[key] = _checked(key, value)
        except ValueError as error:
            raise UsageError(f"--{key.replace('_', '-')} {error}") from None
    values["kernel"] = values.get("kernel") or None
    return Config(**values)


def _read(path: str, *, required: bool) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if required:
            raise BadConfiguration(f"{path}: no such file") from None
        return {}
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from None
    import tomllib  # late: most systems have no such file

    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, [[[[…
        raise BadConfiguration(f"{path}: {error}") from None
    checked = {}
    for key, value in values.items():
        if key not in _IN_FILE:
            raise BadConfiguration(
                f"{path}: {key!r} is not a setting", hint=f"the settings are: {', '.join(sorted(_IN_FILE))}"
            )
        try:
            checked[key] = _checked(key, value)
        except ValueError as error:
            raise BadConfiguration(f"{path}: {key} {error}") from None
    return checked


def _checked(key: str, value: Any) -> Any:
    """The value in the type that Config has for `key`. Raises ValueError, saying what it must be."""
    if key in ("environment", "mounts"):
        if not isinstance(value, list | tuple) or not all(_is_text(item) for item in value):
            raise ValueError("must be a list of strings")
        if key == "environment" and not all(re.fullmatch(_VARIABLE, item) for item in value):
            raise ValueError("must be names of variables, without values")
        return tuple(value)
    if key in _NUMBERS:
        least, most, what = _NUMBERS[key]
        kinds = int | float if key == "keep_days" else int
        if isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise ValueError(f"must be {what} from {least} to {most}")
    if key == "min_free":
        return parse_size(value)
    if key == "keep_free":
        return parse_space(value)
    if key in _IN_MENU and (not isinstance(value, str) or not value.isascii() or not value.isprintable()):
        raise ValueError("must be one line of plain ASCII, which is all that the boot loader reads")
    if _is_text(value):
        return value
    raise ValueError("must be a string")


def _is_text(value: Any) -> bool:
    """Whether it is a string, and one that the kernel takes whole."""
    return isinstance(value, str) and "\0" not in value


def parse_size(value: Any) -> int:
    """Bytes, from a number or from text such as `64M` (powers of 1024). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(_SIZE, value.strip(), re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a size, as "64M"')
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_space(value: Any) -> Space | None:
    """The amount, from a size or from text such as `10%`; None for nothing. Raises ValueError."""
    match = re.fullmatch(_PART, value.strip(), re.ASCII) if isinstance(value, str) else None
    if match is not None:
        percent = float(match[1])
        return Space(value.strip(), percent=percent) if percent else None
    try:
        size = parse_size(value)
    except ValueError:
        raise ValueError('must be a size, as "20G", or a part of the filesystem below 100%, as "10%"') from None
    text = str(value).strip()
    return Space(f"{text} bytes" if text.isdigit() else text, size) if size else None
