"""The table of docs/reliability.md: a row for each search, written by the run that made it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/reliability.md"
_PLACE = re.compile(r"(<!-- table -->\n).*(<!-- end of the table -->)", re.DOTALL)
_HEAD = "| search | points | broken | lost | command: `./check -m 'long or not long'` and |\n| --- | ---: | ---: | ---: | --- |\n"


@dataclass(frozen=True)
class Row:
    """What one search found."""

    part: int
    """Its place in the table, then that of the rows of one part among each other is by `what`."""
    what: str
    points: int
    """How many were tried."""
    broken: int
    """At how many a promise did not hold."""
    lost: int
    """At how many something that had been reported as done was not there."""
    control: bool = False
    """A wrong program on purpose: the search must find it broken, or that something is lost."""

    @property
    def is_as_it_should_be(self) -> bool:
        """All zeros, but for a control."""
        return self.points > 0 and bool(self.broken + self.lost) == self.control

    def to_markdown(self, command: str) -> str:
        what = f"*control:* {self.what}" if self.control else self.what
        return f"| {what} | {self.points:,} | {self.broken:,} | {self.lost:,} | `{command}` |\n"


@dataclass
class Table:
    """The rows of one run, each with the file of tests that made it."""

    rows: list[tuple[Row, str]] = field(default_factory=list)

    def add(self, row: Row, command: str) -> None:
        """Keep a row, and see to it that it is as it should be."""
        self.rows.append((row, command))
        assert row.is_as_it_should_be, row

    def write(self, document: Path) -> None:
        """Put the rows between the document's two marks. Of a search that was made twice, in the quick form and
        the long, the one with more points counts."""
        found = {row.what: (row, command) for row, command in sorted(self.rows, key=lambda pair: pair[0].points)}
        ordered = sorted(found.values(), key=lambda pair: (pair[0].part, pair[0].control, pair[0].what))
        table = _HEAD + "".join(row.to_markdown(command) for row, command in ordered)
        document.write_text(_PLACE.sub(lambda match: match[1] + table + match[2], document.read_text()))
