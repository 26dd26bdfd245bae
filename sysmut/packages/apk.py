"""apk's database: the file `installed`, of stanzas with `P:` for the name and `V:` for the version."""

from collections.abc import Iterator

from sysmut.packages.files import Packages, damaged, field_pattern, grouped, stanzas

_FIELDS = field_pattern("P", "V")


def read(root: int, path: str) -> Packages:
    """The packages, with their versions as they are written."""
    return grouped(_entries(root, path), path)


def _entries(root: int, path: str) -> Iterator[tuple[bytes, bytes]]:
    for stanza in stanzas(root, path, _FIELDS):
        if len(stanza) < 2:
            raise damaged(path, "has a package without a name or a version")
        yield stanza[b"P"], stanza[b"V"]
