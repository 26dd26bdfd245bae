"""rEFInd's configuration language: what is read is what rEFInd reads, what is written it reads back,
nothing else of a file changes, and each finding is found where it is and nowhere else."""

import io
import json
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refind.__main__ import main
from refind.finding import Code, Finding
from refind.keywords import is_known
from refind.lint import lint
from refind.model import Entry, Submenu
from refind.parse import Document, parse
from refind.render import render
from refind.tokens import read, split

WILD = sorted((Path(__file__).parent / "refind").glob("*.conf"))
UUID = "3f0c1a52-7d34-4a0f-9b1e-5c2d8e6f7a90"
OK = settings(deadline=None, database=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])


def words(line: str) -> list[str]:
    return [word for word, *_ in split(line)[0]]


def document(text: str, name: str = "refind.conf", **files: str) -> Document:
    """A main file that includes what `files` has, as NAME_conf."""
    others = {key.replace("_", "."): value.encode() for key, value in files.items()}
    return parse(text.encode("latin-1"), name, others.get)


def one(text: str) -> Entry:
    (entry,) = document(text).config.entries
    return entry


def stanza(*lines: str) -> str:
    return "\n".join(['menuentry "A" {', *lines, "}", ""])


def codes(found: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in found}


# Tokens


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("timeout 20", ["timeout", "20"]),
        ("a b\tc=d,e", ["a", "b", "c", "d", "e"]),
        ("  ,=, a ==,", ["a"]),
        ("a # b", ["a"]),
        ("a#b", ["a"]),
        ('"a # b" c', ["a # b", "c"]),
        ("a /b/c", ["a", "\\b\\c"]),
        ('a "/b/c"', ["a", "/b/c"]),
        ('a ""', ["a", ""]),
        ('""" x"', ['" x']),
        ('"say ""yes"" now"', ['say "yes" now']),
        ('a""b c', ['a"b', "c"]),
        ('"never closed # ', ["never closed # "]),
        ('a"b c"d', ["a", "b c", "d"]),
        ('a"#b"', ["a"]),
        ('"a"b', ["a", "b"]),
        ('"a"#b', ["a"]),
        ('a"', ["a"]),
        ("a\0b c", ["a"]),
        ("}{", ["}{"]),
        ("} #", ["}"]),
        ("", []),
        ("# a", []),
    ],
)
def test_a_line_has_the_words_that_refind_reads(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize(
    ("line", "left"), [('"a', True), ('a"', True), ('a"#b"', True), ('"a"', False), ('"a""', True)]
)
def test_a_quote_that_is_left_open_is_noticed(line: str, *, left: bool) -> None:
    assert split(line)[1] is left


def test_an_open_quote_ends_with_its_line() -> None:
    lines = read(b'a "b\nc d\n').lines
    assert [line.args for line in lines] == [("b",), ("d",)]


def test_cr_and_lf_and_both_end_a_line_and_blank_lines_count_for_numbers_only() -> None:
    lines = read(b"\na\r\rb\r\n\n\nc").lines
    assert [(line.number, line.tokens[0].text) for line in lines if line.tokens] == [(2, "a"), (4, "b"), (7, "c")]


def test_a_line_and_its_words_say_which_bytes_they_are() -> None:
    data = b'x\r\n  title = "a b"c\r\n'
    line = read(data).lines[1]
    assert data[line.start : line.end] == b'  title = "a b"c'
    assert data[line.stop :] == b""
    assert [data[token.start : token.end] for token in line.tokens] == [b"title", b'"a b"', b"c"]
    assert [token.quoted for token in line.tokens] == [False, True, False]


def test_the_bytes_of_words_are_found_in_utf16_too() -> None:
    data = b"\xff\xfe" + 'a "b"\n'.encode("utf-16-le")
    token = read(data).lines[0].tokens[1]
    assert data[token.start : token.end] == '"b"'.encode("utf-16-le")


@pytest.mark.parametrize(
    ("data", "encoding", "first"),
    [
        ("tä x".encode(), "latin-1", "tÃ¤"),
        (b"\xef\xbb\xbft\xc3\xa4", "latin-1", "tÃ¤"),
        ("\ufefftä".encode("utf-16-le"), "utf-16-le", "tä"),
        ("t\u0141".encode("utf-16-le"), "latin-1", "t"),  # no zero at 3
        ("ta".encode("utf-16-le"), "utf-16-le", "ta"),
        ("ta".encode("utf-16-le") + b"x", "utf-16-le", "ta"),
        (b"\xff\xfea", "latin-1", "ÿþa"),  # under four bytes, not looked into
        ("\ufeff\U0001f600".encode("utf-16-le"), "utf-16-le", "\ud83d\ude00"),
    ],
)
def test_the_encoding_is_the_one_that_refind_takes_it_for(data: bytes, encoding: str, first: str) -> None:
    text = read(data)
    assert (text.encoding, text.lines[0].tokens[0].text) == (encoding, first)


# What it means


def test_keywords_are_known_in_any_case_and_both_spellings() -> None:
    config = document("TimeOut 3\nDON'T_SCAN_DIRS a\nMenuEntry X\nLOADER /x\n}\n").config
    assert config.globals == {"timeout": ("3",), "dont_scan_dirs": ("a",)}
    assert config.entries == (Entry("X", loader="/x"),)


def test_an_entry_has_what_its_lines_say() -> None:
    text = stanza(
        *("icon /i.png", "volume ROOT", "loader \\a\\b", "initrd c", 'options "x=y /z"', "ostype Linux", "graphics ON"),
        *("disabled", "unheard of"),
    )
    expected = Entry("A", "ROOT", "/a/b", "c", "x=y /z", True, True, icon="/i.png", ostype="Linux")
    assert one(text) == expected
    assert one(text).command_line == "x=y /z initrd=c"


def test_graphics_is_on_only_for_on() -> None:
    assert one(stanza("graphics yes")).graphics is False
    assert one(stanza("graphics")).graphics is None


def test_loader_resets_options_in_a_menuentry() -> None:
    assert one(stanza('options "a"', "loader /x")).options is None
    assert one(stanza("loader /x", 'options "a"', "initrd /i", "initrd /j")).command_line == "a initrd=\\j"


def test_loader_does_not_reset_options_in_a_submenuentry() -> None:
    entry = one(stanza("loader /x", 'submenuentry "S" {', 'options "a"', "loader /y", "}"))
    assert entry.submenus == (Submenu("S", loader="/y", options="a"),)


def test_options_take_one_word() -> None:
    assert one(stanza("options root=/dev/sda ro")).options == "root"


def test_a_submenuentry_takes_over_what_its_parent_has_said_so_far() -> None:
    entry = one(
        stanza("volume V", "loader /x", "initrd /i", "submenuentry S {", "}", 'options "a"', "graphics on", "disabled")
    )
    assert entry.submenus == (Submenu("S", "V", "/x", "/i"),)


def test_a_submenuentry_keeps_its_own_of_each() -> None:
    entry = one(
        stanza(
            *("volume V", "loader /x", "initrd /i", 'options "a"', "graphics on", "submenuentry S", "volume W"),
            *("loader /y", "initrd /j", 'options "b"', "graphics off", "disabled", "icon /no", "}"),
        )
    )
    assert entry.submenus == (Submenu("S", "W", "/y", "/j", "b", False, True),)
    assert entry.submenus[0].says >= {"volume", "loader", "icon"}


def test_options_and_initrd_with_nothing_after_them_take_the_parents_away_in_a_submenuentry_only() -> None:
    lines = ("loader /x", "initrd /i", 'options "a"')
    assert one(stanza(*lines, "initrd", "options")).command_line == "a initrd=\\i"
    entry = one(stanza(*lines, "submenuentry S", "initrd", "options", "loader", "}"))
    assert entry.submenus == (Submenu("S", loader="/x"),)


def test_add_options_adds_in_a_submenuentry_only() -> None:
    assert one(stanza("loader /x", "options a", "add_options b")).options == "a"
    add = ("submenuentry S", "add_options b", "add_options c", "}")
    assert one(stanza("loader /x", "options a", *add)).submenus[0].options == "a b c"
    assert one(stanza("loader /x", *add)).submenus[0].options == "b c"


def test_a_missing_brace_gives_the_first_title_the_second_ones_boot() -> None:
    text = 'menuentry "A" {\nloader /a\noptions "a"\nmenuentry "B" {\nloader /b\noptions "b"\n}\n'
    assert one(text) == Entry("A", loader="/b", options="b")


def test_a_brace_that_is_not_the_first_word_closes_nothing() -> None:
    entries = document("menuentry A { loader /a }\nmenuentry B {\nloader /b\n}\n").config.entries
    assert entries == (Entry("A", loader="/b"),)


def test_a_closing_brace_needs_no_opening_one_and_may_have_words_after_it() -> None:
    entries = document("menuentry A\nloader /a\n} yes\nmenuentry B\n{\nloader /b\n}").config.entries
    assert entries == (Entry("A", loader="/a"), Entry("B", loader="/b"))


def test_a_menuentry_without_a_title_opens_nothing() -> None:
    assert document("menuentry\nloader /a\n}\nmenuentry {\n}").config.entries == (Entry("{"),)


def test_firmware_bootnum_takes_the_loader_away() -> None:
    assert one(stanza("loader /x", "firmware_bootnum 80")) == Entry("A", firmware_bootnum="80")


def test_a_global_option_counts_within_a_stanza_too_and_the_last_one_is_in_force() -> None:
    text = "timeout 1\n" + stanza("loader /x", "timeout 2", "submenuentry S", "timeout 3", "}")
    assert document(text).config.globals["timeout"] == ("3",)


def test_a_global_option_with_too_many_values_is_passed_over() -> None:
    config = document("timeout 1\ntimeout 2 3\ntimeout\ndefault_selection a, b\nresolution 1 2 3\n").config
    assert config.globals == {"timeout": ("1",)}


def test_lists_that_begin_with_plus_and_hideui_add() -> None:
    config = document(
        "scan_driver_dirs a\nscan_driver_dirs +,b\nscan_driver_dirs + c\nhideui label\nhideui hints"
    ).config
    assert config.globals == {"scan_driver_dirs": ("a", "b", "c"), "hideui": ("label", "hints")}


def test_a_default_for_some_hours_leaves_the_other_in_force() -> None:
    assert document("default_selection a\ndefault_selection b 1:00 2:00\n").config.globals["default_selection"] == (
        "a",
    )


def test_an_included_file_is_read_where_its_line_is() -> None:
    text = "timeout 1\nmenuentry A {\n}\ninclude o.conf\nmenuentry C {\n}\ntimeout 3\n"
    config = document(text, o_conf="timeout 2\nmenuentry B {\n}\n").config
    assert [entry.title for entry in config.entries] == ["A", "B", "C"]
    assert [(each.values, each.file) for each in config.settings] == [
        *((("1",), "refind.conf"), (("2",), "o.conf"), (("3",), "refind.conf"))
    ]
    assert (config.includes, config.entries[1].file, config.entries[1].line) == (("o.conf",), "o.conf", 2)


def test_an_included_file_includes_nothing_and_neither_does_one_of_another_name() -> None:
    deep = document("include o.conf\n", o_conf="include p.conf\ntimeout 1", p_conf="timeout 2")
    assert deep.config.globals == {"timeout": ("1",)}
    assert document("include o.conf\n", "other.conf", o_conf="timeout 1").config.globals == {}
    assert parse(b"include o.conf\n", "other.conf", {"o.conf": b"timeout 1"}.get, main=True).config.globals


@pytest.mark.parametrize("line", ["include", "include o.conf p.conf", "include REFIND.CONF", "include missing.conf"])
def test_an_include_that_refind_does_not_follow_is_not_followed(line: str) -> None:
    assert document(f"{line}\n", o_conf="timeout 1").config.globals == {}


def test_an_include_within_a_stanza_brings_global_options_and_no_entries() -> None:
    config = document(stanza("include o.conf"), o_conf="timeout 1\nmenuentry B {\n}\n").config
    assert ([entry.title for entry in config.entries], config.globals) == (["A"], {"timeout": ("1",)})


def test_a_path_to_include_is_asked_for_with_slashes() -> None:
    asked: list[str] = []
    _ = parse(b"include themes/a.conf\ninclude themes\\b.conf\n", "refind.conf", asked.append).config
    assert asked == ["themes/a.conf", "themes/b.conf"]


# Keeping and editing


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.stem)
def test_a_file_in_the_wild_keeps_every_byte(path: Path) -> None:
    data = path.read_bytes()
    found = parse(data, path.name)
    assert found.data == data
    lines = found.text.lines
    assert data[found.text.start : found.text.end] == b"".join(data[line.start : line.stop] for line in lines)


def test_there_are_twenty_files_and_all_line_ends_and_encodings_among_them() -> None:
    assert len(WILD) >= 20
    data = [path.read_bytes() for path in WILD]
    assert any(b"\r\n" in each for each in data)
    assert any(b"\r" in each and b"\n" not in each for each in data)
    assert {read(each).encoding for each in data} == {"latin-1", "utf-16-le"}


TITLES = {
    "arch": ["Arch Linux"],
    "bare-utf16": ["Void"],
    "notepad-utf16": ["Gentoo"],
    "old-mac": ["macOS"],
    "shouting-tabs": ["Slackware"],
    "chainload": ["Ubuntu", "Fedora"],
    "slots": ["Alpine"],
    "slots-unclosed": ["Alpine"],
    "theme": [],
    "one-line": ["Memtest"],
    "brace-below": ["Debian"],
    "unquoted": ["Arch"],
    "latin1": ["B\xfcro"],
    "no-last-newline": ["Void"],
}


@pytest.mark.parametrize(("name", "titles"), TITLES.items())
def test_a_file_in_the_wild_has_the_entries_that_refind_shows(name: str, titles: list[str]) -> None:
    (path,) = (path for path in WILD if path.stem == name)
    assert [entry.title for entry in parse(path.read_bytes(), path.name).config.entries] == titles


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.stem)
def test_a_line_added_to_a_file_in_the_wild_is_read_and_no_other_byte_changes(path: Path) -> None:
    before = parse(path.read_bytes(), "refind.conf", {"new.conf": b"menuentry New {\n}\n"}.get)
    after = before.with_line_added("include new.conf")
    assert "New" in [entry.title for entry in after.config.entries]
    assert after.with_line_added("include new.conf") == after
    assert after.with_line_added("INCLUDE  NEW.conf # here").data == after.data
    line = next(line for line in after.text.lines if line.args == ("new.conf",))
    rest = after.data[: line.start] + after.data[line.stop :]
    assert rest.startswith(before.data)
    assert rest.removeprefix(before.data).decode(before.text.encoding) in ("", "\n", "\r\n", "\r")


def ends(data: bytes) -> set[bytes]:
    return set(re.findall(b"\r\n|\r|\n", data))


def test_an_added_line_has_the_line_end_of_the_others() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        assert ends(parse(b"a" + end + b"b", "x").with_line_added("timeout 1").data) == {end}
    assert parse(b"", "x").with_line_added("timeout 1").data == b"timeout 1\n"


def test_a_line_goes_before_a_last_stanza_that_is_not_closed() -> None:
    before = parse(b"timeout 1\nmenuentry A {\nloader /a\n", "refind.conf")
    assert before.with_line_added("include x").data == b"timeout 1\ninclude x\nmenuentry A {\nloader /a\n"


def test_a_line_within_a_stanza_is_none_that_is_there_already() -> None:
    before = parse(stanza("include x").encode(), "refind.conf")
    assert before.with_line_added("include x").data == before.data + b"include x\n"


def test_half_a_character_at_the_end_of_utf16_stays_there() -> None:
    before = parse("a\n".encode("utf-16-le") + b"x", "refind.conf")
    assert before.with_line_added("include y").data == "a\ninclude y\n".encode("utf-16-le") + b"x"


@pytest.mark.parametrize("line", ["include a\nb", "include \xe4", "menuentry X", "", "include \0"])
def test_what_would_not_be_read_as_one_line_is_not_added(line: str) -> None:
    with pytest.raises(ValueError, match=r"rEFInd would not read|plain ASCII"):
        parse(b"timeout 1\n", "refind.conf").with_line_added(line)


def test_a_file_that_the_line_would_turn_into_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="text file"):
        parse(b"\xff\xfe", "refind.conf").with_line_added("include x")


def test_a_line_is_replaced_and_keeps_its_line_end() -> None:
    before = parse(b"# a\r\ntimeout 5\r\nb\n", "refind.conf")
    assert before.with_line_replaced(2, "timeout 9").data == b"# a\r\ntimeout 9\r\nb\n"
    assert before.with_line_replaced(3, "").data == b"# a\r\ntimeout 5\r\n\n"
    with pytest.raises(ValueError, match="no line 4: the file has 3"):
        before.with_line_replaced(4, "x")


def test_a_replaced_line_that_would_change_the_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="would read the whole file otherwise"):
        parse("a\n".encode("utf-16-le"), "x").with_line_replaced(1, "")


# rEFInd's own sample file


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file from Debian's package, which is downloaded and not installed."""
    place = tmp_path_factory.mktemp("package")
    fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "refind"]
    done = subprocess.run(fetch, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:  # there may be no lists of packages yet
        subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=False)
        done = subprocess.run(fetch, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no rEFInd package to be had: {done.stderr.strip()}")
    (package,) = place.glob("*.deb")
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("./usr/share/refind/refind/refind.conf-sample")
        assert member
        return member.read()


def test_the_sample_file_keeps_every_byte_and_nothing_is_found_in_it(sample: bytes) -> None:
    found = parse(sample, "refind.conf", lambda _: None)
    assert found.data == sample
    assert lint(found) == ()


def test_the_sample_files_entries_are_what_it_says_of_them(sample: bytes) -> None:
    entries = {entry.title: entry for entry in parse(sample, "refind.conf").config.entries}
    assert all(entry.disabled for entry in entries.values())
    assert len(entries) == 8
    arch = entries["Arch Linux"]
    fallback, terminal = arch.submenus
    assert (fallback.loader, fallback.initrd) == ("/boot/vmlinuz-linux", "/boot/initramfs-linux-fallback.img")
    assert fallback.options == arch.options
    assert terminal.options == f"{arch.options} systemd.unit=multi-user.target"
    assert entries["macOS via BootNext"].firmware_bootnum == "80"


def test_every_keyword_that_the_sample_file_names_is_known(sample: bytes) -> None:
    named = re.findall(r"^#([a-z_]+)\b", sample.decode(), re.MULTILINE)
    assert len(named) > 40
    assert [word for word in named if not is_known(word)] == []


def test_a_line_added_to_the_sample_file_is_outside_of_its_stanzas(sample: bytes) -> None:
    after = parse(sample, "refind.conf", {"sysmut.conf": b"menuentry S {\n}\n"}.get).with_line_added(
        "include sysmut.conf"
    )
    assert after.data == sample + b"include sysmut.conf\n"
    assert after.config.entries[-1].title == "S"


def test_the_sample_files_entries_are_written_so_that_they_are_read_back(sample: bytes) -> None:
    entries = parse(sample, "refind.conf").config.entries
    assert parse(render(entries).encode("ascii"), "x").config.entries == entries


# Stanzas with a submenu for each slot


def test_a_menu_of_slots_boots_each_with_its_own_kernel_initramfs_and_root() -> None:
    (path,) = (path for path in WILD if path.stem == "slots")
    (entry,) = parse(path.read_bytes(), "refind.conf").config.entries
    for slot, boot in enumerate([entry, *entry.submenus]):
        assert boot.volume == "ROOT"
        assert boot.loader == f"/current/{slot}/@/boot/vmlinuz-lts"
        assert boot.initrd == f"/current/{slot}/@/boot/initramfs-lts"
        assert f"subvol=/current/{slot}/@," in (boot.options or "")


def test_without_closing_braces_one_submenu_entry_boots_the_last_ones_and_that_is_found() -> None:
    (path,) = (path for path in WILD if path.stem == "slots-unclosed")
    found = parse(path.read_bytes(), "refind.conf")
    (entry,) = found.config.entries
    (submenu,) = entry.submenus
    assert (submenu.title, submenu.loader) == ("Fallback 1", "/EFI/rescue/linux.efi")
    where = [(finding.line, finding.code) for finding in lint(found) if finding.severity == "error"]
    assert where == [(1, "unclosed"), (13, "swallowed"), (18, "swallowed"), (23, "swallowed")]


# Rendering


def test_a_rendered_stanza_looks_as_one_would_write_it() -> None:
    entry = Entry(
        *("Alpine", "ROOT", "/current/0/@/boot/vmlinuz-lts", "/current/0/@/boot/initramfs-lts", 'ro a="b"'),
        icon="/EFI/my icons/os.png",
        submenus=(Submenu("Fallback 1", "ROOT", "/current/1/@/boot/vmlinuz-lts", None, None),),
    )
    assert render([entry]) == (
        'menuentry "Alpine" {\n'
        '    icon "\\EFI\\my icons\\os.png"\n'
        '    volume "ROOT"\n'
        "    loader /current/0/@/boot/vmlinuz-lts\n"
        "    initrd /current/0/@/boot/initramfs-lts\n"
        '    options "ro a=""b"""\n'
        "\n"
        '    submenuentry "Fallback 1" {\n'
        "        loader /current/1/@/boot/vmlinuz-lts\n"
        "        initrd\n"
        "        options\n"
        "    }\n"
        "}\n"
    )


@pytest.mark.parametrize(
    "entry",
    [
        *(Entry("a\nb"), Entry("a\tb"), Entry("a\0"), Entry("ä"), Entry("a\x7f"), Entry("A", options="b\r")),
        *(Entry("A", loader="\\a"), Entry("A", initrd="/ü"), Entry("A", volume="Wurzel ß")),
        Entry("A", loader="/a", submenus=(Submenu("S"),)),
        Entry("A", volume="V", submenus=(Submenu("S"),)),
        Entry("A", graphics=True, submenus=(Submenu("S"),)),
    ],
)
def test_what_refind_could_not_read_back_is_not_rendered(entry: Entry) -> None:
    with pytest.raises(ValueError, match=r"rEFInd reads plain ASCII|given with /|cannot take back"):
        render([entry])


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
PATH = ASCII.map(lambda text: text.replace("\\", "/"))
MAYBE = st.none() | ASCII
MAYBE_PATH = st.none() | PATH


@st.composite
def an_entry(draw: st.DrawFn) -> Entry:
    """Any entry that rEFInd can have read: a submenu entry lacks of its parent's only what can be
    taken back."""
    entry = Entry(
        *(draw(ASCII), draw(MAYBE), draw(MAYBE_PATH), draw(MAYBE_PATH), draw(MAYBE)),
        *(draw(st.none() | st.booleans()), draw(st.booleans())),
        icon=draw(MAYBE_PATH),
        ostype=draw(MAYBE),
        firmware_bootnum=draw(MAYBE),
    )
    submenu = st.builds(
        Submenu,
        ASCII,
        volume=MAYBE if entry.volume is None else ASCII,
        loader=MAYBE_PATH if entry.loader is None else PATH,
        initrd=MAYBE_PATH,
        options=MAYBE,
        graphics=(st.none() | st.booleans()) if entry.graphics is None else st.booleans(),
        disabled=st.booleans(),
    )
    return replace(entry, submenus=tuple(draw(st.lists(submenu, max_size=3))))


@OK
@given(st.lists(an_entry(), max_size=3))
def test_entries_are_read_back_as_they_were_rendered(entries: list[Entry]) -> None:
    assert parse(render(entries).encode("ascii"), "x").config.entries == tuple(entries)


ODD_TEXT = st.lists(
    st.sampled_from(
        [
            *('"', '""', "#", "/", "\\", " ", "\t", "=", ",", "{", "}", "\n", "\r\n", "\r", "\0", "a", "\xe4", "+"),
            *("menuentry ", "submenuentry ", "loader ", "options ", "initrd ", "include x\n", "timeout ", "volume "),
            *("\n}\n", "default_selection ", "scanfor ", "add_options ", "disabled\n"),
        ]
    ),
    max_size=30,
).map("".join)
MARKS = st.sampled_from([b"", b"\xff\xfe", b"\xef\xbb\xbf"])
ANY_FILE = (
    st.binary(max_size=200)
    | st.builds(bytes.__add__, MARKS, ODD_TEXT.map(lambda text: text.encode("latin-1")))
    | st.builds(bytes.__add__, MARKS, ODD_TEXT.map(lambda text: text.encode("utf-16-le")))
)


@OK
@given(ANY_FILE, ANY_FILE)
def test_any_bytes_have_a_meaning_and_findings_and_stay(data: bytes, other: bytes) -> None:
    found = parse(data, "refind.conf", lambda _: other)
    assert found.data == data
    assert isinstance(found.config.globals, dict)
    numbers = {(finding.file, finding.line) for finding in lint(found)}
    assert all(line <= max(1, len(found.text.lines)) for file, line in numbers if file == "refind.conf")
    text = found.text
    assert data[text.start : text.end] == b"".join(data[line.start : line.stop] for line in text.lines)


@OK
@given(ANY_FILE)
def test_a_line_can_be_added_to_any_bytes_once_or_is_refused(data: bytes) -> None:
    before = parse(data, "refind.conf")
    try:
        after = before.with_line_added("include new.conf")
    except ValueError:
        assert len(data) < 4
        return
    assert "new.conf" in after.config.includes
    assert after.with_line_added("include new.conf") == after
    assert [entry.title for entry in after.config.entries] == [entry.title for entry in before.config.entries]


@OK
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_printable_text_in_quotes_is_one_word(text: str) -> None:
    assert words('x "' + text.replace('"', '""') + '" y') == ["x", text, "y"]


# Findings: each with lines that have it, and lines as near to them as can be that have not

GOOD = ("loader /b/k", "initrd /b/i")
LONG = "x" * 1980
CASES: list[tuple[str, str, str]] = [
    ("unclosed", "menuentry A {\nloader /k\n", stanza("loader /k")),
    ("unclosed", stanza("loader /k", "submenuentry S {"), stanza("loader /k", "submenuentry S {", "}")),
    ("swallowed", "menuentry A {\nloader /k\n" + stanza("loader /l"), stanza("loader /k") + stanza("loader /l")),
    ("stray-brace", stanza("loader /k") + "}\n", stanza("loader /k") + "# }\n"),
    ("after-brace", stanza("loader /k") + stanza("loader /k")[:-1] + " x\n", stanza("loader /k") + "# x\n"),
    ("closing-brace", stanza("loader /k }"), stanza('loader "/k}"')),
    ("closing-brace", stanza("loader /k", "disabled}"), stanza("loader /k", "disabled")),
    ("closing-brace", stanza("loader /k", "};"), stanza("loader /k", "} # ;")),
    ("before-brace", "menuentry A\n{ loader /k\n}\n", "menuentry A\n{\nloader /k\n}\n"),
    ("one-line", "menuentry A { loader /k\nloader /k\n}\n", "menuentry A { # loader\nloader /k\n}\n"),
    ("one-line", "menuentry A {loader /k\nloader /k\n}\n", "menuentry A\nloader /k\n}\n"),
    ("title-unquoted", "menuentry A B {\nloader /k\n}\n", 'menuentry "A B" {\nloader /k\n}\n'),
    ("brace-in-title", "menuentry A{\nloader /k\n}\n", 'menuentry "A"{\nloader /k\n}\n'),
    ("brace-in-title", "menuentry {\nloader /k\n}\n", 'menuentry "{" {\nloader /k\n}\n'),
    ("no-title", stanza("loader /k", "submenuentry"), stanza("loader /k", "submenuentry S", "}")),
    ("no-loader", stanza("initrd /i"), stanza("firmware_bootnum 1")),
    ("options-before-loader", stanza('options "a"', "loader /k"), stanza("loader /k", 'options "a"')),
    ("options-unquoted", stanza("loader /k", "options root=x ro"), stanza("loader /k", 'options "root=x ro"')),
    ("extra-words", stanza("loader /my kernel"), stanza('loader "\\my kernel" # x')),
    ("extra-words", stanza("loader /k", "initrd /i,/j"), stanza("loader /k", "initrd /i")),
    ("initrd-twice", stanza(*GOOD, "initrd /b/j"), stanza(*GOOD, "submenuentry S", "initrd /b/j", "}")),
    ("volume-uuid", stanza("volume 1234-ABCD", "loader /k"), stanza("volume 1234-ABCDE", "loader /k")),
    ("volume-uuid", stanza("volume 01D9AA0B5C6E7F88", "loader /k"), stanza("volume ROOT", "loader /k")),
    (
        "volume-uuid",
        stanza(f"volume {UUID}", "loader /k", f'options "ro root=UUID={UUID.upper()}"'),
        stanza(f"volume {UUID}", "loader /k", f'options "ro root=PARTUUID={UUID}"'),
    ),
    (
        "volume-uuid",
        stanza(f"volume {UUID}", "loader /k", f'options "root=/dev/disk/by-uuid/{UUID}"'),
        stanza(f"volume {UUID}", "loader /k", f'options "resume=UUID={UUID}"'),
    ),
    ("options-long", stanza(*GOOD, f'options "{LONG} abcdefgh"'), stanza(*GOOD, f'options "{LONG}"')),
    ("non-ascii", stanza("loader /k", 'options "\xe4"'), stanza("loader /k # \xe4")),
    ("add-options", stanza("loader /k", "add_options x"), stanza("loader /k", "submenuentry S", "add_options x", "}")),
    ("not-in-submenu", stanza("loader /k", "submenuentry S", "icon /i", "}"), stanza("loader /k", "icon /i")),
    ("outside", "submenuentry S {\n", stanza("loader /k", "submenuentry S {", "}")),
    ("outside", "loader /k\n", "# loader /k\n"),
    ("unknown", "timout 3\n", "TIMEOUT 3\n"),
    ("quote", stanza("loader /k", 'options "a b'), stanza("loader /k", 'options "a ""b"""')),
    ("default-sticks", "default_selection +\n", "default_selection 1\n"),
    ("default-sticks", 'default_selection "Linux, +"\n', 'default_selection "Linux+"\n'),
    ("default-unset", stanza("loader /k") * 2, "default_selection A\n" + stanza("loader /k") * 2),
    ("default-unquoted", "default_selection a, b\n", 'default_selection "a, b"\n'),
    ("default-unquoted", "default_selection a b c\n", "default_selection a 1:00 13:30\n"),
    (
        "default-nothing",
        "scanfor manual\ndefault_selection Debian\n" + stanza("loader /k"),
        'scanfor manual\ndefault_selection "Debian,oot A fr"\n' + stanza("loader /k"),
    ),
    ("default-nothing", "default_selection Xyz\n" + stanza("loader /k"), "default_selection A\n" + stanza("loader /k")),
    (
        "default-submenu",
        "default_selection Fall\n" + stanza("loader /k", 'submenuentry "Fallback"', "}"),
        'default_selection "Fall,1"\n' + stanza("loader /k", 'submenuentry "Fallback"', "}"),
    ),
    ("scanfor", "scanfor internal\n" + stanza("loader /k"), "scanfor internal,Manual\n" + stanza("loader /k")),
    ("scanfor", "scanfor external\n" + stanza("loader /k"), "scanfor external\n" + stanza("loader /k", "disabled")),
    ("include-missing", "include gone.conf\n", "include o.conf\n"),
    ("include-nested", "include nested.conf\n", "include o.conf\n"),
    ("include-words", "include o.conf o.conf\n", "include o.conf\n"),
    ("include-itself", "include Refind.conf\n", "include o.conf\n"),
    ("include-in-stanza", stanza("loader /k", "include o.conf"), stanza("loader /k") + "include o.conf\n"),
    ("global-in-stanza", stanza("loader /k", "timeout 5"), stanza("loader /k") + "timeout 5\n"),
    (
        "mixed",
        stanza(*GOOD, "submenuentry S", "initrd /old/i", "}"),
        stanza(*GOOD, "submenuentry S", "initrd /b/fallback", "}"),
    ),
    (
        "mixed",
        stanza(*GOOD, "submenuentry S", "loader /old/k", "}"),
        stanza(*GOOD, "submenuentry S", "loader /old/k", "initrd /old/i", "}"),
    ),
    (
        "mixed-root",
        stanza(*GOOD, 'options "rootflags=subvol=@"', "submenuentry S", "loader /old/k", "initrd /old/i", "}"),
        stanza(*GOOD, 'options "root=/dev/sda"', "submenuentry S", "loader /old/k", "initrd /old/i", "}"),
    ),
]


@pytest.mark.parametrize(("code", "bad", "good"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_a_finding_is_found_where_it_is_and_not_beside_it(code: str, bad: str, good: str) -> None:
    others = {"o_conf": "timeout 1\n", "nested_conf": "include o.conf\n"}
    assert code in codes(lint(document(bad, **others)))
    assert code not in codes(lint(document(good, **others)))


def test_every_kind_of_finding_has_a_case() -> None:
    assert set(get_args(Code)) == {case[0] for case in CASES}


def test_a_finding_says_where_what_and_what_to_do() -> None:
    (finding,) = lint(document("\n" + stanza("options a", "loader /k")))
    assert (finding.file, finding.line, finding.severity) == ("refind.conf", 3, "error")
    assert str(finding) == ("refind.conf:3: error: loader in line 4 discards these options (put options after loader)")


def test_a_uuid_is_a_filesystems_only_if_the_caller_knows_it() -> None:
    text = document(stanza(f"volume {UUID.upper()}", "loader /k"))
    assert lint(text) == ()
    assert codes(lint(text, [UUID])) == {"volume-uuid"}


def test_findings_in_an_included_file_name_that_file() -> None:
    found = lint(parse(b"include o.conf\n", "/esp/EFI/refind/refind.conf", {"o.conf": b"loader /x\n"}.get))
    assert [(finding.file, finding.line) for finding in found] == [("/esp/EFI/refind/o.conf", 1)]


def test_a_file_whose_includes_are_not_read_has_no_findings_that_would_need_them() -> None:
    found = parse(
        b"scanfor manual\ndefault_selection Z\ninclude o.conf\n" + stanza("loader /k").encode(), "refind.conf"
    )
    assert lint(found) == ()


def test_what_is_rendered_has_no_findings() -> None:
    entry = Entry("A", "ROOT", "/0/k", "/0/i", "ro", submenus=(Submenu("S", "ROOT", "/1/k", "/1/i", "ro"),))
    assert lint(parse(render([entry]).encode(), "sysmut.conf")) == ()


CLEAN = {"arch", "shouting-tabs", "slots", "theme", "windows-crlf", "notepad-utf16", "brace-below", "commented-out"}
FOUND = {
    "filesystem-uuid": {"volume-uuid"},
    "latin1": {"non-ascii"},
    "microcode": {"options-before-loader", "initrd-twice", "add-options"},
    "one-line": {"one-line", "closing-brace", "swallowed"},
    "slots-unclosed": {"unclosed", "swallowed"},
    "snapshots": {"mixed", "mixed-root"},
    "sticky": {"default-sticks", "scanfor", "global-in-stanza", "default-nothing"},
    "unquoted": {"title-unquoted", "extra-words", "options-unquoted", "default-unquoted"},
}


@pytest.mark.parametrize("path", [path for path in WILD if path.stem in CLEAN | set(FOUND)], ids=lambda path: path.stem)
def test_a_file_in_the_wild_has_its_faults_and_no_others(path: Path) -> None:
    assert codes(lint(parse(path.read_bytes(), path.name))) == FOUND.get(path.stem, set())


# The command


def test_the_command_says_nothing_of_a_clean_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "refind.conf").write_text("timeout 3\n")
    assert main([str(tmp_path / "refind.conf")]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_command_prints_one_line_for_each_finding_and_follows_includes_as_fat_does(tmp_path: Path) -> None:
    (tmp_path / "EFI/refind").mkdir(parents=True)
    path = tmp_path / "EFI/refind/refind.conf"
    path.write_text("include Theme.CONF\ninclude /efi/refind/other.conf\ninclude gone/x.conf\ninclude theme.conf/x\n")
    (path.parent / "theme.conf").write_text("timout 3\n")
    (path.parent / "other.conf").write_text("timeout 3\n")
    command = [sys.executable, "-m", "refind", str(path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines), done.stderr) == (1, 3, "")
    assert lines[0].startswith(f"{path}:3: error: no file 'gone/x.conf' to include")
    assert lines[1].startswith(f"{path}:4: error: no file 'theme.conf/x' to include")
    assert lines[2].startswith(f"{path.parent}/Theme.CONF:1: warning: rEFInd has no keyword 'timout' (")


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.conf").write_text(stanza(f"volume {UUID}", "loader /k"))
    assert main(["--json", "--filesystem-uuid", UUID, str(tmp_path / "x.conf")]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert set(finding) == {"file", "line", "code", "severity", "message", "advice"}
    assert (finding["line"], finding["code"]) == (2, "volume-uuid")


def test_a_note_is_printed_and_leaves_the_status_at_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trial.conf").write_text(stanza("loader /k") * 2)
    assert main(["--main", str(tmp_path / "trial.conf")]) == 0
    assert ":1: note: " in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_linted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.conf").write_text("}\n")
    assert main([str(tmp_path / "none.conf"), str(tmp_path / "x.conf")]) == 2
    out, err = capsys.readouterr()
    assert err == f"cannot read {tmp_path}/none.conf: No such file or directory\n"
    assert out.startswith(f"{tmp_path}/x.conf:1: warning: this }} closes nothing (")
