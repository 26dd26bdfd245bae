"""The manual pages, held to the commands, settings and files that they tell of."""

import ast
import configparser
import importlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from sysmut import config, errors, layout, session
from sysmut.cli import SESSION, VERBS, command, frame
from sysmut.cli.options import common
from sysmut.config import Config
from sysmut.generations import Record
from sysmut.values import fields

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / "docs/man"
PAGES = ("sysmut.8", "syscln.8", "sysmut.toml.5", "sysmut-layout.7")
COMMANDS = (*VERBS, SESSION)
_WORD = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def page(name: str) -> str:
    """The source of a page."""
    return (MANUAL / f"{name}.scd").read_text()


def plain(text: str) -> str:
    """The text without its marks."""
    return re.sub(r"(?<!\w)_|_(?!\w)|\*|\\(?=\W)", "", text.replace("\\_", "_"))


def sections(name: str) -> dict[str, str]:
    """Heading -> the text below it, that of its subsections too."""
    found: dict[str, str] = {}
    inside: list[str] = []
    literal = False
    for line in page(name).split("\n"):
        literal ^= line == "```"
        marks, _, heading = line.partition(" ")
        if marks in ("#", "##") and not literal:
            inside = [*inside[: len(marks) - 1], heading]
            found[heading] = ""
        else:
            found.update({heading: f"{found[heading]}{line}\n" for heading in inside})
    return found


def definitions(text: str) -> set[str]:
    """What is defined in a text: lines with an indented paragraph below, without their marks."""
    return {plain(line) for line in re.findall(r"^([^\t\n].*)\n\t", text, re.MULTILINE)}


def rows(text: str) -> dict[str, str]:
    """The tables in a text: first cell -> second cell, without their marks."""
    cells = re.findall(r"^\|[\]\[ -]? +(.*)\n:[<\[ -]? +(.*)$", text, re.MULTILINE)
    return {plain(first): plain(second) for first, second in cells}


def literals(text: str) -> list[str]:
    """The blocks of a text that are shown as they are."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def of(name: str) -> click.Command:
    """The command of a verb, or syscln."""
    found = importlib.import_module(f"sysmut.cli.{name}").command
    assert isinstance(found, click.Command)
    return found


def options(name: str) -> list[click.Option]:
    """Its options."""
    return [param for param in of(name).params if isinstance(param, click.Option)]


def definition(option: click.Option) -> str:
    """How an option is written where it is defined."""
    names = ", ".join(sorted(option.opts, key=len))
    return names if option.is_flag else f"{names} {option.metavar or '?'}"


@click.command()
@common
def _bare(**_values: object) -> None:
    """A command that has what all have."""


COMMON = {definition(option) for option in _bare.params if isinstance(option, click.Option)}


@pytest.fixture
def tools() -> None:
    """For a test that needs the tools of manual pages."""
    for tool in ("scdoc", "mandoc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


# -- the pages themselves ----------------------------------------------------------------------------


def test_the_pages_beside_the_sources_are_what_scdoc_makes_of_them(tools: None, tmp_path: Path) -> None:
    done = subprocess.run([MANUAL / "build", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)
    assert {path.name.removesuffix(".scd") for path in MANUAL.glob("*.scd")} == set(PAGES)
    for name in PAGES:
        assert (tmp_path / name).read_text() == (MANUAL / name).read_text(), f"{name}: run docs/man/build"


@pytest.mark.parametrize("name", PAGES)
def test_the_linter_of_manual_pages_finds_nothing(tools: None, name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", MANUAL / name], capture_output=True, text=True, check=False
    )
    # scdoc writes a paragraph before whatever may need one; no reader sees it
    found = [line for line in done.stdout.splitlines() if "WARNING: skipping paragraph macro: " not in line]
    assert found == []
    assert done.stderr == ""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_no_page_of_ours_that_is_not_there_and_has_the_usual_sections(name: str) -> None:
    named = {f"{title}.{number}" for title, number in re.findall(r"\*(sys[\w.-]*)\*\((\d)\)", page(name))}
    assert named <= set(PAGES)
    assert {"NAME", "DESCRIPTION", "SEE ALSO"} <= sections(name).keys()
    assert not re.search(r"@[A-Z]+@", (MANUAL / name).read_text())


def test_the_pages_are_installed() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    files = {place: value.split() for place, value in parser["options.data_files"].items()}
    for name in PAGES:
        assert f"docs/man/{name}" in files[f"share/man/man{name[-1]}"]


# -- sysmut(8) and syscln(8) against the commands ------------------------------------------------------


def heading(name: str) -> str:
    """The heading of a command's section: how it is called."""
    words = [param.metavar or "?" for param in of(name).params if isinstance(param, click.Argument)]
    return " ".join(["sysmut", *([] if name == SESSION else [name]), *words])


def test_each_command_has_a_section_that_is_headed_by_how_it_is_called() -> None:
    called = [title for title in sections("sysmut.8") if title.startswith("sysmut")]
    assert sorted(called) == sorted(map(heading, COMMANDS))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_section_names_each_of_its_options_and_no_other(name: str) -> None:
    text = sections("sysmut.8")[heading(name)]
    own = [option for option in options(name) if definition(option) not in COMMON]
    named = set(_WORD.findall(plain(text)))
    assert [option.opts for option in own if not named.intersection(option.opts)] == []
    assert named - {opt for option in own for opt in option.opts} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_defined_with_what_it_takes_and_nothing_else_is(name: str) -> None:
    found = sections("sysmut.8")
    here = definitions(found[heading(name)])
    shared = definitions(found["OPTIONS"])
    if name in ("run", "shell"):
        shared |= definitions(found[heading(SESSION)])
    own = {definition(option) for option in options(name)}
    assert own - here - shared == set()
    assert {line for line in here if line.startswith("-")} - own == set()


def test_what_all_commands_have_is_defined_under_options_and_nothing_there_is_of_none() -> None:
    defined = {line for line in definitions(sections("sysmut.8")["OPTIONS"]) if line.startswith("-")}
    known = {definition(option) for name in COMMANDS for option in options(name)} | {"-h, --help", "--version"}
    assert COMMON - defined == set()
    assert defined - known == set()


def test_syscln_page_defines_each_of_its_options_and_no_other() -> None:
    defined = {line for line in definitions(sections("syscln.8")["OPTIONS"]) if line.startswith("-")}
    own = {definition(option) for option in options("syscln") if option.name != "version"}
    assert defined == own | {"-h, --help", "--version"}


def sources() -> Iterator[ast.AST]:
    """Every node of the package's syntax trees."""
    for path in (ROOT / "sysmut").rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text()))


def statuses() -> set[int]:
    """Every exit status that the package names itself."""
    found = {kind.status for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "status")}
    for node in sources():
        if isinstance(node, ast.keyword) and node.arg == "status":
            found |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return {status for status in found if isinstance(status, int)} | {session.TIMED_OUT}


def test_every_exit_status_is_in_the_table_of_both_pages_and_no_other() -> None:
    table = rows(sections("sysmut.8")["EXIT STATUS"])
    known = {"128 + n" if status == 128 else str(status) for status in statuses()}
    assert known - table.keys() == set()
    assert table.keys() - known == {"1", "0-3"}
    assert all(table.values())
    assert rows(sections("syscln.8")["EXIT STATUS"]).keys() < table.keys()


def test_every_variable_is_under_environment_and_no_other() -> None:
    text = sections("sysmut.8")["ENVIRONMENT"]
    table = rows(text)
    for name in (*COMMANDS, "syscln"):
        for option in options(name):
            if option.envvar:
                assert table.get(str(option.envvar)) == f"as {max(option.opts, key=len)}"
    known = {
        node.value
        for node in sources()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("SYSMUT_[A-Z_]+", node.value)
    }
    assert set(re.findall("SYSMUT_[A-Z_]+", text)) == known
    assert {"TERM", "SUDO_USER, DOAS_USER"} <= table.keys()
    own = {str(option.envvar) for option in options("syscln") if option.envvar}
    assert set(re.findall("SYSMUT_[A-Z_]+", sections("syscln.8")["ENVIRONMENT"])) == own


def test_files_names_the_settings_and_what_lies_at_the_top_level() -> None:
    defined = definitions(sections("sysmut.8")["FILES"])
    assert {config.DEFAULT_FILE, layout.MOUNT_POINT, "/current", "/fstab", "/history"} <= defined
    assert config.DEFAULT_FILE in definitions(sections("syscln.8")["FILES"])


# -- sysmut.toml(5) against the settings ---------------------------------------------------------------


def settings() -> dict[str, str]:
    """Setting -> what the page says of it."""
    found = re.findall(r"^\*(\w+)\* = .*\n((?:\t.*\n|\n)+)", page("sysmut.toml.5"), re.MULTILINE)
    return dict(found)


def refused(name: str, path: Path) -> bool:
    """Whether the file cannot have that setting."""
    path.write_text(f"{name} = []\n")
    try:
        config.load({}, str(path))
    except errors.BadConfiguration as error:
        return "is not a setting" in error.message
    return False


def by_setting() -> Mapping[str, click.Option]:
    """Setting -> its option."""
    return {str(option.name): option for name in (*COMMANDS, "syscln") for option in options(name)}


def test_each_setting_of_the_file_is_told_of_with_its_option_variable_and_default(tmp_path: Path) -> None:
    told, file = settings(), tmp_path / "sysmut.toml"
    names = list(fields(Config))
    assert set(told) == {name for name in names if not refused(name, file)}
    for name, text in told.items():
        option = by_setting()[name]
        said = re.search(r"^\tDefault: (.+)\. Option: (\S+)\. Environment: (\S+)\.$", plain(text), re.MULTILINE)
        assert said, name
        assert said[2] == max(option.opts, key=len)
        assert said[3] == (option.envvar or "none")
        if said[1] == "none":
            assert getattr(Config(), name) is None, name
        else:
            file.write_text(f"{name} = {said[1]}\n")
            assert config.load({}, str(file)) == Config(), name


def test_the_examples_of_the_settings_are_taken_and_one_has_them_all(tmp_path: Path) -> None:
    file = tmp_path / "sysmut.toml"
    for text in literals(sections("sysmut.toml.5")["EXAMPLES"]):
        file.write_text(text)
        found = config.load({}, str(file))
        last = {name for name in settings() if re.search(f"^{name} = ", text, re.MULTILINE)}
        assert found != Config()
    assert last == set(settings())


# -- sysmut-layout(7) against the format -----------------------------------------------------------------


def test_the_layout_page_tells_of_every_name_of_the_format_and_every_field_of_a_record() -> None:
    found = sections("sysmut-layout.7")
    text = "\n".join(definitions(found["WHAT IS WHERE"]))
    top = {name: value for name, value in vars(layout).items() if name.isupper() and not name.startswith("_")}
    for name in ("CURRENT", "LINKS", "NEXT", "SNAPSHOTS", "COMMONS", "TEMPLATE", "PINS", "TRIAL", "HISTORY"):
        assert re.search(rf"^/{top[name]}(/|,|$)", text, re.MULTILINE), name
    for name in (*layout.OWN_FILES, layout.ROOT):
        assert f"{layout.SNAPSHOTS}/ID/{name}" in text
    assert layout.PLACEHOLDER in found["WHAT IS WHERE"]
    words = set(re.findall(r"\*(\w+)\*", found["WHAT IS WHERE"]))
    assert set(fields(Record)) - words == set()


# -- command lines in the documents ------------------------------------------------------------------------

DOCUMENTS = (*(f"docs/man/{name}.scd" for name in PAGES), "docs/howto.md", "README.md")


def command_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """The calls of sysmut and syscln in a document's blocks: program and arguments."""
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    for line in [*(line for block in literals(text) for line in block.splitlines()), *indented]:
        called = re.search(r"(?:^|[ =])(?:/\S*/)?(sysmut|syscln)((?: .*)?)$", line)
        if called and not line.startswith(("#", "[", "Description=", "ln ")):
            yield called[1], shlex.split(re.split(r" (?:\d?[<>]|[|;&])", called[2])[0], comments=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_that_a_document_shows_is_one_that_the_command_takes(
    document: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # whoever is not root gets as far as the arguments
    for name in [name for name in os.environ if name.startswith("SYSMUT_")]:
        monkeypatch.delenv(name)
    calls = list(command_lines((ROOT / document).read_text()))
    assert calls or document in ("docs/man/sysmut.toml.5.scd", "docs/man/sysmut-layout.7.scd")
    for program, arguments in calls:
        done = frame.run(command if program == "sysmut" else of("syscln"), program, arguments)
        assert done != errors.UsageError.status, f"{program} {shlex.join(arguments)}: {capfd.readouterr().err}"


def test_the_units_of_the_how_tos_are_taken_by_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (ROOT / "docs/howto.md").read_text()
    units = []
    for block in re.finditer(r"^```ini\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        name = re.findall(r"`/etc/systemd/system/([\w@.-]+)`", text[: block.start()])[-1].replace("@.", "@one.")
        units.append(tmp_path / name)
        units[-1].write_text(re.sub(r"/usr/local/sbin/\w+", str(shutil.which("true")), block[1]))
    assert len(units) == 5
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
