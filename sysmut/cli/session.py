"""`sysmut [SLOT]` and `sysmut --script FILE [SLOT]`: a session; and what `sysmut run` shares with it."""

import sys
from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import BadData, UsageError

_SCRIPT_LIMIT = 64 * 2**20


@click.command("session")
@naming.argument("slot", required=False, default="0", metavar="[SLOT]")
@click.option(
    "--script",
    metavar="FILE",
    shell_complete=naming.files,
    help="Run this script instead of a shell; - reads standard input.",
)
@options.session
@options.common
def command(slot: str, script: str | None, **values: Any) -> None:
    """Open a shell in a new generation, or run a script in it, and publish it.

    The new generation is a snapshot of the one in SLOT. If the shell or script ends with status 0 it
    becomes slot 0; else it is discarded, and the status is passed on.
    """
    require_root()
    from sysmut.session import Program

    program = Program() if script is None else Program(script=read_script(script), name=script)
    carry_out(slot, program, values)


def read_script(path: str) -> bytes:
    """The content of a script on the host; `-` is standard input."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(_SCRIPT_LIMIT + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(_SCRIPT_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"the script {path}: {error.strerror}") from None
    if not content.strip():
        raise BadData(f"the script {path} is empty")
    if len(content) > _SCRIPT_LIMIT:
        raise BadData(f"the script {path} is larger than 64 MiB")
    return content


def carry_out(slot: str, program: Any, values: dict[str, Any]) -> None:
    """The session of a command's parameters: make it, say how it ended."""
    from sysmut import generations, menu, session, toplevel
    from sysmut.signals import Interrupts

    console = options.console(values)
    config = options.settings(values)
    said: list[str] = []
    warnings: list[str] = []
    shown = sys.stderr.fileno() if console.as_json else sys.stdout.fileno()
    request = session.Request(
        program=program,
        source=slot,
        outputs=(shown, sys.stderr.fileno()),
        say=console.detail,
        announce=console.note,
        around=lambda top, state: menu.kept_right(top, config, state, said.append, warnings.append),
        **values,
    )
    with Interrupts() as interrupts, toplevel.opened(config) as top:
        if config.esp is not None:
            with toplevel.locked(top, interrupts.check):
                menu.repair(top, config, generations.read(top), console.note, console.warn)
        try:
            _report(console, session.mutate(top, config, request, interrupts), warnings)
        finally:  # last, for it may be what must be done before the next reboot
            for line in said:
                console.note(line)
            for line in warnings:
                console.warn(line)


def _report(console: Console, result: Any, warnings: list[str]) -> None:
    from sysmut.generations import slot_lines

    if console.as_json:
        console.json(
            {
                "version": 1,
                "outcome": "published" if result.published else "unchanged",
                "status": 0,
                "origin": "sysmut",
                "generation": result.generation if result.published else None,
                "source": result.source,
                "current": result.state.link_set,
                "slots": list(result.state.slots),
                "warnings": warnings,
            }
        )
        return
    if not result.published:
        console.note(f"nothing changed: the new generation was dropped, slot 0 is still {result.state.slots[0]}")
        return
    console.note(f"published: generation {result.generation} is slot 0 now, made from {result.source}")
    for line in slot_lines(result.state, result.booted, {}):
        console.note(line)
    console.note(
        "to undo it: sysmut rollback" if result.booted is None else "reboot to run it; to undo it: sysmut rollback"
    )
