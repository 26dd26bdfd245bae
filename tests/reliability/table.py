"""The table of docs/reliability.md: a row for each search, written by the run that made it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/reliability.md"
_PLACE = re.compile(r"(<!-- table -->\n)(.*)(<!-- end of the table -->)", re.DOTALL)
_HEAD = "| part | search | points | broken | lost | made by |\n| ---: | --- | ---: | ---: | ---: | --- |\n"


@dataclass(frozen=True)
class Row:
    """What one search found."""

    part: int
    """Its place in the table; the rows of one part are in the order of their names."""
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

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.part} | {'*control:* ' if self.control else ''}{self.what}"

    def to_markdown(self, file: str) -> str:
        return f"| {self.name} | {self.points:,} | {self.broken:,} | {self.lost:,} | `{file}` |\n"


@dataclass
class Table:
    """The rows of one run, each with the file of tests that made it."""

    rows: list[tuple[Row, str]] = field(default_factory=list)

    def add(self, row: Row, file: str) -> None:
        """Keep a row, and see to it that it is as it should be."""
        self.rows.append((row, file))
        assert row.is_as_it_should_be, row

    def write(self, document: Path) -> None:
        """Put the rows between the document's two marks, in the place of all that came from the same files. Of a
        search that was made twice, in the quick form and the long, the one with more points counts."""
        text = document.read_text()
        match = _PLACE.search(text)
        assert match, f"{document} has no place for the table"
        files = {file for _, file in self.rows}
        kept = [line for line in match[2].splitlines(keepends=True)[2:] if line.split("`")[-2] not in files]
        found = {row.name: row.to_markdown(file) for row, file in sorted(self.rows, key=lambda pair: pair[0].points)}
        table = _HEAD + "".join(sorted([*kept, *found.values()]))
        document.write_text(_PLACE.sub(lambda place: place[1] + table + place[3], text))
