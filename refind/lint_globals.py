"""Rules of global options, which concern a file together with what it includes: what is booted when
nobody chooses, and whether the entries are shown at all."""

import re
from collections.abc import Iterator

from refind.finding import Desk, Finding
from refind.keywords import keyword
from refind.model import Config, Entry
from refind.parse import Document
from refind.tokens import Line

_TIME = re.compile(r"\d{1,2}:\d{2}")


def findings(document: Document) -> Iterator[Finding]:
    """All of them, in a file and what it includes."""
    config = document.config
    whole = document.read_include is not None or not config.includes
    for each in (document, *document.included.values()):
        for line in each.text.lines if each else ():
            if each and line.tokens and keyword(line) == "default_selection":
                yield from _default(Desk(each.name), line, config, whole=whole)
    if _shown(config):
        yield from _scanfor(config)
        choice = len(_shown(config)) > 1 or any(entry.submenus for entry in _shown(config))
        if document.main and whole and choice and "default_selection" not in config.globals:
            message = "with no default_selection, rEFInd boots again what was booted last"
            yield Desk(document.name).note(1, "default-unset", message, f"{_STICKS}: name the title of an entry")


def _shown(config: Config) -> list[Entry]:
    return [entry for entry in config.entries if not entry.disabled]


def _scans(config: Config) -> set[str]:
    """The first letters of scanfor's values: rEFInd looks at no more. Its default has all kinds."""
    return {value[:1].lower() for value in config.globals.get("scanfor", ("internal", "manual"))[:9]}


def _scanfor(config: Config) -> Iterator[Finding]:
    if "m" not in _scans(config):
        setting = next(setting for setting in reversed(config.settings) if setting.keyword == "scanfor")
        message = "scanfor without manual: none of the entries written by hand is shown"
        yield Desk(setting.file).error(setting.line, "scanfor", message, "add manual")


_STICKS = "one that was chosen by hand once becomes the default"


def _default(desk: Desk, line: Line, config: Config, *, whole: bool) -> Iterator[Finding]:
    """One line with default_selection: a quoted list of which the first that names something counts."""
    if len(line.args) != 1 and not (len(line.args) == 3 and all(map(_TIME.fullmatch, line.args[1:]))):
        message = f"default_selection takes one word, here {len(line.args)}; rEFInd passes over the line"
        yield desk.error(line, "default-unquoted", message, 'put the list in quotes: "one,two"')
        return
    names = [name for name in line.args[0].split(",") if name]
    if any(name.strip() == "+" for name in names):
        message = "default_selection with + boots again what was booted last"
        yield desk.warning(line, "default-sticks", message, f"{_STICKS}: take + out")
        names = [name for name in names if name.strip() != "+"]
    if names and whole and _shown(config):
        yield from _names(desk, line, config, names)


def _names(desk: Desk, line: Line, config: Config, names: list[str]) -> Iterator[Finding]:
    """That a name is part of a title in the main menu; one of a single character is a key or a place."""
    shown = _shown(config)
    titles = [f"boot {entry.title} from {entry.volume or ''}".lower() for entry in shown]
    inner = [submenu.title.lower() for entry in shown for submenu in entry.submenus]
    if any(len(name) == 1 or any(name.lower() in title for title in titles) for name in names):
        return
    what = f"default_selection {line.args[0]!a}"
    if any(name.lower() in title for name in names for title in inner):
        message = f"{what} is an entry of a submenu, which cannot be the default"
        yield desk.error(line, "default-submenu", message, "name an entry of the main menu")
    elif _scans(config) == {"m"}:
        yield desk.error(line, "default-nothing", f"{what} names no entry of the main menu", "name one by its title")
    else:
        message = f"{what} names no entry that is written here"
        yield desk.note(line, "default-nothing", message, "it may be one that rEFInd finds by itself")
