"""What generations are called on the command line: arguments that a shell can complete.

Completion is click's, which asks an argument for what may stand there. No lock is waited for, and nothing is written.
Where the names cannot be read none are offered, and nothing is said: it would be said into somebody's command line.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sysmut.errors import SysmutError
from sysmut.values import replace

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from sysmut.config import Config
    from sysmut.generations import State
    from sysmut.toplevel import TopLevel

_Function = TypeVar("_Function", bound=Callable[..., Any])

ALSO = "sysmut.also"
"""The key, in a context's `meta`, of the words that may stand in the place of a name: word -> what it means."""

_PLAIN = r"[A-Za-z0-9._+@:%][A-Za-z0-9._+@:~%=-]*"
"""What is one word to every shell, as it stands, and no option to sysmut."""

_LONGEST_HELP = 60
_FILESYSTEMS = "/sys/fs/btrfs"
_DISKS = "/sys/block"


def files(_ctx: click.Context, _parameter: click.Parameter | None, incomplete: str) -> "list[CompletionItem]":
    """For what takes a file: the shell completes it."""
    return _left_to_shell("file", incomplete)


def directories(_ctx: click.Context, _parameter: click.Parameter | None, incomplete: str) -> "list[CompletionItem]":
    """For what takes a directory: the shell completes it."""
    return _left_to_shell("dir", incomplete)


def _left_to_shell(kind: str, incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]


def _generations(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Slots, `booted`, pins and ids that begin so, with what each is."""
    if "sysmut.argv" in ctx.meta:  # behind --, where the name of a program is to be
        return files(ctx, parameter, incomplete)
    if "/" in incomplete and "DIRECTORY" in (parameter.metavar or ""):
        return directories(ctx, parameter, incomplete)
    names = _known(ctx, lambda top, state: _names(top, state, incomplete))
    also = ctx.meta.get(ALSO, {})
    return _items({**also, **names, **also}, incomplete)  # first in order, and in what is meant


def _pins(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Pins that begin so; those that lead nowhere, too, for they are to be taken away."""

    def names(top: "TopLevel", state: "State") -> dict[str, str]:
        from sysmut import generations

        return {**_pinned(state), **dict.fromkeys(generations.unresolved_pins(top, state), "leads nowhere")}

    return _items(_known(ctx, names), incomplete)


def _items(names: dict[str, str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    fitting = (name for name in names if name.startswith(incomplete) and re.fullmatch(_PLAIN, name))
    return [CompletionItem(name, help=_shortened(names[name]) or None) for name in fitting]


def _shortened(text: str) -> str:
    """A line that every terminal can show, whatever was written into a record."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: _LONGEST_HELP + 1]).strip()
    line = line if len(text) <= _LONGEST_HELP else f"{line[: _LONGEST_HELP - 3]}..."
    encoding = sys.stdout.encoding or "ascii"
    return line.encode(encoding, "replace").decode(encoding)


def _names(top: "TopLevel", state: "State", incomplete: str) -> dict[str, str]:
    """Name -> what it is. Of the ids, those that begin so, the newest first: each has a record to be read."""
    from sysmut import generations

    names = {str(number): name for number, name in enumerate(state.slots) if name is not None}
    booted = generations.booted(top)
    if booted in state.generations:
        names["booted"] = booted or ""
    names = {**names, **{pin: said for pin, said in _pinned(state).items() if pin not in names}}
    for name in sorted(state.generations, reverse=True):
        if name.startswith(incomplete):
            record = generations.read_record(top, name) or {}
            names[name] = str(record.get("description") or ", ".join(state.references(name)))
    return names


def _pinned(state: "State") -> dict[str, str]:
    return {pin: f"pin -> {generation}" for pin, generation in state.pins.items()}


def _known(ctx: click.Context, names: "Callable[[TopLevel, State], dict[str, str]]") -> dict[str, str]:
    """What `names` finds in the top level that the command line and the environment name so far."""
    if os.geteuid() != 0:
        return {}
    with contextlib.suppress(SysmutError, OSError), ctx.scope(cleanup=False):
        from sysmut import generations, toplevel

        config = _settings(ctx)
        if config is not None:
            with toplevel.opened(config) as top:
                return names(top, generations.read(top))
    return {}


def _settings(ctx: click.Context) -> "Config | None":
    """The settings; None for a filesystem that is not mounted yet. To mount it would be to write to it, and it could
    be that of a system that is only asleep."""
    from sysmut.cli import options

    config = options.settings({name: ctx.params.get(name) for name in ("root", "device", "image", "config_file")})
    if config.image:
        device = _loop_device(config.image)
        return replace(config, image=None, device=device) if device else None
    return config if config.device is None or _is_mounted(config.device) else None


def _loop_device(image: str) -> str | None:
    """The loop device that shows a disk image's filesystem by now."""
    path = os.path.realpath(image)
    for name in os.listdir(_DISKS):
        with (
            contextlib.suppress(OSError),
            open(f"{_DISKS}/{name}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file,
        ):
            if file.read().removesuffix("\n") == path and _is_mounted(f"/dev/{name}"):
                return f"/dev/{name}"
    return None


def _is_mounted(device: str) -> bool:
    """Whether the kernel has the btrfs filesystem open that is on a device, or has such a UUID."""
    key, separator, value = device.partition("=")
    if separator and key == "UUID":
        return os.path.isdir(f"{_FILESYSTEMS}/{value.lower()}")
    path = f"/dev/disk/by-{key.lower()}/{value}" if separator else device
    name = os.path.basename(os.path.realpath(path))
    return any(os.path.lexists(f"{_FILESYSTEMS}/{number}/devices/{name}") for number in os.listdir(_FILESYSTEMS))


GENERATION = click.argument("generation", metavar="GENERATION", shell_complete=_generations)
"""One generation, by any name."""

PIN = click.argument("name", metavar="NAME", shell_complete=_pins)
"""A pin."""


def argument(name: str, **options: Any) -> Callable[[_Function], _Function]:
    """An argument that names one generation or several."""
    return click.argument(name, shell_complete=_generations, **options)
