"""dpkg's database: the file `status`, as deb822(5) and dpkg-query(1) have it.

What an interrupted dpkg has left in `updates/`, and merges when it runs next, is not counted.
"""

from collections.abc import Iterator

from sysmut.packages.files import Packages, damaged, field_pattern, grouped, stanzas

_FIELDS = field_pattern("Package", "Status", "Architecture", "Multi-Arch", "Version")
_ABSENT = (b"not-installed", b"config-files")
_PRESENT = (
    b"half-installed", b"unpacked", b"half-configured", b"triggers-awaited", b"triggers-pending", b"installed",
)  # fmt: skip


def read(root: int, path: str) -> Packages:
    """The packages that are on disk, whole or in part, by the name that `${binary:Package}` is: those that
    `dpkg -l` shows with one of the letters HUFWti second. With `c` (only its configuration is left) or `n` a
    package is not there. A version that dpkg does not know (`iH`) is `<none>`, as there."""
    return grouped(_entries(root, path), path)


def _entries(root: int, path: str) -> Iterator[tuple[bytes, bytes]]:
    found = [stanza for stanza in stanzas(root, path, _FIELDS) if _is_present(stanza, path)]
    native = next((stanza.get(b"Architecture", b"") for stanza in found if stanza[b"Package"] == b"dpkg"), None)
    for stanza in found:
        if b"Version" not in stanza and stanza[b"Status"].split()[2] != b"half-installed":
            raise damaged(path, f"has no version for the package {_shown(stanza[b'Package'])}")
        yield _qualified(stanza[b"Package"].strip(), stanza, native), stanza.get(b"Version", b"<none>").strip()


def _is_present(stanza: dict[bytes, bytes], path: str) -> bool:
    """Whether its status (what is wanted, whether all is well, how it is) says that it is on disk."""
    if b"Package" not in stanza:
        raise damaged(path, "has a package without a name")
    words = stanza.get(b"Status", b"unknown ok not-installed").split()
    if len(words) != 3 or words[2] not in _PRESENT + _ABSENT:
        raise damaged(path, f"has the status {_shown(stanza[b'Status'])} for a package")
    return words[2] in _PRESENT


def _qualified(name: bytes, stanza: dict[bytes, bytes], native: bytes | None) -> bytes:
    """The name, with its architecture where more than one of it can be there, or it is a foreign one: dpkg's
    own is what dpkg was built for. Without dpkg's package nothing tells which is foreign."""
    architecture = stanza.get(b"Architecture", b"").strip()
    foreign = native is not None and architecture not in (native.strip(), b"all")
    if architecture and (foreign or stanza.get(b"Multi-Arch", b"").strip() == b"same"):
        return b"%b:%b" % (name, architecture)
    return name


def _shown(raw: bytes) -> str:
    return ascii(raw[:40].decode(errors="replace"))
