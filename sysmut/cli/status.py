"""`sysmut status`."""

import time
from typing import Any

import click

from sysmut.cli import looking, naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import SysmutError, UsageError, from_oserror
from sysmut.layout import shown


@click.command("status")
@click.option("--check", "checked", is_flag=True, help="Look into the kernels too, and say in one line if all is well.")
@click.option(
    "--prometheus",
    metavar="FILE",
    shell_complete=naming.files,
    help="Write figures for the node exporter into this file; - prints them.",
)
@options.retention
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
def command(checked: bool, prometheus: str | None, **values: Any) -> int:
    """Show what is booted, the slots, and what waits for syscln.

    With --check, the status is 0 if all is well, 1 for a warning, 2 if it is critical, and 3 if it cannot be told, as
    monitoring expects.
    """
    if checked and prometheus is not None:
        raise UsageError("--check and --prometheus do not go together")
    console = options.console(values)
    if not checked:
        return _look(console, prometheus, values)
    return _check(console, values)


def _check(console: Console, values: dict[str, Any]) -> int:
    """The verdict for monitoring, which reads standard output and the status, and knows no other errors."""
    from sysmut.status import monitoring, to_json

    try:
        status, health = _judge(values)
    except (SysmutError, OSError) as error:
        problem = from_oserror(error) if isinstance(error, OSError) else error
        if console.as_json:
            raise SysmutError(problem.message, hint=problem.hint, status=monitoring.UNKNOWN) from None
        console.data(f"SYSMUT UNKNOWN - {shown(problem.message)}")
        return monitoring.UNKNOWN
    if console.as_json:
        console.json({**to_json(status), "health": monitoring.to_json(health)})
    else:
        console.data(monitoring.to_line(health, status))
    return int(health.level)


def _look(console: Console, prometheus: str | None, values: dict[str, Any]) -> int:
    require_root()
    if prometheus is not None:
        _write_figures(console, prometheus, values)
        return 0
    from sysmut import status, toplevel
    from sysmut.status.glance import glance

    config = options.settings(values)
    with toplevel.opened(config) as top:
        found = _collect(top, config)
    if console.as_json:
        console.json(status.to_json(found))
        return 0
    for line in status.to_text(found, glance(found, config)):
        console.data(line)
    return 0


def _collect(top: Any, config: Any) -> Any:
    from sysmut import status

    plan = looking.planned(top, config, explained=False)
    return status.collect(top, plan.state, plan.doomed)


def _judge(values: dict[str, Any]) -> tuple[Any, Any]:
    """How the system stands, and whether all is well."""
    require_root()
    from sysmut import toplevel
    from sysmut.cli.check import of_menu
    from sysmut.status import monitoring

    config = options.settings(values)
    with toplevel.opened(config) as top:
        found = _collect(top, config)
        return found, monitoring.judge(top, found, config, of_menu(top, config, found.state))


def _write_figures(console: Console, path: str, values: dict[str, Any]) -> None:
    from sysmut.status import prometheus

    found, health = _judge(values)
    text = prometheus.render(found, health, time.time())
    if path != "-":
        prometheus.write(path, text)
        return
    for line in text.splitlines():
        console.data(line)
