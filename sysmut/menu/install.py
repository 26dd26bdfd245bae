"""sysmut's menu on the system partition: a file of its own beside refind.conf, and one line in that."""

import difflib
from collections.abc import Callable, Mapping

from refind.lint import lint
from refind.model import Entry
from refind.parse import Document, parse
from sysmut.config import Config
from sysmut.errors import BadData, NotSysmut
from sysmut.menu import stanza
from sysmut.menu.esp import Esp
from sysmut.toplevel import TopLevel
from sysmut.values import field, frozen

FILE = "sysmut.conf"
MAIN = "refind.conf"
KEPT = ".before-sysmut"
"""Added to the name of a file that is kept as it was before."""

_INCLUDE = f"include {FILE}"
_ICONS = "/EFI/refind/icons"


@frozen
class Change:
    """One file to be written. `path` is from the top of the system partition."""

    path: str
    before: bytes | None
    after: bytes

    @property
    def diff(self) -> tuple[str, ...]:
        """What changes, as a unified diff, a line each."""
        old, new = ((data or b"").decode("latin-1").splitlines() for data in (self.before, self.after))
        name = "/dev/null" if self.before is None else self.path
        return tuple(difflib.unified_diff(old, new, name, self.path, lineterm=""))


@frozen
class Prospect:
    """The system partition as it will be when what is `pending` (path -> content) has been written."""

    partition: Esp
    pending: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        for name, content in self.pending.items():
            if name.lower() == path.lower():
                return content
        return self.partition.read(path)

    def folders(self) -> tuple[str, ...]:
        """The folders with a rEFInd and its configuration, those first in which it is about to be put.
        Which of several the firmware starts cannot be told for sure, so sysmut's file goes into each.

        Raises NotSysmut where there is none.
        """
        new = [path.rpartition("/")[0] for path in self.pending if path.lower().endswith(f"/{MAIN}")]
        known = {path.lower() for path in new}
        found = [*new, *(path for path in self.partition.refind_directories() if path.lower() not in known)]
        ready = tuple(path for path in found if self.read(f"{path}/{MAIN}") is not None)
        if not ready:
            hint = "put it there: sysmut refind --setup"
            raise NotSysmut(f"there is no rEFInd with a {MAIN} on the system partition", hint=hint)
        return ready


@frozen
class Plan:
    """The files to write, in order, and what a user should know about refind.conf. No files where all is
    as it should be."""

    changes: tuple[Change, ...]
    advice: tuple[str, ...]


def entry(top: TopLevel, offered: stanza.Menu, config: Config, volume: str, icons: str = _ICONS) -> Entry:
    """The entry for what is offered."""
    return stanza.entry(offered, top.filesystem, volume, config, icons)


def render(top: TopLevel, offered: stanza.Menu, config: Config, volume: str, folder: str) -> bytes:
    """The content of sysmut's file in the folder of rEFInd."""
    return stanza.text(entry(top, offered, config, volume, f"/{folder}/icons")).encode("ascii")


def installed(partition: Esp) -> dict[str, bytes]:
    """The folders in which sysmut's file is, and what is in it."""
    found = {path: partition.read(f"{path}/{FILE}") for path in partition.refind_directories()}
    return {path: content for path, content in found.items() if content is not None}


def plan(prospect: Prospect, content: Callable[[str], bytes], filesystem: str) -> Plan:
    """What it takes to have sysmut's file, with what `content` says for a folder, in every folder.

    Raises BadData where the first folder's refind.conf could not take the line, or the menu would not show
    with it; of the others that is only told.
    """
    changes: list[Change] = []
    advice: list[str] = []
    for number, where in enumerate(prospect.folders()):
        try:
            files, remarks = _in_folder(prospect, where, content(where), filesystem)
        except BadData as error:
            if not number:
                raise
            remarks, files = (f"not written to {where}: {error.message} ({error.hint})",), ()
        changes += files
        advice += remarks
    return Plan(tuple(changes), tuple(advice))


def _in_folder(
    prospect: Prospect, where: str, content: bytes, filesystem: str
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    path = f"{where}/{MAIN}"
    old = prospect.read(path) or b""
    now = _document(prospect, where, old, None)
    try:
        new = now.with_line_added(_INCLUDE).data
    except ValueError as error:
        raise BadData(f"{path}: {error}", hint=f"add the line yourself: {_INCLUDE}") from None
    after = _document(prospect, where, new, content)
    _require_shown(now, after, content, path)
    advice = [finding for finding in lint(after, [filesystem]) if finding.severity != "note"]
    blocking = [finding for finding in advice if finding.code == "scanfor"]
    if blocking:
        raise BadData(f"{blocking[0].file}, line {blocking[0].line}: {blocking[0].message}", hint=blocking[0].advice)
    mine = prospect.read(f"{where}/{FILE}")
    if mine is not None:
        require_same(mine, f"{where}/{FILE}", filesystem)
    changes = (Change(f"{where}/{FILE}", mine, content), Change(path, old, new))
    return tuple(change for change in changes if change.before != change.after), tuple(map(str, advice))


def require_same(content: bytes, path: str, filesystem: str) -> None:
    """Raise BadData where sysmut's file boots another filesystem: two systems may share the partition."""
    for found in parse(content, FILE).config.entries:
        for word in (found.options or "").split():
            if word.startswith("root=UUID=") and word.removeprefix("root=UUID=") != filesystem:
                raise BadData(
                    f"{path}: boots another filesystem, {word.removeprefix('root=')}",
                    hint="if that system is gone, remove the file; else give this one a system partition of its own",
                )


def _document(prospect: Prospect, where: str, data: bytes, own: bytes | None) -> Document:
    """refind.conf with this content, with what it includes; `own` is what sysmut's file will be."""

    def read(path: str) -> bytes | None:
        if own is not None and path.lower() == FILE:
            return own
        return prospect.read(path.lstrip("/") if path.startswith("/") else f"{where}/{path}")

    return parse(data, f"{where}/{MAIN}", read, main=True)


def _require_shown(now: Document, after: Document, content: bytes, path: str) -> None:
    """Raise BadData unless with the new line all that was in the menu is in it, and sysmut's entry."""
    ours = parse(content, FILE).config.entries
    others = [entry for entry in now.config.entries if not entry.file.lower().endswith(FILE)]
    kept = [entry for entry in after.config.entries if not entry.file.lower().endswith(FILE)]
    shown = [entry for entry in after.config.entries if entry.file.lower().endswith(FILE)]
    if others != kept or shown != list(ours):
        raise BadData(
            f"{path}: with the line `{_INCLUDE}` rEFInd would read the rest of it otherwise",
            hint="python3 -m refind refind.conf shows what is wrong with it",
        )


def apply(partition: Esp, changes: tuple[Change, ...]) -> None:
    """Write the files, each atomically, sysmut's own before the line that includes it. Of refind.conf the
    one before is kept beside it."""
    for change in changes:
        name = change.path.rpartition("/")[2]
        partition.write(change.path, change.after, keep=None if name == FILE else name + KEPT)
