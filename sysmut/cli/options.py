"""The options that several commands have, each declared once."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sysmut import config
from sysmut.cli import naming
from sysmut.cli.frame import Console
from sysmut.config import Config
from sysmut.values import fields

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _number(_ctx: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("not a number")
    return value


_PLACE = (
    click.option(
        "--root",
        metavar="DIR",
        envvar="SYSMUT_ROOT",
        shell_complete=naming.directories,
        help="A directory where the top level is mounted.",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        envvar="SYSMUT_DEVICE",
        shell_complete=naming.files,
        help="The btrfs device, or UUID=…",
    ),
    click.option(
        "--image",
        metavar="FILE",
        envvar="SYSMUT_IMAGE",
        shell_complete=naming.files,
        help="A disk image that holds the btrfs.",
    ),
    click.option(
        "--config",
        "config_file",
        metavar="FILE",
        envvar="SYSMUT_CONFIG",
        shell_complete=naming.files,
        help="Settings; else /etc/sysmut.toml.",
    ),
)
_OUTPUT = (
    click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
)
SLOTS = click.option("--slots", type=int, metavar="N", envvar="SYSMUT_SLOTS", help="The number of slots from now on.")
MIN_FREE = click.option(
    "--min-free", metavar="SIZE", envvar="SYSMUT_MIN_FREE", help="Space that must stay free, as 64M."
)
ESP = click.option(
    "--esp",
    metavar="PLACE",
    envvar="SYSMUT_ESP",
    shell_complete=naming.files,
    help="The system partition: where it is mounted, or its device.",
)
FORCE = click.option("--force", is_flag=True, help="Do it even if it would not boot.")
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
VOLUME = click.option(
    "--volume",
    metavar="NAME",
    envvar="SYSMUT_VOLUME",
    help="The btrfs partition's PARTLABEL, PARTUUID or filesystem label.",
)
KERNEL = click.option(
    "--kernel", metavar="NAME", envvar="SYSMUT_KERNEL", help="The kernel to boot where there are several."
)
_RETENTION = (
    click.option("--keep", type=int, metavar="N", envvar="SYSMUT_KEEP", help="Keep the N newest, referred to or not."),
    click.option("--keep-days", type=float, metavar="DAYS", envvar="SYSMUT_KEEP_DAYS", help="Keep what is younger."),
    click.option(
        "--keep-free",
        metavar="SIZE",
        envvar="SYSMUT_KEEP_FREE",
        help="Keep them while so much is free, as 20G or 10%; else the oldest go.",
    ),
)
_INSIDE = (
    click.option("--shell", metavar="PATH", envvar="SYSMUT_SHELL", help="The shell, in the generation."),
    click.option("--environment", "-e", metavar="NAME", multiple=True, help="Pass this variable in."),
    click.option(
        "--mount",
        "mounts",
        metavar="SRC[:DST][:rw]",
        multiple=True,
        shell_complete=naming.files,
        help="Show this path of the host.",
    ),
    click.option(
        "--resolver",
        metavar="FILE",
        shell_complete=naming.files,
        help="What is /etc/resolv.conf in it; empty for none.",
    ),
)
_SESSION = (
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        callback=_number,
        metavar="SECONDS",
        help="End it after so long.",
    ),
    click.option("--drop-if-unchanged", is_flag=True, help="Discard it if nothing but fstab differs."),
    click.option("--keep-failed", is_flag=True, help="Leave a failed generation for inspection."),
    click.option("--description", metavar="TEXT", default="", help="What the generation is for."),
    *_INSIDE,
    FORCE,
    MIN_FREE,
    SLOTS,
    ESP,
    VOLUME,
    KERNEL,
)


def _all(decorators: tuple[Callable[[_Function], _Function], ...]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


common: Callable[[_Function], _Function] = _all((*_PLACE, *_OUTPUT))
"""Which top level, and how to report: every command has these."""

retention: Callable[[_Function], _Function] = _all(_RETENTION)
"""What syscln keeps although nothing refers to it."""

inside: Callable[[_Function], _Function] = _all(_INSIDE)
"""What a program sees that is run in a generation."""

session: Callable[[_Function], _Function] = _all(_SESSION)
"""How a session goes."""


def console(values: dict[str, Any]) -> Console:
    """Take the options of output out of a command's parameters."""
    return Console(quiet=values.pop("quiet"), verbose=values.pop("verbose"), as_json=values.pop("as_json"))


def settings(values: dict[str, Any]) -> Config:
    """Take the settings out of a command's parameters. Where an option names the top level, what the
    environment says of it does not count."""
    file = values.pop("config_file")
    names = fields(Config)
    given = {name: values.pop(name) for name in tuple(values) if name in names}
    context = click.get_current_context()
    sources = {name: context.get_parameter_source(name) for name in ("root", "device", "image")}
    if ParameterSource.COMMANDLINE in sources.values():
        given.update({name: None for name, source in sources.items() if source is ParameterSource.ENVIRONMENT})
    return config.load(given, file)
