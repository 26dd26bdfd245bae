"""The house: who may import whom, who may start programs, and what the checkers say."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sysmut.cli import SESSION, VALUED, VERBS

PACKAGE = Path(__file__).parents[1] / "sysmut"
REFIND = PACKAGE.parent / "refind"

FLOORS = (
    {"values"},
    {"errors", "gpt", "layout", "syscalls", "text", "zstd"},
    {"btrfs", "compare", "config", "disks", "extents", "fstab", "image", "inroot", "mounts", "signals"},
    {"packages", "sandbox", "toplevel"},
    {"generations", "history"},
    {"boot"},
    {"changes", "cleanup", "install", "menu", "overview", "session", "status"},
    {"cli"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Each module's room, path and syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in ("__init__", "__main__"):
            yield room, path, ast.parse(path.read_text())


def refind_modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """The same of the package beside it, which has no rooms."""
    for path in sorted(REFIND.rglob("*.py")):
        yield "refind", path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """The full names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_room_is_on_a_floor() -> None:
    assert {room for room, _, _ in modules()} == set(FLOOR)


def test_the_design_document_has_the_same_floors() -> None:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", (PACKAGE.parent / "docs/design.md").read_text(), re.MULTILINE)
    assert {room: int(floor) for floor, room in rows} == FLOOR


def test_imports_go_down_only_and_rooms_on_one_floor_do_not_know_each_other() -> None:
    wrong = []
    for room, path, tree in modules():
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] != "sysmut" or parts[1] in (room, "__version__"):
                continue
            if FLOOR[parts[1]] >= FLOOR[room]:
                wrong.append(f"{path.name} imports {name}")
    assert wrong == []


def test_refind_imports_nothing_of_sysmut_and_only_the_standard_library() -> None:
    found = {name.split(".")[0] for _, _, tree in refind_modules() for name in imported(tree)}
    assert found - sys.stdlib_module_names == {"refind"}


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("btrfsutil", {"btrfs"}),
        ("ctypes", {"syscalls", "zstd"}),
        ("click", {"cli"}),
        ("refind", {"menu"}),
        ("subprocess", {"install", "menu"}),
    ],
)
def test_only_these_rooms_import(module: str, rooms: set[str]) -> None:
    assert {room for room, _, tree in modules() if module in {name.split(".")[0] for name in imported(tree)}} == rooms


def test_only_the_command_line_prints_or_exits() -> None:
    found = []
    for room, path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and room != "cli":
                called = ast.unparse(node.func)
                if called in ("print", "exit", "quit", "sys.exit") or called.startswith(("sys.stdout", "sys.stderr")):
                    found.append(f"{path.name}: {called}")
    assert found == []


def test_functions_are_of_at_most_40_lines() -> None:
    long = [
        f"{path.name}: {node.name}"
        for _, path, tree in (*modules(), *refind_modules())
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 40
    ]
    assert long == []


def test_every_module_and_public_function_says_what_it_is_for() -> None:
    silent = []
    for _, path, tree in (*modules(), *refind_modules()):
        if not ast.get_docstring(tree):
            silent.append(path.name)
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and public and not ast.get_docstring(node):
                silent.append(f"{path.name}: {node.name}")
    assert silent == []


@pytest.mark.parametrize("name", VERBS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = importlib.import_module(f"sysmut.cli.{name}").command
    assert isinstance(command, click.Command)
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == VERBS[name]


def test_the_options_with_a_value_are_those_that_a_session_has() -> None:
    session = importlib.import_module(f"sysmut.cli.{SESSION}").command
    options = [option for option in session.params if isinstance(option, click.Option) and not option.is_flag]
    assert {name for option in options for name in option.opts} == VALUED


def test_every_option_says_what_it_does() -> None:
    commands = [importlib.import_module(f"sysmut.cli.{name}").command for name in (*VERBS, SESSION, "syscln")]
    silent = [
        f"{command.name} {option.opts}"
        for command in commands
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


@pytest.mark.parametrize("arguments", [["mypy"], ["ruff", "check"], ["ruff", "format", "--check"]])
def test_the_checkers_are_content(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
