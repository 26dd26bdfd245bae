"""`sysmut diff [A] [B]`."""

from typing import Any

import click

from sysmut.cli import naming, options
from sysmut.cli.frame import Console, require_root
from sysmut.errors import UsageError

_RUNNING = "/"
"""What the running system's root is called, as it is now."""


class _Command(click.Command):
    """Lets several paths follow `--files`, or none: then all are meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread(args))


def _spread(args: list[str]) -> list[str]:
    """The arguments with a `--files` before each of the paths that follow one."""
    spread: list[str] = []
    position = 0
    while position < len(args):
        word = args[position]
        position += 1
        if word != "--files":
            spread.append(word)
            continue
        first = position
        while position < len(args) and args[position].startswith("/"):
            position += 1
        for path in args[first:position] or [_RUNNING]:
            spread += ["--files", path]
    return spread


@click.command("diff", cls=_Command)
@naming.argument("before", required=False, metavar="[FROM]")
@naming.argument("after", required=False, metavar="[TO]")
@click.option(
    "--files",
    "paths",
    multiple=True,
    metavar="[PATH]...",
    shell_complete=naming.files,
    help="Show how text files differ: these, or all.",
)
@click.option("--stat", "stat", is_flag=True, help="Only say how much is different.")
@options.KERNEL
@options.common
def command(before: str | None, after: str | None, paths: tuple[str, ...], stat: bool, **values: Any) -> None:
    """Show what differs between two generations.

    Without FROM, that is slot 1; without TO, slot 0. TO may be `/`, the running system's root as it is now. First the
    packages: + added, - removed, ~ changed; then the files: + - ~ the same, > renamed, a for attributes (mode, owner).
    """
    require_root()
    from sysmut import generations, toplevel
    from sysmut.changes import comparison

    if before == _RUNNING:
        raise UsageError("only TO can be /", hint="sysmut diff GENERATION /")
    if stat and paths:
        raise UsageError("--stat and --files do not go together")
    console = options.console(values)
    config = options.settings(values)
    with toplevel.opened(config) as top:
        state = generations.read(top)
        booted = generations.booted(top)
        old = generations.find(state, "1" if before is None else before, booted)
        new = None if after == _RUNNING else generations.find(state, "0" if after is None else after, booted)
        found = comparison.compare(top, old, new, config)
        texts = comparison.texts(top, found, paths)
    if console.as_json:
        console.json(comparison.to_json(found, texts, stat=stat))
        return
    _print(console, comparison.to_lines(found, stat=stat) if not paths else [], texts)


def _print(console: Console, lines: list[str], texts: dict[str, list[str]]) -> None:
    for line in lines:
        console.data(line)
    for difference in texts.values():
        for line in difference:
            console.text(line)
