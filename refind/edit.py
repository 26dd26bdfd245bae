"""One line put into a file that is not ours, with the file's own line ends and encoding, and no other
byte changed."""

from collections import Counter

from refind.keywords import is_known
from refind.tokens import Line, Text, fold, read, split
from refind.tree import Block, Tree, grow


def added(data: bytes, text: Text, tree: Tree, line: str) -> bytes:
    """The file with the line at its end; before a last stanza that is never closed, which would
    swallow it. The file as it is where it has the line outside of stanzas already."""
    wanted = _meaning(_checked(line))
    if any(isinstance(part, Line) and _line_meaning(part) == wanted for part in tree):
        return data
    last = tree[-1] if tree else None
    at = last.head.start if isinstance(last, Block) and last.end is None else text.end
    new = line + _line_end(data, text)
    if at == text.end and text.lines and text.lines[-1].end == text.lines[-1].stop:
        new = _line_end(data, text) + new
    result = data[:at] + text.encode(new) + data[at:]
    after = read(result)
    if not any(isinstance(part, Line) and _line_meaning(part) == wanted for part in grow(after.lines)):
        raise ValueError(f"rEFInd would not read the line {line!r} in this file; is it a text file?")
    return result


def replaced(data: bytes, text: Text, number: int, line: str) -> bytes:
    """The file with this text as its line of that number (from 1). ValueError if there is none."""
    if not 1 <= number <= len(text.lines):
        raise ValueError(f"no line {number}: the file has {len(text.lines)}")
    old = text.lines[number - 1]
    result = data[: old.start] + text.encode(_checked(line)) + data[old.end :]
    after = read(result)
    if after.encoding != text.encoding or [len(a.tokens) for a in _others(after, number)] != [
        len(b.tokens) for b in _others(text, number)
    ]:
        raise ValueError(f"with {line!r} as line {number} rEFInd would read the whole file otherwise")
    return result


def _others(text: Text, number: int) -> list[Line]:
    return [line for line in text.lines if line.number != number]


def _checked(line: str) -> str:
    """The line, if it is one line of printable ASCII."""
    if not line.isascii() or not all(char.isprintable() or char == "\t" for char in line):
        raise ValueError(f"not one line of plain ASCII text: {line!r}")
    return line


def _meaning(line: str) -> tuple[str, ...]:
    """What a line says, whatever its quotes and blanks; keywords, and the files of an include (FAT
    does not tell case apart), in one case."""
    return _folded([word for word, *_ in split(line)[0]])


def _line_meaning(line: Line) -> tuple[str, ...]:
    return _folded([token.text for token in line.tokens])


def _folded(words: list[str]) -> tuple[str, ...]:
    if not words or not is_known(words[0]):
        return tuple(words)
    if fold(words[0]) == fold("include"):
        return tuple(word.lower() for word in words)
    return (words[0].lower(), *words[1:])


def _line_end(data: bytes, text: Text) -> str:
    """The line end that most lines have."""
    ends = Counter(data[line.end : line.stop].decode(text.encoding) for line in text.lines if line.stop > line.end)
    return ends.most_common(1)[0][0] if ends else "\n"
