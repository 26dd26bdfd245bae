"""From bytes to what they mean, keeping the bytes: a Document is a file with its lines, its stanzas and
the files that it includes."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from refind.edit import added, replaced
from refind.keywords import GLOBAL, keyword, takes
from refind.model import Config, Entry, Setting, Submenu
from refind.tokens import Line, Text, fold, read
from refind.tree import Block, Tree, grow

ReadInclude = Callable[[str], bytes | None]
MAIN = "refind.conf"


@dataclass(frozen=True)
class Document:
    """One file. `main` is whether rEFInd begins with it: only there does `include` work.

    The two editing methods give a new document and change no byte but those of the line; both take
    ASCII text without its line end, and raise ValueError where rEFInd would not read the line so.
    """

    data: bytes = field(repr=False)
    name: str
    main: bool
    read_include: ReadInclude | None = field(repr=False, compare=False)

    @functools.cached_property
    def text(self) -> Text:
        """The lines, with their tokens."""
        return read(self.data)

    @functools.cached_property
    def tree(self) -> Tree:
        """The lines by stanza."""
        return grow(self.text.lines)

    @functools.cached_property
    def included(self) -> dict[int, "Document | None"]:
        """What the `include` lines name, by line number; None where there is no such file, or where
        nothing was given to read it with."""
        lines = (line for line in self.text.lines if self.includes(line))
        return {line.number: self._include(posix(line.args[0])) for line in lines}

    def includes(self, line: Line) -> bool:
        """Whether rEFInd reads another file at this line: in the main file, with one argument, that
        is not the main file itself."""
        if not self.main or not line.tokens or keyword(line) != "include" or len(line.args) != 1:
            return False
        return fold(line.args[0]) != fold(PurePosixPath(self.name).name)

    def _include(self, path: str) -> "Document | None":
        data = self.read_include(path) if self.read_include else None
        return None if data is None else Document(data, str(PurePosixPath(self.name).parent / path), False, None)

    @functools.cached_property
    def config(self) -> Config:
        """What it means, with what it includes."""
        includes = tuple(posix(line.args[0]) for line in self.text.lines if self.includes(line))
        return Config(tuple(self._settings()), tuple(self._entries()), includes)

    def _settings(self) -> Iterator[Setting]:
        """Global options stand where they stand: rEFInd reads them within stanzas too."""
        for line in self.text.lines:
            word = keyword(line) if line.tokens else ""
            if word in GLOBAL and takes(word, len(line.args)):
                yield Setting(word, line.args, line.number, self.name)
            elif other := self.included.get(line.number):
                yield from other.config.settings

    def _entries(self) -> Iterator[Entry]:
        """Entries, and those of included files; an `include` within a stanza brings none."""
        for part in self.tree:
            if isinstance(part, Block):
                yield entry(part, self.name)
            elif other := self.included.get(part.number):
                yield from other.config.entries

    def with_line_added(self, text: str) -> "Document":
        """With this line as the last one, or before a last stanza that is not closed. The same document
        where such a line is there already, outside stanzas."""
        return replace(self, data=added(self.data, self.text, self.tree, text))

    def with_line_replaced(self, number: int, text: str) -> "Document":
        """With this text in place of that line's; its line end stays."""
        return replace(self, data=replaced(self.data, self.text, number, text))


def parse(data: bytes, name: str, read_include: ReadInclude | None = None, *, main: bool | None = None) -> Document:
    """A file's document; takes any bytes. `main` unless given: whether its name is refind.conf.
    `read_include` is asked for what the file includes, by path with `/`, and answers None for a file
    that is not there."""
    if main is None:
        main = PurePosixPath(name).name.lower() == MAIN
    return Document(data, name, main, read_include)


def posix(path: str) -> str:
    """A path with `/`."""
    return path.replace("\\", "/")


def entry(block: Block, file: str) -> Entry:
    """What a stanza means. Its lines count in their order: a submenu entry takes over what has been
    said before it."""
    found = Entry(block.title, line=block.head.number, file=file, says=_says(block))
    for part in block.body:
        if isinstance(part, Block):
            found = replace(found, submenus=(*found.submenus, _submenu(part, found)))
        else:
            found = _heard(found, part)
    return found


def _says(block: Block) -> frozenset[str]:
    return frozenset(keyword(line) for line in block.lines)


def _heard(found: Entry, line: Line) -> Entry:
    """The entry after one more line of its stanza."""
    word, value = keyword(line), line.args[0] if line.args else None
    if word == "disabled":
        return replace(found, disabled=True)
    if value is None:
        return found
    match word:
        case "loader":
            return replace(found, loader=posix(value), options=None)
        case "firmware_bootnum":
            return replace(found, firmware_bootnum=value, loader=None)
        case "initrd":
            return replace(found, initrd=posix(value))
        case "icon":
            return replace(found, icon=posix(value))
        case "volume":
            return replace(found, volume=value)
        case "options":
            return replace(found, options=value)
        case "ostype":
            return replace(found, ostype=value)
        case "graphics":
            return replace(found, graphics=fold(value) == fold("on"))
    return found


def _submenu(block: Block, parent: Entry) -> Submenu:
    """What a submenu entry means, its parent's values so far filled in. Here `options` and `initrd`
    with nothing after them take the parent's away, and `loader` leaves the options alone."""
    found = Submenu(
        *(block.title, parent.volume, parent.loader, parent.initrd, parent.options, parent.graphics),
        line=block.head.number,
        file=parent.file,
        says=_says(block),
    )
    for line in block.lines:
        word, value = keyword(line), line.args[0] if line.args else None
        if word == "disabled":
            found = replace(found, disabled=True)
        elif word == "options":
            found = replace(found, options=value)
        elif word == "initrd":
            found = replace(found, initrd=None if value is None else posix(value))
        elif value is None:
            continue
        elif word == "loader":
            found = replace(found, loader=posix(value))
        elif word == "volume":
            found = replace(found, volume=value)
        elif word == "add_options":
            found = replace(found, options=f"{found.options} {value}" if found.options else value)
        elif word == "graphics":
            found = replace(found, graphics=fold(value) == fold("on"))
    return found
