"""`syscln`: delete the generations that nothing refers to any more."""

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from sysmut import __version__
from sysmut.cli import options
from sysmut.cli.frame import Console, leave, require_root, run
from sysmut.cli.progress import Progress
from sysmut.errors import SysmutError


@click.command("syscln", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-n", "--dry-run", is_flag=True, help="Say of every generation what keeps it, or why it goes.")
@options.retention
@options.ESP
@options.VOLUME
@options.KERNEL
@options.common
@click.version_option(__version__, prog_name="syscln")
def command(dry_run: bool, **values: Any) -> int:
    """Delete the generations that nothing refers to any more, and old link sets.

    What is in a slot, pinned, on trial, open in a session, booted or mounted anywhere is kept. Of the rest, what
    --keep or --keep-days asks for is kept too, and with --keep-free alone all that is sealed. It is silent where
    there was nothing to do.
    """
    require_root()
    from sysmut import cleanup, toplevel

    console = options.console(values)
    config = options.settings(values)
    retention = cleanup.Retention.of(config)
    with toplevel.opened(config) as top, Progress(wanted=not console.quiet and not console.as_json) as progress:
        with toplevel.locked(top):
            if config.esp is not None and not dry_run:
                _repair_menu(console, top, config)
            explained = dry_run or console.verbose
            found = cleanup.survey(top, described=retention.given, explained=explained)
            planned = cleanup.plan(*found, retention)
            if dry_run:
                _preview(console, cleanup.without_sessions(top, planned))
                return 0
            report = cleanup.execute(top, planned.at_once, progress.show)
        cleanup.make_room(top, retention, report, progress.show)
        write_down(top, console, "collected", report)
    return report_deletion(console, report)


def _repair_menu(console: Console, top: Any, config: Any) -> None:
    """What a menu names that was left by a run that was cut off must not be deleted."""
    from sysmut import generations, menu

    menu.repair(top, config, generations.read(top), console.note, console.warn)


def _preview(console: Console, planned: Any) -> None:
    if console.as_json:
        console.json(
            {
                "version": 1,
                "dry_run": True,
                "generations": [
                    {"generation": v.generation, "keep": v.keep, "reasons": list(v.reasons)} for v in planned.verdicts
                ],
                "link_sets": list(planned.link_sets),
            }
        )
        return
    for verdict in planned.verdicts:
        console.data(f"{'keep  ' if verdict.keep else 'delete'}  {verdict.generation}  {', '.join(verdict.reasons)}")
    for name in planned.link_sets:
        console.data(f"delete  links/{name}  not in force")


def write_down(top: Any, console: Console, event: str, report: Any) -> None:
    """Write what was deleted into the history."""
    from sysmut import history

    if report.deleted:
        history.note(top, event, console.note, generations=report.deleted)


def report_deletion(console: Console, report: Any) -> int:
    """Say what was done. Raises the first failure, with all that was done in its details."""
    from sysmut.layout import shown
    from sysmut.text import counted

    told = {
        "dry_run": False,
        "deleted": report.deleted,
        "link_sets": report.link_sets,
        "kept": [{"name": name, "reason": shown(reason)} for name, reason in report.kept],
        "failed": [{"name": name, "reason": shown(error.message)} for name, error in report.failed],
        "shortfall": None if report.shortfall is None else dict(vars(report.shortfall)),
    }
    if report.shortfall is not None:
        free, wanted = report.shortfall.free_bytes // 2**20, report.shortfall.wanted_bytes // 2**20
        console.warn(f"{free} MiB are free, fewer than the {wanted} MiB of keep_free: {report.shortfall.reason}")
    if console.as_json:
        if not report.failed:
            console.json({"version": 1, **told})
    elif report.deleted:
        console.note(f"deleted {counted(len(report.deleted), 'generation')}")
    _explain(console, report)
    if not report.failed:
        return 0
    name, error = report.failed[0]
    more = f" (and {len(report.failed) - 1} more)" if len(report.failed) > 1 else ""
    failure = SysmutError(f"not deleted: {name}: {error.message}{more}", hint=error.hint, status=error.status)
    failure.details = told
    raise failure


def _explain(console: Console, report: Any) -> None:
    """Every generation and why, where it was asked for."""
    from sysmut.layout import shown

    for name in report.deleted:
        console.detail(shown(f"deleted {name}: {', '.join(report.reasons[name])}"))
    for name in report.link_sets:
        console.detail(f"deleted links/{name}: not in force")
    for name, reason in report.kept:
        console.detail(shown(f"kept {name}: {reason}"))
    for name, problem in report.failed[1:]:
        console.detail(shown(f"not deleted: {name}: {problem.message}"))
    for name in sorted(report.reasons.keys() - report.tried):
        console.detail(shown(f"kept {name}: {', '.join(report.reasons[name])}"))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script `syscln`."""
    leave(run(command, "syscln", arguments))
