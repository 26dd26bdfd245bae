"""The table of the searches: what may stand in it, and what becomes of the rows that were there."""

from pathlib import Path

import pytest

from tests.reliability.table import DOCUMENT, Row, Table


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "document.md"
    path.write_text("before\n<!-- table -->\n<!-- end of the table -->\nafter\n")
    return path


def rows_of(document: Path) -> list[str]:
    return [line for line in document.read_text().splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize(
    ("points", "broken", "lost", "control", "fine"),
    [
        (5, 0, 0, False, True),
        (5, 1, 0, False, False),
        (5, 0, 1, False, False),
        (0, 0, 0, False, False),
        (5, 0, 0, True, False),
        (5, 0, 1, True, True),
        (5, 1, 0, True, True),
    ],
)
def test_only_a_control_may_be_broken_and_it_must_be(
    points: int, broken: int, lost: int, control: bool, fine: bool
) -> None:
    row = Row(1, "search", points, broken, lost, control=control)
    assert row.is_as_it_should_be == fine


def test_a_run_renews_its_own_rows_and_keeps_those_of_others(document: Path) -> None:
    first, second = Table(), Table()
    first.add(Row(2, "calls", 30, 0, 0), "tests/calls.py")
    first.add(Row(1, "writes", 10, 0, 0), "tests/writes.py")
    first.write(document)
    second.add(Row(1, "writes", 1000, 0, 0), "tests/writes.py")
    second.add(Row(1, "writes", 20, 0, 0), "tests/writes.py")
    second.write(document)
    assert rows_of(document) == [
        "| 1 | writes | 1,000 | 0 | 0 | `tests/writes.py` |",
        "| 2 | calls | 30 | 0 | 0 | `tests/calls.py` |",
    ]
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")


def test_the_documentation_has_a_row_for_every_file_of_searches() -> None:
    text = DOCUMENT.read_text()
    searches = [path for path in Path(__file__).parent.glob("test_*.py") if "Row(" in path.read_text()]
    named = {path.name for path in searches if f"tests/reliability/{path.name}`" in text}
    assert named == {path.name for path in searches if path != Path(__file__)}
    assert all("| 0 | 0 |" in line or "*control:*" in line for line in rows_of(DOCUMENT))
