"""Bytes to lines and tokens, exactly as rEFInd's own reader makes them (refind/config.c of 0.13.2:
ReadFile, ReadLine, ReadTokenLine and KeepReading).

The rules that surprise: text is not UTF-8 but one character per byte, unless the file is UTF-16; an
unclosed quote ends with its line; a quote within a word ends that word and begins the next one; a NUL
hides the rest of its line; `=` and `,` separate like a space; `/` outside quotes becomes `\\`."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

SEPARATORS = " \t=,"
_STOPS = SEPARATORS + "#"
_PHYSICAL_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")


@dataclass(frozen=True)
class Token:
    """One word as rEFInd holds it. `start` and `end` are its bytes in the file, its quotes included."""

    text: str
    start: int
    end: int
    quoted: bool


@dataclass(frozen=True)
class Line:
    """One line of the file, as editors count them. `start` to `end` are its bytes without the line
    end, `stop` is where the next line begins. One with no tokens (blank, a comment) rEFInd never sees.
    """

    number: int
    start: int
    end: int
    stop: int
    tokens: tuple[Token, ...]
    unclosed: bool

    @property
    def args(self) -> tuple[str, ...]:
        """What follows the first token."""
        return tuple(token.text for token in self.tokens[1:])


@dataclass(frozen=True)
class Text:
    """A whole file: its encoding (`latin-1` or `utf-16-le`), its lines, and the bytes `start` to `end`
    that they cover: before is a byte order mark, after at most half a UTF-16 character."""

    encoding: str
    start: int
    end: int
    lines: tuple[Line, ...]

    def encode(self, text: str) -> bytes:
        """ASCII text as it stands in this file."""
        return text.encode("ascii").decode("ascii").encode(self.encoding)


def fold(text: str) -> str:
    """What rEFInd compares when case does not matter: bit 0x20 of every character is left out
    (MyStriCmp), so `[` is also `{`, which no keyword minds."""
    return "".join(chr(ord(char) & ~0x20) for char in text)


def read(data: bytes) -> Text:
    """All lines of a file. Never fails: rEFInd takes any bytes, and so does this."""
    encoding, start = _encoding(data)
    if encoding == "latin-1":
        width, end, chars = 1, len(data), data[start:].decode("latin-1")
    else:
        width, end = 2, len(data) - len(data) % 2
        chars = "".join(map(chr, struct.unpack(f"<{(end - start) // 2}H", data[start:end])))
    return Text(encoding, start, end, tuple(_lines(chars, start, width)))


def _encoding(data: bytes) -> tuple[str, int]:
    """The encoding and where the text begins. A file of under four bytes is never looked into."""
    if len(data) >= 4:
        if data.startswith(b"\xff\xfe"):
            return "utf-16-le", 2
        if data.startswith(b"\xef\xbb\xbf"):
            return "latin-1", 3  # a UTF-8 mark is skipped, and then the bytes are read one by one
        if data[1] == 0 and data[3] == 0:
            return "utf-16-le", 0
    return "latin-1", 0


def _lines(chars: str, base: int, width: int) -> Iterator[Line]:
    """The lines of decoded text that begins at byte `base`, each character `width` bytes wide."""
    for number, match in enumerate(_PHYSICAL_LINE.finditer(chars), 1):
        if match.start() == len(chars):
            return
        start, end, stop = (base + width * at for at in (match.start(), match.end(1), match.end()))
        words, unclosed = split(match[1])
        tokens = tuple(Token(word, start + width * at, start + width * to, quoted) for word, at, to, quoted in words)
        yield Line(number, start, end, stop, tokens, unclosed)


def split(line: str) -> tuple[list[tuple[str, int, int, bool]], bool]:
    """The words of one line, each with where it begins and ends and whether it was in quotes, and
    whether a quote is left open at the end."""
    line = line.partition("\0")[0]
    words: list[tuple[str, int, int, bool]] = []
    at, quoted = 0, False
    while True:
        while at < len(line) and line[at] in SEPARATORS and not quoted:
            at += 1
        if at >= len(line) or line[at] == "#":  # `#` is a comment here even where a quote is open: `a"#b"`
            return words, quoted
        start = at
        if line[at] == '"':
            quoted, at = not quoted, at + 1
        in_quotes = quoted
        word, at, quoted = _word(line, at, quoted=quoted)
        closed = line[at : at + 1] == '"'
        words.append((word, start, at + closed, in_quotes))
        if line[at : at + 1] in ("", "#"):
            return words, quoted
        at += 1  # the one character that ended the word: a quote or a separator


def _word(line: str, at: int, *, quoted: bool) -> tuple[str, int, bool]:
    """The word that begins at `at`, where it ends, and whether a quote is open after it."""
    word: list[str] = []
    while at < len(line):
        char = line[at]
        if char == '"':
            if line[at + 1 : at + 2] != '"':
                return "".join(word), at, not quoted
            at += 1
        elif not quoted and char in _STOPS:
            break
        word.append("\\" if char == "/" and not quoted else char)
        at += 1
    return "".join(word), at, quoted
