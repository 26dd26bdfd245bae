"""Which packages a root holds: as its package manager says, and never more than one clear error."""

import contextlib
import errno
import io
import lzma
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmut import packages
from sysmut.errors import BadData
from sysmut.packages import Change, Tally, files, header
from tests.lab import Lab, sh, without_coverage

SAMPLES = Path(__file__).parent / "samples/packages"

APK = "lib/apk/db/installed"
DPKG = "var/lib/dpkg/status"
PACMAN = "var/lib/pacman/local"
SQLITE = "usr/lib/sysimage/rpm/rpmdb.sqlite"
NDB = "usr/lib/sysimage/rpm/Packages.db"
FILES = (APK, DPKG, SQLITE, NDB)

OK = settings(deadline=None, database=None, max_examples=150)


def sample(name: str) -> bytes:
    """A sample, unpacked."""
    raw = (SAMPLES / name).read_bytes()
    return lzma.decompress(raw) if name.endswith(".xz") else raw


def listed(name: str) -> dict[str, tuple[str, ...]]:
    """A list that a package manager has made, of a name and a version in each line."""
    found: dict[str, list[str]] = {}
    for line in (SAMPLES / name).read_text().splitlines():
        package, version = line.split()
        found.setdefault(package, []).append(version)
    return {package: tuple(sorted(versions)) for package, versions in found.items() if package != "gpg-pubkey"}


def put(root: Path, path: str, content: bytes) -> Path:
    """A root with this file in it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return root


def read(root: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    return {manager: dict(found) for manager, found in packages.read(str(root)).items()}


def require_refused(root: Path, path: str, *words: str) -> None:
    """One line that names the path, with these words."""
    with pytest.raises(BadData) as caught:
        packages.read(str(root))
    assert f"/{path}" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300
    for word in words:
        assert word in caught.value.message


def require_result_or_bad_data(database: bytes, path: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        put(Path(directory), path, database)
        require_result_or_bad_data_of(directory, path)


def require_result_or_bad_data_of(root: str, path: str) -> None:
    found: packages.Inventory = {}
    refused = ""
    try:
        found = packages.read(root)
    except BadData as error:
        refused = error.message
    assert not refused or refused.startswith(f"/{path}: ")
    assert all(name.isprintable() for names in found.values() for name in names)


# -- values ----------------------------------------------------------------------------------------


def test_a_package_is_added_removed_or_changed() -> None:
    before: packages.Inventory = {"rpm": {"same": ("1",), "gone": ("1",), "kernel": ("5", "6")}}
    after: packages.Inventory = {
        "rpm": {"same": ("1",), "kernel": ("6", "7"), "new": ("2",)},
        "apk": {"kernel": ("9",)},
    }
    changes = packages.compare(before, after)
    assert changes == (
        Change("rpm", "gone", ("1",), ()),
        Change("apk", "kernel", (), ("9",)),
        Change("rpm", "kernel", ("5", "6"), ("6", "7")),
        Change("rpm", "new", (), ("2",)),
    )
    assert [change.kind for change in changes] == ["removed", "added", "changed", "added"]
    assert packages.tally(changes) == Tally(2, 1, 1)
    assert packages.compare(before, before) == ()


def test_a_tally_is_one_short_text_and_nothing_where_nothing_changed() -> None:
    assert str(Tally(3, 1, 12)) == "+3 -1 ~12"
    assert str(Tally(0, 0, 1)) == "~1"
    assert str(packages.tally(())) == ""


# -- dpkg ------------------------------------------------------------------------------------------


def by_dpkg(admindir: Path) -> dict[str, tuple[str, ...]]:
    """What dpkg-query says of the packages with one of the letters of `dpkg -l` for what is on disk."""
    form = "${db:Status-Abbrev} ${binary:Package} ${Version}\n"
    found: dict[str, list[str]] = {}
    for line in sh("dpkg-query", f"--admindir={admindir}", "-W", "-f", form).splitlines():
        if line[1] in "HUFWti":
            name, version = [*line[3:].split(), "<none>"][:2]
            found.setdefault(name, []).append(version)
    return {name: tuple(versions) for name, versions in found.items()}


def dpkg_root(tmp_path: Path, status: bytes) -> Path:
    """A root with what dpkg-query needs."""
    (tmp_path / "var/lib/dpkg/info").mkdir(parents=True, exist_ok=True)
    (tmp_path / "var/lib/dpkg/updates").mkdir(exist_ok=True)
    return put(tmp_path, DPKG, status)


def stanza(name: str, status: str = "install ok installed", *more: str, architecture: str = "amd64") -> bytes:
    version = () if any(line.startswith("Version") for line in more) else ("Version: 1:2.3-4",)
    lines = (f"Package: {name}", f"Status: {status}", "Maintainer: x", f"Architecture: {architecture}")
    return "\n".join([*lines, *version, *more, "Description: y", " Version: 9", " .", " more", "", ""]).encode()


def test_this_machine_holds_what_dpkg_query_and_dpkg_l_say() -> None:
    found = read(Path("/"))["dpkg"]
    assert found == by_dpkg(Path("/var/lib/dpkg"))
    columns = {**os.environ, "COLUMNS": "400", "LC_ALL": "C"}
    lines = [line.split() for line in sh("dpkg", "-l", env=columns).splitlines() if line[1:2] in list("HUFWti")]
    short = {line[1]: (line[2],) for line in lines if len(line) > 2 and re.fullmatch("[a-z]{2}R?", line[0])}
    assert short == found


def test_a_debian_root_holds_what_dpkg_query_says_of_it(debian_tar: Path, tmp_path: Path) -> None:
    sh("tar", "-xf", debian_tar, "-C", tmp_path, "./var/lib/dpkg")
    found = read(tmp_path)
    assert found == {"dpkg": by_dpkg(tmp_path / "var/lib/dpkg")}
    assert len(found["dpkg"]) > 70
    assert "libc6:amd64" in found["dpkg"] or sh("dpkg", "--print-architecture").strip() != "amd64"


def test_what_is_on_disk_in_part_counts_and_configuration_alone_does_not(tmp_path: Path) -> None:
    awaited = {"triggers-awaited": ("Triggers-Awaited: other",), "triggers-pending": ("Triggers-Pending: it",)}
    states = ("installed", "half-configured", "unpacked", "half-installed", "config-files", "not-installed")
    status = b"".join(stanza(state, f"install ok {state}", *awaited.get(state, ())) for state in (*states, *awaited))
    root = dpkg_root(
        tmp_path, status + stanza("begun", "install reinstreq half-installed").replace(b"Version: 1:2.3-4\n", b"")
    )
    found = read(root)["dpkg"]
    assert found == by_dpkg(root / "var/lib/dpkg")
    assert found.keys() == {*states, *awaited, "begun"} - {"config-files", "not-installed"}
    assert found["begun"] == ("<none>",)
    assert found["unpacked"] == ("1:2.3-4",)


def test_a_name_has_its_architecture_where_dpkg_gives_it_one(tmp_path: Path) -> None:
    native = sh("dpkg", "--print-architecture").strip()
    foreign = "i386" if native != "i386" else "amd64"
    root = dpkg_root(
        tmp_path,
        stanza("lib", "install ok installed", "Multi-Arch: same", architecture=native)
        + stanza("lib", "install ok installed", "Multi-Arch: same", architecture=foreign)
        + stanza("game", architecture=foreign)
        + stanza("tool", "install ok installed", "Multi-Arch: foreign", architecture=native)
        + stanza("data", architecture="all")
        + stanza("old").replace(b"Architecture: amd64\n", b"")
        + stanza("dpkg", architecture=native),
    )
    found = read(root)["dpkg"]
    assert found == by_dpkg(root / "var/lib/dpkg")
    assert found.keys() == {f"lib:{native}", f"lib:{foreign}", f"game:{foreign}", "tool", "data", "old", "dpkg"}


def test_without_dpkg_itself_no_architecture_is_taken_for_foreign(tmp_path: Path) -> None:
    assert read(put(tmp_path, DPKG, stanza("a") + stanza("b", architecture="i386"))) == {
        "dpkg": {"a": ("1:2.3-4",), "b": ("1:2.3-4",)}
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (stanza("a", "install ok sideways"), "sideways"),
        (stanza("a", "install ok installed", "Version: 1", "Version: 2"), "two fields Version"),
        (stanza("a").replace(b"Version: 1:2.3-4\n", b""), "no version"),
        (stanza("a", "install ok installed", "Version:"), "''"),
        (stanza("a") + b"Package: b\nStatus: install ok", "middle of a line"),
        (stanza("a") + b"Status: install ok installed\nVersion: 1\n", "without a name"),
        (stanza("a") + b"Garbage: yes\n\n" + stanza("b"), "no package's"),
    ],
)
def test_what_dpkg_refuses_is_refused(tmp_path: Path, status: bytes, word: str) -> None:
    root = dpkg_root(tmp_path, status)
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W"]
    assert subprocess.run(query, capture_output=True, check=False).returncode == 2
    require_refused(root, DPKG, word)


def test_empty_lines_more_or_less_are_nothing(tmp_path: Path) -> None:
    status = b"\n\n\n" + stanza("a") + b"\n\n\n" + stanza("b").rstrip(b"\n") + b"\n"
    root = dpkg_root(tmp_path, status)
    assert read(root)["dpkg"] == by_dpkg(root / "var/lib/dpkg")
    assert read(put(root, DPKG, b"")) == {"dpkg": {}}


# -- apk -------------------------------------------------------------------------------------------

ALPINE = {"musl": ("1.2.2-r3",), "zlib": ("1.2.11-r3",), "libc-utils": ("0.7.2-r3",), "apk-tools": ("2.12.6-r0",)}
WOLFI = {"libexpat1": ("2.7.1-r1",), "libffi": ("3.5.1-r0",)}


def test_the_packages_of_apk_are_read_in_both_places(tmp_path: Path) -> None:
    put(tmp_path, f"usr/{APK}", sample("apk-wolfi"))
    assert read(tmp_path) == {"apk": WOLFI}
    put(tmp_path, APK, sample("apk-alpine"))
    assert read(tmp_path) == {"apk": ALPINE}  # as with apk 3, where the old place is there it is the one


def test_a_stanza_of_apk_without_a_version_is_refused(tmp_path: Path) -> None:
    require_refused(put(tmp_path, APK, b"P:a\n\n"), APK, "version")


# -- pacman ----------------------------------------------------------------------------------------


@pytest.fixture
def pacman_root(tmp_path: Path) -> Path:
    """The sample, unpacked."""
    with tarfile.open(fileobj=io.BytesIO(sample("pacman.tar.xz"))) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_the_packages_of_pacman_are_those_that_it_lists(pacman_root: Path) -> None:
    assert read(pacman_root) == {"pacman": listed("pacman.list")}


def test_what_is_no_package_to_pacman_is_none(pacman_root: Path) -> None:
    local = pacman_root / PACMAN
    for name in ("noversion", "-1-1", "one-1"):
        (local / name).mkdir()
    (local / "file-1-1").touch()
    assert read(pacman_root) == {"pacman": listed("pacman.list")}


# -- rpm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["usr/lib/sysimage/rpm", "var/lib/rpm"])
@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db"])
def test_the_packages_of_rpm_are_those_that_it_lists(tmp_path: Path, directory: str, name: str) -> None:
    found = read(put(tmp_path, f"{directory}/{name}", sample(f"{name}.xz")))
    assert found == {"rpm": listed("rpm.list")}
    assert found["rpm"]["kernel-core"] == ("6.8.10-300.fc40", "6.8.5-301.fc40")


def test_a_berkeley_db_is_said_not_to_be_readable(tmp_path: Path) -> None:
    require_refused(put(tmp_path, "var/lib/rpm/Packages", b"\0" * 4096), "var/lib/rpm/Packages", "Berkeley DB")


def test_changes_that_are_only_in_the_log_are_not_passed_over(tmp_path: Path) -> None:
    database = put(tmp_path, SQLITE, sample("rpmdb.sqlite.xz")) / SQLITE
    killed = (
        f"import os, sqlite3; c = sqlite3.connect({str(database)!r}); c.execute('DELETE FROM Packages'); c.commit()"
    )
    subprocess.run([sys.executable, "-c", f"{killed}; os._exit(0)"], check=True)
    require_refused(tmp_path, f"{SQLITE}-wal", "not in the database")
    made_by_sqlite(database, "PRAGMA wal_checkpoint")  # writes them, as rpm does that is not killed
    assert read(tmp_path) == {"rpm": {}}


def test_sqlite_is_loaded_for_its_database_only(tmp_path: Path) -> None:
    loaded = "import sys; from sysmut import packages; packages.read(sys.argv[1]); print('sqlite3' in sys.modules)"
    environment = without_coverage()  # which loads it too
    put(tmp_path, NDB, sample("Packages.db.xz"))
    assert sh(sys.executable, "-c", loaded, tmp_path, env=environment).strip() == "False"
    put(tmp_path, SQLITE, sample("rpmdb.sqlite.xz"))
    assert sh(sys.executable, "-c", loaded, tmp_path, env=environment).strip() == "True"


NAME, VERSION, RELEASE, EPOCH = 1000, 1001, 1002, 1003
STRING, INT32 = 6, 4
ENTRIES = ((NAME, STRING, 0), (VERSION, STRING, 2), (RELEASE, STRING, 4), (EPOCH, INT32, 8))
DATA = b"n\0v\0r\0\0\0" + struct.pack(">I", 7) + b"the lists of files"


def header_of(entries: tuple[tuple[int, int, int], ...] = ENTRIES, data: bytes = DATA) -> bytes:
    index = b"".join(struct.pack(">4I", tag, kind, offset, 1) for tag, kind, offset in entries)
    return struct.pack(">2I", len(entries), len(data)) + index + data


def package(raw: bytes) -> tuple[bytes, bytes]:
    def some(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(raw)
        return raw[offset : offset + length]

    return header.package(some, len(raw))


def test_a_header_tells_name_and_version_with_the_epoch_where_there_is_one() -> None:
    assert package(header_of()) == (b"n", b"7:v-r")
    assert package(header_of(ENTRIES[:3])) == (b"n", b"v-r")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        header_of()[:20],
        header_of()[:-1],
        header_of(()),
        header_of(ENTRIES + ((2000, STRING, 0),) * 0xFFFC),
        header_of(ENTRIES[1:]),
        header_of(((NAME, INT32, 0), *ENTRIES[1:])),
        header_of(((NAME, STRING, 5000), *ENTRIES[1:])),
        header_of(((NAME, STRING, len(DATA) - 3), *ENTRIES[1:])),
        header_of(((NAME, STRING, 1), *ENTRIES[1:])),
        header_of((*ENTRIES[:3], (EPOCH, INT32, len(DATA) - 3))),
        header_of((*ENTRIES[:3], (EPOCH, STRING, 8))),
    ],
)
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="a header"):
        package(raw)


def test_of_a_long_header_only_the_beginning_is_read() -> None:
    entries = (*ENTRIES, *((tag, STRING, 12) for tag in range(2000, 2050)))
    raw, got = header_of(entries, DATA + bytes(2**20)), []

    def some(offset: int, length: int) -> bytes:
        got.append(length)
        return raw[offset : offset + length]

    assert header.package(some, len(raw)) == (b"n", b"7:v-r")
    assert sum(got) < 8192


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"RpmP", b"RpmQ"), (b"RpmP\0", b"RpmP\1"), (b"Slot", b"Slop"), (b"BlbS", b"BlbX")],
)
def test_a_damaged_ndb_database_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    database = sample("Packages.db.xz")
    assert old in database
    require_refused(put(tmp_path, NDB, database.replace(old, new, 1)), NDB)


@pytest.mark.parametrize("length", [0, 20, 4095, 4100, 8000])
def test_an_ndb_database_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    require_refused(put(tmp_path, NDB, sample("Packages.db.xz")[:length]), NDB)


def test_an_ndb_database_whose_last_entry_is_cut_off_is_refused(tmp_path: Path) -> None:
    database = sample("Packages.db.xz")
    require_refused(put(tmp_path, NDB, database[: database.rindex(b"BlbE")]), NDB, "entry")


@pytest.mark.parametrize("place", [4, 12])
def test_an_entry_of_ndb_that_says_another_number_or_length_is_refused(tmp_path: Path, place: int) -> None:
    database = bytearray(sample("Packages.db.xz"))
    struct.pack_into("<I", database, database.index(b"BlbS") + place, 100)
    require_refused(put(tmp_path, NDB, bytes(database)), NDB, "entry")


def made_by_sqlite(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


ENDLESS = "WITH RECURSIVE c(hnum) AS (SELECT 1 UNION ALL SELECT hnum + 1 FROM c) SELECT hnum, x'00' AS blob FROM c"


@pytest.mark.parametrize(
    ("statements", "word"),
    [
        ((), "no table"),
        (("CREATE TABLE Packages (other)",), "hnum"),
        ((f"CREATE VIEW Packages AS {ENDLESS}",), "no table"),
        (("CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)",), "no table"),
        (("CREATE TABLE Packages (hnum AS (length(zeroblob(1000000000))), blob)",), "no table"),
        (("CREATE TABLE Packages (hnum, blob)", "INSERT INTO Packages VALUES ('one', x'00')"), "none of rpm's"),
        (("CREATE TABLE Packages (hnum, blob)", "INSERT INTO Packages VALUES (1, 5)"), "SQLite"),
        (("CREATE TABLE Packages (hnum, blob)", "INSERT INTO Packages VALUES (1, x'00')"), "header"),
        (
            ("PRAGMA writable_schema = ON", "INSERT INTO sqlite_master VALUES ('table', '\x1b[31m', '', 2, 'CREATE')"),
            "schema",
        ),
    ],
)
def test_a_database_of_sqlite_that_is_none_of_rpm_is_refused(
    tmp_path: Path, statements: tuple[str, ...], word: str
) -> None:
    made_by_sqlite(put(tmp_path, SQLITE, b"") / SQLITE, *statements)
    require_refused(tmp_path, SQLITE, word)


def varint_cells(page: bytes) -> list[bytes]:
    """The cells of the first page of a database, a leaf whose cells are short."""
    count = struct.unpack_from(">H", page, 103)[0]
    places = struct.unpack_from(f">{count}H", page, 108)
    size = {place: (page[place] & 127) << 7 | page[place + 1] if page[place] > 127 else page[place] for place in places}
    return [page[place : place + size[place] + (3 if page[place] > 127 else 2)] for place in places]


def leaf(cell: bytes) -> bytes:
    start = 4096 - len(cell)
    return struct.pack(">BHHHBH", 13, 0, 1, start, 0, start).ljust(start, b"\0") + cell


def fork(children: list[int], last: int, before: bytes = b"") -> bytes:
    """A page that leads to the children, and then to the last."""
    cells = b"".join(struct.pack(">IB", child, 1) for child in children)
    start = 4096 - len(cells)
    places = struct.pack(f">{len(children)}H", *range(start, 4096, 5))
    head = before + struct.pack(">BHHHBI", 5, 0, len(children), start, 0, last) + places
    return head.ljust(start, b"\0") + cells


def test_a_database_that_sqlite_would_go_round_in_for_ever_is_refused(tmp_path: Path) -> None:
    """Its schema says ten thousand million times that there is an index."""
    database = put(tmp_path, SQLITE, b"") / SQLITE
    made_by_sqlite(database, "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob UNIQUE)")
    raw = database.read_bytes()
    table, index = varint_cells(raw[:4096])
    pages = [raw[at : at + 4096] for at in range(4096, len(raw), 4096)] + [leaf(table), leaf(index)]
    first = len(pages)  # the number of the page with the table; pages count from 1, and the first is not among them
    for _ in range(5):
        pages.append(fork([len(pages) + 1] * 100, len(pages) + 1))
    head = bytearray(raw[:100])
    head[28:32] = struct.pack(">I", len(pages) + 1)
    database.write_bytes(fork([first], len(pages) + 1, bytes(head)) + b"".join(pages))
    require_refused(tmp_path, SQLITE, "interrupted")


# -- hostile places --------------------------------------------------------------------------------


def a_directory(place: Path) -> None:
    place.mkdir()


def a_fifo(place: Path) -> None:
    os.mkfifo(place)


def a_socket(place: Path) -> None:
    with contextlib.chdir(place.parent), contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(place.name)


def an_endless_link(place: Path) -> None:
    place.symlink_to(place.name)


def a_name_too_long(place: Path) -> None:
    place.symlink_to("n" * 256)


def a_huge_file(place: Path) -> None:
    with open(place, "wb") as file:
        file.truncate(5 * 2**30)


@pytest.mark.parametrize("path", [*FILES, "var/lib/rpm/Packages.db"])
@pytest.mark.parametrize(
    ("make", "word"),
    [
        (a_directory, "not a regular file"),
        (a_fifo, "not a regular file"),
        (a_socket, "not a regular file"),
        (an_endless_link, "symbolic links"),
        (a_name_too_long, "name too long"),
        (a_huge_file, "too large"),
    ],
)
def test_what_cannot_be_a_database_is_refused(
    tmp_path: Path, path: str, make: Callable[[Path], None], word: str
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    make(tmp_path / path)
    require_refused(tmp_path, path, word)


@pytest.mark.parametrize("make", [a_fifo, a_huge_file, an_endless_link])
def test_what_cannot_be_pacmans_directory_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / PACMAN).parent.mkdir(parents=True)
    make(tmp_path / PACMAN)
    require_refused(tmp_path, PACMAN)


def test_links_of_a_root_do_not_lead_out_of_it(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", "status", stanza("host"))
    root = put(tmp_path / "root", "inside", stanza("own"))
    (root / DPKG).parent.mkdir(parents=True)
    (root / DPKG).symlink_to(outside / "status")
    (root / "lib").symlink_to("../../outside")
    (root / PACMAN).parent.mkdir(parents=True)
    (root / PACMAN).symlink_to("/")
    (root / "linked-1-1").symlink_to(outside)
    assert read(root) == {"pacman": {}}
    (root / DPKG).unlink()
    (root / DPKG).symlink_to("/inside")
    assert read(root) == {"dpkg": {"own": ("1:2.3-4",)}, "pacman": {}}


def test_a_root_without_a_database_holds_nothing_and_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert read(tmp_path) == {}
    (tmp_path / "var").touch()
    assert read(tmp_path) == {}
    with pytest.raises(FileNotFoundError, match="nowhere"):
        packages.read(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("flags", [os.O_PATH, os.O_RDONLY])
def test_a_root_may_be_an_open_directory(tmp_path: Path, flags: int) -> None:
    put(tmp_path, APK, sample("apk-alpine"))
    fd = os.open(tmp_path, flags | os.O_DIRECTORY)
    try:
        assert packages.read(fd) == {"apk": ALPINE}
        assert packages.changes(fd, fd) == ()
    finally:
        os.close(fd)


@pytest.mark.parametrize("word", ["\x1b[31m", "a b", "\u202e", "\udcff", "", "x" * 1024, "\x00"])
def test_a_name_or_version_that_is_not_fit_to_be_shown_is_refused(tmp_path: Path, word: str) -> None:
    raw = word.encode(errors="surrogateescape")
    require_refused(put(tmp_path, APK, b"P:%b\nV:1\n\n" % raw), APK)
    require_refused(put(tmp_path, APK, b"P:a\nV:%b\n\n" % raw), APK)
    require_refused(put(tmp_path, APK, b"P:a\nV:1\n\nP:b\nV:%b\n\n" % raw), APK)


def test_more_packages_than_any_system_has_are_refused(tmp_path: Path) -> None:
    require_refused(put(tmp_path / "apk", APK, b"P:a\nV:1\n\n" * 100_001), APK, "too many")
    gone = stanza("a", "deinstall ok config-files").replace(b"Description: y\n Version: 9\n .\n more\n", b"")
    require_refused(put(tmp_path / "dpkg", DPKG, gone * 100_001), DPKG, "too many")
    with pytest.raises(BadData, match="too many"):
        files.grouped(((b"a", b"1") for _ in range(100_001)), "/path")


def test_a_file_of_empty_lines_or_of_one_field_over_and_over_takes_no_time_and_no_memory(tmp_path: Path) -> None:
    assert read(put(tmp_path, APK, b"\n" * 50_000_000)) == {"apk": {}}
    put(tmp_path, APK, b"P:a\nV:1\n" + b"\n" * 50_000_000 + b"P:b\nV:1\n")
    assert read(tmp_path) == {"apk": {"a": ("1",), "b": ("1",)}}
    require_refused(put(tmp_path, APK, b"P:\n" * 20_000_000), APK, "two fields")


def test_a_database_under_another_mount_is_not_taken_for_what_is_mounted_there(root_user: None, tmp_path: Path) -> None:
    """SQLite opens files by their paths, and has no other way."""
    put(tmp_path, SQLITE, sample("rpmdb.sqlite.xz"))
    root = os.open(tmp_path, os.O_PATH)
    sh("mount", "-t", "tmpfs", "none", tmp_path)
    try:
        with pytest.raises(FileNotFoundError, match=re.escape(f"'/{SQLITE}'")):
            packages.read(root)
        made_by_sqlite(put(tmp_path, SQLITE, b"") / SQLITE, "CREATE TABLE Packages (hnum, blob)")
        with pytest.raises(BadData, match="another file"):
            packages.read(root)
    finally:
        sh("umount", tmp_path)
        os.close(root)


def test_an_error_of_the_disk_names_the_database() -> None:
    """The kernel answers EIO to who reads the first page of a process's memory, where nothing is."""
    root = os.open(f"/proc/{os.getpid()}", os.O_PATH)
    try:
        with pytest.raises(OSError, match=re.escape("'/mem'")) as caught:
            list(files.stanzas(root, "/mem", files.field_pattern("P")))
        assert caught.value.errno == errno.EIO
    finally:
        os.close(root)


def test_a_sealed_root_can_be_read(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    root = lab.top / "root"
    sh("btrfs", "subvolume", "create", root)
    put(root, DPKG, stanza("a"))
    put(root, SQLITE, sample("rpmdb.sqlite.xz"))
    sh("btrfs", "property", "set", root, "ro", "true")
    assert read(root) == {"dpkg": {"a": ("1:2.3-4",)}, "rpm": listed("rpm.list")}


# -- changes ---------------------------------------------------------------------------------------


def test_what_differs_between_two_roots_is_told(tmp_path: Path) -> None:
    before = put(tmp_path / "before", APK, sample("apk-alpine"))
    put(before, NDB, sample("Packages.db.xz"))
    after = put(tmp_path / "after", APK, sample("apk-alpine").replace(b"V:1.2.11-r3", b"V:1.3-r0"))
    put(after, SQLITE, sample("rpmdb.sqlite.xz"))
    assert packages.changes(str(before), str(after)) == (Change("apk", "zlib", ("1.2.11-r3",), ("1.3-r0",)),)
    (after / SQLITE).unlink()
    changes = packages.changes(str(before), str(after))
    assert str(packages.tally(changes)) == "-4 ~1"
    assert Change("rpm", "kernel-core", ("6.8.10-300.fc40", "6.8.5-301.fc40"), ()) in changes


def unreadable(root: Path) -> None:
    """A root in which no database can be read."""
    for path in FILES:
        put(root, path, b"damaged\n")
    (root / PACMAN / "\x1b-1-1").mkdir(parents=True)
    (root / NDB).unlink()  # rpm's other one goes first


def test_a_database_that_is_the_same_file_in_both_is_not_read_and_a_touched_one_is(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab()
    before, after = lab.top / "before", lab.top / "after"
    sh("btrfs", "subvolume", "create", before)
    unreadable(before)
    sh("btrfs", "subvolume", "snapshot", before, after)
    assert packages.changes(str(before), str(after)) == ()
    touches: dict[str, Callable[[Path], object]] = {
        APK: lambda place: place.write_bytes(b"dAmaged\n"),
        DPKG: lambda place: os.utime(place, ns=(1, place.stat().st_mtime_ns)),
        SQLITE: lambda place: shutil.copyfile(place, place.with_suffix(".new")).rename(place),
        PACMAN: lambda place: (place / "new-1-1").mkdir(),
    }
    for path, touch in touches.items():
        touch(after / path)
        with pytest.raises(BadData, match=path):
            packages.changes(str(before), str(after))
        sh("btrfs", "subvolume", "delete", after)
        sh("btrfs", "subvolume", "snapshot", before, after)


def test_a_log_that_is_new_beside_the_same_database_is_noticed(tmp_path: Path) -> None:
    before = put(tmp_path / "before", SQLITE, sample("rpmdb.sqlite.xz"))
    after = tmp_path / "after"
    (after / SQLITE).parent.mkdir(parents=True)
    os.link(before / SQLITE, after / SQLITE)
    assert packages.changes(str(before), str(after)) == ()
    put(after, f"{SQLITE}-wal", b"x")
    with pytest.raises(BadData, match="-wal"):
        packages.changes(str(before), str(after))


# -- properties ------------------------------------------------------------------------------------

LINES = st.lists(
    st.sampled_from(
        [b"P:a", b"V:1", b"Package: a", b"Status: install ok installed", b"Version: 1", b"", b" x", b"\xff"]
    )
).map(b"\n".join)


@OK
@given(st.sampled_from(FILES), st.one_of(st.binary(max_size=300), LINES, LINES.map(lambda text: text + b"\n")))
def test_any_bytes_give_a_result_or_bad_data(path: str, database: bytes) -> None:
    require_result_or_bad_data(database, path)


@settings(OK, max_examples=400)
@given(
    st.sampled_from([(SQLITE, "rpmdb.sqlite.xz"), (NDB, "Packages.db.xz"), (APK, "apk-alpine")]),
    st.integers(0, 2**31),
    st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"", b"\0" * 16, b"\xff" * 4])),
    st.booleans(),
)
def test_any_damage_gives_a_result_or_bad_data(
    place: tuple[str, str], where: int, damage: bytes, cut_off: bool
) -> None:
    database = sample(place[1])
    at = where % len(database)
    rest = b"" if cut_off else database[at + len(damage) :]
    require_result_or_bad_data(database[:at] + damage + rest, place[0])


@settings(OK, max_examples=400)
@given(st.binary(max_size=200), st.integers(0, 100), st.binary(max_size=20))
def test_any_header_gives_a_name_or_a_value_error(raw: bytes, at: int, damage: bytes) -> None:
    for text in (raw, header_of()[:at] + damage + header_of()[at + len(damage) :]):
        with contextlib.suppress(ValueError):
            assert len(package(text)) == 2


@OK
@given(st.lists(st.binary(min_size=1, max_size=100).filter(lambda name: not {0, 47} & {*name}), max_size=5))
def test_any_names_in_pacmans_directory_give_a_result_or_bad_data(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.makedirs(os.path.join(os.fsencode(directory), PACMAN.encode(), name))
        require_result_or_bad_data_of(directory, PACMAN)
