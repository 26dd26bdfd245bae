"""rEFInd's menu, as it shows on the serial line, and keys to choose from it.

rEFInd shows its menu as text where the machine has no screen (`textonly` is then not needed), and
hears the serial line in every mode. With a screen and graphics nothing can be read, and only `send` helps.
"""

import re
from dataclasses import dataclass

from tests.boot.machine import DOWN, ENTER, UP, Machine

DETAILS = "+"
"""The key that opens an entry's own menu; Insert, Tab and F2 do the same."""
_LINE = re.compile(rb"\x1b\[\d+;03H((?:\x1b\[[\d;]*m)*) ([^\x1b]*)")
_SELECTED = b"\x1b[42m"


@dataclass(frozen=True)
class Menu:
    """A menu on the screen: its entries from the top, and the index of the one that is selected."""

    entries: tuple[str, ...]
    selected: int


def read_main_menu(machine: Machine) -> Menu:
    """Wait for rEFInd's main menu. An entry reads `Boot TITLE from VOLUME`."""
    return _read(machine, r"rEFInd - Main Menu(.*?)Esc or Backspace to refresh")


def open_entry(machine: Machine, title: str) -> Menu:
    """In the main menu, go to the entry with this title and open its own menu."""
    _go(machine, read_main_menu(machine), f"Boot {re.escape(title)} from .*")
    machine.send(DETAILS)
    return _read(machine, r"rEFInd - Boot Options(.*?)Esc to return to main menu")


def choose(machine: Machine, title: str, within: str | None = None) -> None:
    """Boot the entry of the main menu that has this title, or the one inside the entry `within`.
    `Boot using default options` is the name there of the entry itself; one with a volume of its own reads
    as those of the main menu do."""
    if within is None:
        _go(machine, read_main_menu(machine), f"Boot {re.escape(title)} from .*")
    else:
        _go(machine, open_entry(machine, within), f"(Boot )?{re.escape(title)}( from .*)?")
    machine.send(ENTER)


def _read(machine: Machine, pattern: str) -> Menu:
    lines = _LINE.findall(machine.expect(pattern)[1])
    marked = [_SELECTED in style for style, _ in lines]
    return Menu(tuple(text.decode().strip() for _, text in lines), marked.index(True))


def _go(machine: Machine, menu: Menu, entry: str) -> None:
    """Move to the entry that this regular expression matches. Each step is awaited: the next key could
    come too early."""
    found = [at for at, text in enumerate(menu.entries) if re.fullmatch(entry, text)]
    assert len(found) == 1, f"{entry!r} is {len(found)} of {menu.entries}"
    step = 1 if found[0] > menu.selected else -1
    for at in range(menu.selected, found[0], step):
        machine.send(DOWN if step == 1 else UP)
        machine.expect(re.escape(f"\x1b[42m {menu.entries[at + step]}"))
