"""What the searches share: their table, which the long forms write into the documentation."""

from collections.abc import Callable, Iterator

import pytest

from tests.reliability.table import DOCUMENT, Row, Table


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """The table of this run. With --write-table it replaces the one in docs/reliability.md."""
    made = Table()
    yield made
    if request.config.getoption("--write-table"):
        made.write(DOCUMENT)


@pytest.fixture
def record(table: Table, request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Adds a row to the table; fails where the row is not as it should be."""
    command = str(request.path.relative_to(request.config.rootpath))
    return lambda row: table.add(row, command)
