"""The JSON of each command: it parses, it is as the golden file has it, and docs/json.md tells of every key.

`pytest tests/test_json.py --write-golden` writes the golden files anew: read the difference before it is committed.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmut.cli import SESSION, VERBS
from tests.bootable import bootable_root
from tests.lab import FIRST, Finished, Lab, clean_environment, start_of

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = Path(__file__).parents[1] / "docs/json.md"

DOOMED = "20260202000000AbCdEfGh"
_STATUS = "/var/lib/dpkg/status"
_CHANGE = f"printf 'Package: new\\nStatus: install ok installed\\nVersion: 7\\n\\n' >>{_STATUS}; echo x >>/etc/passwd"

WITHOUT = frozenset({"completion", "shell"})
"""The verbs that have no JSON: a shell's script, and what a shell or command writes."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "session": ("run", "--description", "words", "--", "sh", "-ec", _CHANGE),
    "session-unchanged": ("run", "--drop-if-unchanged", "--", "true"),
    "status": ("status",),
    "status-check": ("status", "--check"),
    "list": ("list", "--size"),
    "show": ("show", "0"),
    "diff": ("diff", "--files", "/etc"),
    "log": ("log",),
    "check": ("check",),
    "refind": ("refind", "--volume", "disk"),
    "activate": ("activate", FIRST, "--dry-run"),
    "rollback": ("rollback",),
    "pin": ("pin", "0", "good"),
    "unpin": ("unpin", "good"),
    "describe": ("describe", DOOMED, "words"),
    "mount": ("mount", DOOMED, "DIRECTORY"),
    "umount": ("umount", DOOMED),
    "delete-dry-run": ("delete", DOOMED, "--dry-run"),
    "delete": ("delete", DOOMED),
    "syscln-dry-run": ("syscln", "--dry-run", "--keep", "1"),
    "syscln": ("syscln",),
    "error": ("activate", "nonsense"),
    "script-error": ("run", "--", "false"),
    "init": ("init", "--root", "NEW", "SOURCE"),
    "init-dry-run": ("init", "--dry-run", "--root", "NEW", "SOURCE"),
}
"""Name of the golden file -> the command, in the order in which they are run."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[Any]:
    """What each command says, as it comes."""
    directory = tmp_path_factory.mktemp("json")
    root = bootable_root(small_root, directory / "root")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text("Package: kept\nStatus: install ok installed\nVersion: 1\n\n")
    (directory / "place").mkdir()
    (directory / "lab").mkdir()
    (directory / "new").mkdir()
    lab, new = Lab(directory / "lab", 512 * 2**20), Lab(directory / "new", 512 * 2**20)
    try:
        lab.lay_out(root, commons=("/home",))
        lab.add_generation(DOOMED)
        places = {"DIRECTORY": directory / "place", "NEW": new.top, "SOURCE": small_root}
        words = {name: [str(places.get(word, word)) for word in command] for name, command in COMMANDS.items()}
        yield {name: run(lab, words[name]) for name in sorted(words, key=_order)}
    finally:
        lab.close()
        new.close()


def _order(name: str) -> int:
    """What only tells of it comes before what does it."""
    names = list(COMMANDS)
    return names.index("init") if name == "init-dry-run" else names.index(name) + (name == "init")


def run(lab: Lab, words: list[str]) -> Finished:
    program, arguments = ("syscln", words[1:]) if words[0] == "syscln" else ("sysmut", words)
    place = [] if "--root" in words else ["--root", str(lab.top)]
    command = [*start_of(program), *place, "--json", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=clean_environment())


def normal(text: str) -> Any:
    """The value with what differs from run to run replaced: ids and UUIDs by order, times, paths, numbers of bytes."""
    names: dict[str, str] = {}
    text = re.sub(r"/[^\s\"]*/(place|lab/top|new/top|busybox0|root)\b", r"/\1", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\d{14}[A-Za-z]{8}", lambda m: names.setdefault(m[0], f"ID-{len(names) + 1}"), text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    value = json.loads(text, parse_constant=pytest.fail)
    return _rounded(value)


def _rounded(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    varies = key.endswith("_bytes") or key in ("seconds", "user")
    return f"<{type(value).__name__}>" if varies and value is not None and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_one_value_as_the_golden_file_has_it(
    told: dict[str, Finished], name: str, pytestconfig: pytest.Config
) -> None:
    done = told[name]
    assert (done.returncode == 0) == ("error" not in name), done.stderr
    value = normal(done.stdout)
    assert value["version"] == 1
    path = GOLDEN / f"{name}.json"
    if pytestconfig.getoption("--write-golden"):
        path.write_text(json.dumps(value, indent=2) + "\n")
    assert value == json.loads(path.read_text())


def test_every_verb_has_a_golden_file_and_every_golden_file_a_command() -> None:
    verbs = {command[0] for command in COMMANDS.values()}
    assert verbs >= ({*VERBS, "syscln"} - WITHOUT)
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(COMMANDS)


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(item) for key, item in value.items() if not _is_by_name(key)))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def _is_by_name(key: str) -> bool:
    """Whether the keys of the value are names of things, and no words of the format."""
    return key in ("pins", "records", "text", "installed")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_tells_of_every_key(name: str) -> None:
    sections = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    verb = "Failures" if "error" in name else SESSION if name.startswith(SESSION) else COMMANDS[name][0]
    (section,) = [text for text in sections if verb in re.findall(r"\w+", text.split("\n")[0])]
    shared = next(text for text in sections if text.startswith("What all have"))
    described = set(re.findall(r"`([a-z0-9_]+)`", section + shared))
    assert _keys(json.loads((GOLDEN / f"{name}.json").read_text())) - described == set()
