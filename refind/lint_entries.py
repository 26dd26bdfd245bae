"""Rules of entries: what boots something else than it says, or nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from refind.finding import Code, Desk, Finding
from refind.keywords import BLOCKS, keyword
from refind.model import Boot, Entry, Submenu
from refind.parse import Document, entry
from refind.tokens import Line
from refind.tree import Block

OPTIONS_LIMIT = 2000
_ONE_WORD = frozenset(
    ("loader", "initrd", "options", "add_options", "volume", "icon", "ostype", "graphics", "firmware_bootnum")
)
_ROOT_UUID = re.compile(r"(?:^|\s)root=(?:UUID=|/dev/disk/by-uuid/)([0-9A-Za-z-]+)")
_MICROCODE = r'give every other one within options: "initrd=\path\of\microcode.img …"'
_SERIAL = re.compile(r"[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}|[0-9A-Fa-f]{16}")


@dataclass(frozen=True)
class _Part:
    """A menuentry or submenuentry with the lines that are really its own, and the roots that the whole
    entry boots from."""

    boot: Boot
    head: Line
    lines: tuple[Line, ...]
    roots: frozenset[str]

    def last(self, word: str) -> Line:
        """The line that counts for a keyword; the heading where none has it."""
        return next((line for line in reversed(self.lines) if keyword(line) == word), self.head)


def findings(desk: Desk, document: Document, filesystem_uuids: frozenset[str]) -> Iterator[Finding]:
    """All of them, in one file."""
    for block in document.tree:
        if isinstance(block, Block):
            meant = entry(block, document.name)
            roots = frozenset(
                uuid.lower() for boot in (meant, *meant.submenus) for uuid in _ROOT_UUID.findall(boot.options or "")
            )
            whole = _Part(meant, block.head, _own_lines(block), roots)
            yield from _entry(desk, meant, whole)
            yield from _both(desk, whole, filesystem_uuids)
            for inner, submenu in zip(block.blocks, meant.submenus, strict=True):
                part = _Part(submenu, inner.head, _own_lines(inner), roots)
                yield from _submenu(desk, meant, submenu, part)
                yield from _both(desk, part, filesystem_uuids)


def _own_lines(block: Block) -> tuple[Line, ...]:
    """Its lines up to a heading that it swallowed: what follows is no fault of its own."""
    lines: list[Line] = []
    for line in block.lines:
        if keyword(line) in BLOCKS:
            break
        lines.append(line)
    return tuple(lines)


def _entry(desk: Desk, meant: Entry, part: _Part) -> Iterator[Finding]:
    """What concerns an entry of the main menu: rEFInd resets options at loader."""
    if not meant.loader and meant.firmware_bootnum is None:
        yield desk.error(part.head, "no-loader", f"menuentry {meant.title!a} has no loader", "add a loader line")
    before: list[Line] = []
    for line in part.lines:
        if keyword(line) == "options":
            before.append(line)
        elif keyword(line) == "loader" and line.args:
            for early in before:
                message = f"loader in line {line.number} discards these options"
                yield desk.error(early, "options-before-loader", message, "put options after loader")
            before = []


def _both(desk: Desk, part: _Part, filesystem_uuids: frozenset[str]) -> Iterator[Finding]:
    """What concerns entries of either kind."""
    seen: dict[str, Line] = {}
    for line in part.lines:
        word, count = keyword(line), len(line.args)
        if word in _ONE_WORD and count > 1:
            code: Code = "options-unquoted" if word.endswith("options") else "extra-words"
            advice = f'put all of it in quotes: {word} "…"' if word != "initrd" else _MICROCODE
            yield desk.error(line, code, f"{word} takes one word, here {line.args[0]!a}; the rest is lost", advice)
        if word == "initrd" and word in seen:
            yield desk.error(
                seen[word], "initrd-twice", f"only the last initrd counts, that of line {line.number}", _MICROCODE
            )
        if word == "volume" and count:
            yield from _volume(desk, line, part.roots, filesystem_uuids)
        seen[word] = line
    if len(part.boot.command_line) > OPTIONS_LIMIT:
        message = (
            f"{len(part.boot.command_line):,} characters of options; the kernel cuts them at {OPTIONS_LIMIT:,} or so"
        )
        yield desk.error(part.last("options"), "options-long", message, "shorten them")


def _volume(desk: Desk, line: Line, roots: frozenset[str], filesystem_uuids: frozenset[str]) -> Iterator[Finding]:
    """rEFInd does not know filesystem UUIDs, and falls back silently to its own partition."""
    volume = line.args[0].lower()
    advice = "name the partition by its PARTUUID or PARTLABEL, or the filesystem by its label"
    if volume in filesystem_uuids or volume in roots:
        message = f"volume {line.args[0]!a} is the UUID of a filesystem, which rEFInd does not know"
        yield desk.error(line, "volume-uuid", message, advice)
    elif _SERIAL.fullmatch(volume):
        message = f"volume {line.args[0]!a} looks like the serial number of a filesystem, which rEFInd does not know"
        yield desk.warning(line, "volume-uuid", message, advice)


def _submenu(desk: Desk, meant: Entry, submenu: Submenu, part: _Part) -> Iterator[Finding]:
    """That kernel, initramfs and root are of one and the same system."""
    name = f"submenuentry {submenu.title!a}"
    kernel, initrd = _directory(submenu.loader), _directory(submenu.initrd)
    if len(submenu.says & {"loader", "initrd"}) == 1 and kernel and initrd and kernel != initrd:
        word, other = ("loader", "initrd") if "loader" in submenu.says else ("initrd", "loader")
        message = f"{name} boots the kernel of {kernel!a} with the initramfs of {initrd!a}"
        yield desk.error(part.last(word), "mixed", message, f"give it {other} and options too")
    if kernel != _directory(meant.loader) and "options" not in submenu.says and "subvol" in (submenu.options or ""):
        message = f"{name} boots the kernel of {kernel!a} with the root of {meant.title!a}"
        yield desk.error(part.last("loader"), "mixed-root", message, "give it options too")


def _directory(path: str | None) -> str:
    return str(PurePosixPath("/", path.lower()).parent) if path else ""
