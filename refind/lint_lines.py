"""Rules of lines and braces: what stands where, and which line ends which stanza."""

from collections.abc import Iterator

from refind.finding import Desk, Finding
from refind.keywords import BLOCKS, GLOBAL, STANZA, SUBMENU, is_known, keyword
from refind.parse import Document
from refind.tokens import Line
from refind.tree import Block


def findings(desk: Desk, document: Document) -> Iterator[Finding]:
    """All of them, in one file."""
    for line in document.text.lines:
        if line.tokens:
            yield from _words(desk, line, latin=document.text.encoding == "latin-1")
            yield from _braces(desk, line)
    for part in document.tree:
        if isinstance(part, Block):
            yield from _block(desk, part, "menuentry")
        else:
            yield from _outside(desk, part)


def _words(desk: Desk, line: Line, *, latin: bool) -> Iterator[Finding]:
    """What can be said of a line wherever it stands."""
    word = keyword(line)
    if line.unclosed:
        yield desk.error(
            line, "quote", "a quote that is never closed ends with the line", "close it, or double it to mean one"
        )
    if latin and any(not token.text.isascii() for token in line.tokens):
        advice = "write ASCII only; comments are free"
        yield desk.warning(line, "non-ascii", "rEFInd reads each byte as a character of its own", advice)
    if not is_known(word) and word[:1] not in ("{", "}"):
        yield desk.warning(
            line,
            "unknown",
            f"rEFInd has no keyword {word!a}",
            "look for a slip of the pen; it passes over the line",
        )
    if word in BLOCKS and len(line.tokens) == 1:
        yield desk.error(line, "no-title", f"{word} without a title opens nothing", 'write a title: "…"')


def _braces(desk: Desk, line: Line) -> Iterator[Finding]:
    """A brace counts only as the first word of a line, and only the closing one."""
    texts = [token.text for token in line.tokens]
    bare = [token.text for token in line.tokens[1:] if not token.quoted]
    if texts[0] == "}":
        if len(texts) > 1:
            yield desk.warning(
                line, "after-brace", "rEFInd passes over what follows } in its line", "put it on a line of its own"
            )
        return
    if texts[0][0:1] == "{" and (len(texts) > 1 or len(texts[0]) > 1):
        yield desk.error(
            line, "before-brace", "rEFInd passes over a line that begins with {", "put the brace on a line of its own"
        )
    if texts[0].startswith("}") or texts[0].endswith("}") or any(text.endswith("}") for text in bare):
        yield desk.error(
            line,
            "closing-brace",
            "this } closes nothing: it is no word of its own at the start",
            "put it on a line of its own",
        )
    if keyword(line) in BLOCKS and len(texts) > 1:
        yield from _heading(desk, line)


def _heading(desk: Desk, line: Line) -> Iterator[Finding]:
    """The line that opens: its title is one word or in quotes, and after it only { may stand."""
    title, rest = line.tokens[1], [token.text for token in line.tokens[2:]]
    if not title.quoted and title.text.endswith("{"):
        yield desk.error(
            line, "brace-in-title", f"the brace is part of the title {title.text!a}", "put a blank before it"
        )
    elif rest and not rest[0].startswith("{"):
        yield desk.error(line, "title-unquoted", f"the title is only {title.text!a}", "put the whole title in quotes")
    elif len(rest) > 1 or (rest and rest[0] != "{"):
        yield desk.error(
            line, "one-line", "rEFInd passes over what follows { in its line", "give each keyword and } its own line"
        )


def _block(desk: Desk, block: Block, kind: str) -> Iterator[Finding]:
    """A stanza and its submenu entries: that it ends before the next begins, and what is in it."""
    name = f"{kind} {block.title!a} of line {block.head.number}"
    yield from _swallowed(desk, block, name)
    if block.end is None:
        yield desk.error(
            block.head, "unclosed", f"{kind} {block.title!a} has no line with }}", "add a line with only }"
        )
    for line in block.lines:
        word = keyword(line)
        if word in GLOBAL:
            yield desk.warning(
                line, "global-in-stanza", f"{word} within {name} holds for all of rEFInd", "move it out of the stanza"
            )
        elif word == "add_options" and kind == "menuentry":
            yield desk.error(
                line, "add-options", "rEFInd heeds add_options in a submenuentry only", "put it into options"
            )
        elif kind == "submenuentry" and word in STANZA - SUBMENU - BLOCKS:
            yield desk.warning(line, "not-in-submenu", f"rEFInd does not heed {word} in a submenuentry", "take it out")
    for inner in block.blocks:
        yield from _block(desk, inner, "submenuentry")


def _swallowed(desk: Desk, block: Block, name: str) -> Iterator[Finding]:
    for line in block.lines:
        word = keyword(line)
        if word in BLOCKS and len(line.tokens) > 1:
            message = f"this {word} becomes part of {name}, which is not closed before it"
            yield desk.error(line, "swallowed", message, "add a line with only } before this one")


def _outside(desk: Desk, line: Line) -> Iterator[Finding]:
    """A line outside of all stanzas that belongs into one."""
    word = keyword(line)
    if word == "}":
        yield desk.warning(
            line, "stray-brace", "this } closes nothing", "take it out, or look for what it should close"
        )
    elif word in STANZA | SUBMENU:
        yield desk.error(
            line, "outside", f"{word} stands outside of every menuentry", "look for a } too many before it, or move it"
        )
