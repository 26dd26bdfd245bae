"""Which line belongs to which stanza, by rEFInd's rule: only a line whose first token is `}` ends one.

The brace that opens is never looked at, and neither is anything that looks like a new stanza: where
the closing line is missing, all that follows belongs to this one, up to the end of the file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from refind.keywords import keyword
from refind.tokens import Line


@dataclass(frozen=True)
class Block:
    """A menuentry or a submenuentry: the line that opens it, what is in it, and the line that ends it
    (None: the file ended first)."""

    head: Line
    body: tuple["Line | Block", ...]
    end: Line | None

    @property
    def title(self) -> str:
        """The second token; what follows it rEFInd does not read."""
        return self.head.tokens[1].text

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines in it that are not those of a submenu entry."""
        return tuple(part for part in self.body if isinstance(part, Line))

    @property
    def blocks(self) -> tuple["Block", ...]:
        """Its submenu entries."""
        return tuple(part for part in self.body if isinstance(part, Block))


Tree = tuple[Line | Block, ...]


def grow(lines: Iterable[Line]) -> Tree:
    """The stanzas, and the lines between them."""
    left = (line for line in lines if line.tokens)
    return tuple(_block(line, left, inside="submenuentry") if opens(line, "menuentry") else line for line in left)


def opens(line: Line, word: str) -> bool:
    """Whether the line begins a block of that kind; without a title it is a line like any other."""
    return keyword(line) == word and len(line.tokens) > 1


def _block(head: Line, left: Iterator[Line], inside: str | None) -> Block:
    """The block that `head` opens; takes its lines from `left`. A submenu entry has none inside it."""
    body: list[Line | Block] = []
    for line in left:
        if line.tokens[0].text == "}":
            return Block(head, tuple(body), line)
        body.append(_block(line, left, None) if inside and opens(line, inside) else line)
    return Block(head, tuple(body), None)
