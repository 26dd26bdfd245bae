"""What a configuration means to rEFInd, as values.

Paths (loader, initrd, icon) are held with `/`, however the file writes them; everything else is the
token as rEFInd holds it. None is "not said": rEFInd then does what it does by default."""

from dataclasses import dataclass, field

from refind.keywords import ADDING


@dataclass(frozen=True)
class Boot:
    """What an entry of the menu and one of a submenu have in common. `line` and `file` say where it
    begins, `says` the keywords that stand in it; the three are no part of what it means."""

    title: str
    volume: str | None = None
    loader: str | None = None
    initrd: str | None = None
    options: str | None = None
    graphics: bool | None = None
    disabled: bool = False
    line: int = field(default=0, compare=False, kw_only=True)
    file: str = field(default="", compare=False, kw_only=True)
    says: frozenset[str] = field(default=frozenset(), compare=False, kw_only=True)

    @property
    def command_line(self) -> str:
        """What the kernel is given: the options, then `initrd=` with the path as rEFInd writes it."""
        initrd = None if self.initrd is None else "initrd=" + self.initrd.replace("/", "\\")
        return " ".join(text for text in (self.options, initrd) if text)


@dataclass(frozen=True)
class Submenu(Boot):
    """An entry of a submenu, with what it takes over from its parent filled in."""


@dataclass(frozen=True)
class Entry(Boot):
    """An entry of the main menu. `firmware_bootnum` (hexadecimal) is one that reboots into a boot
    entry of the firmware; such a one has no loader."""

    icon: str | None = None
    ostype: str | None = None
    firmware_bootnum: str | None = None
    submenus: tuple[Submenu, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One line with a global option that rEFInd heeds."""

    keyword: str
    values: tuple[str, ...]
    line: int
    file: str


@dataclass(frozen=True)
class Config:
    """A file with what it includes: global options and entries in the order in which rEFInd reads
    them, and the paths after `include`."""

    settings: tuple[Setting, ...]
    entries: tuple[Entry, ...]
    includes: tuple[str, ...]

    @property
    def globals(self) -> dict[str, tuple[str, ...]]:
        """The values in force of each global option: the last line counts, except that hideui, and a
        list that begins with `+`, add; a default_selection for some hours is left out."""
        found: dict[str, tuple[str, ...]] = {}
        for setting in self.settings:
            word, values = setting.keyword, setting.values
            if word == "default_selection" and len(values) == 3:
                continue
            adds = word in ADDING and len(values) > 1 and values[0] == "+"
            before = found.get(word, ()) if adds or word == "hideui" else ()
            found[word] = (*before, *(values[1:] if adds else values))
        return found
