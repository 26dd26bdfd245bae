"""Rules of `include`: it works in the main file only, outside of stanzas, with one argument."""

from collections.abc import Iterator

from refind.finding import Desk, Finding
from refind.keywords import keyword
from refind.parse import Document, posix
from refind.tokens import Line
from refind.tree import Block


def findings(desk: Desk, document: Document) -> Iterator[Finding]:
    """All of them, in one file."""
    for part in document.tree:
        yield from _lines(desk, document, part, outermost=True)


def _lines(desk: Desk, document: Document, part: Line | Block, *, outermost: bool) -> Iterator[Finding]:
    if isinstance(part, Block):
        for inner in part.body:
            yield from _lines(desk, document, inner, outermost=False)
    elif keyword(part) == "include":
        yield from _include(desk, document, part, outermost=outermost)


def _include(desk: Desk, document: Document, line: Line, *, outermost: bool) -> Iterator[Finding]:
    if len(line.args) != 1:
        yield desk.error(
            line,
            "include-words",
            f"include takes one file, here {len(line.args)}",
            "write one file on each line, in quotes",
        )
    elif not document.main:
        message = "rEFInd heeds include in its main file only, refind.conf"
        yield desk.error(line, "include-nested", message, "move the line there")
    elif not document.includes(line):
        yield desk.warning(line, "include-itself", "the file includes itself", "take the line out")
    elif document.read_include and document.included[line.number] is None:
        message = f"no file {posix(line.args[0])!a} to include; rEFInd goes on without it"
        yield desk.error(line, "include-missing", message, "put the file beside refind.conf, or take the line out")
    if not outermost:
        message = "from an include within a stanza rEFInd takes no entries"
        yield desk.error(line, "include-in-stanza", message, "move it out of the stanza")
