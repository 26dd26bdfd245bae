"""Where a configuration is not what its author thinks: every rule of lines, stanzas, entries and global
options, over a file and what it includes."""

from collections.abc import Collection, Iterator

from refind import lint_entries, lint_files, lint_globals, lint_lines
from refind.finding import Desk, Finding
from refind.parse import Document


def lint(document: Document, filesystem_uuids: Collection[str] = ()) -> tuple[Finding, ...]:
    """The findings, by file and line. By its form alone a filesystem's UUID cannot be told from a
    partition's, which `volume` does take: those that the caller knows to be a filesystem's are found."""
    known = frozenset(uuid.lower() for uuid in filesystem_uuids)
    found = [*_of_file(document, known), *lint_globals.findings(document)]
    for other in document.included.values():
        if other:
            found += _of_file(other, known)
    files = {name: place for place, name in enumerate(dict.fromkeys(finding.file for finding in found))}
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: (files[finding.file], finding.line)))


def _of_file(document: Document, known: frozenset[str]) -> Iterator[Finding]:
    """What can be said of one file alone."""
    desk = Desk(document.name)
    yield from lint_lines.findings(desk, document)
    yield from lint_files.findings(desk, document)
    yield from lint_entries.findings(desk, document, known)
