"""`sysmut diff`, and what `activate` and `rollback` say before they do it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab, busybox_root
from tests.terminal import Terminal

STATUS = "/var/lib/dpkg/status"
UPGRADE = (
    f"sed -i -e '/^Package: old$/,/^$/d' -e 's/^Version: 1$/Version: 2/' {STATUS};"
    f"printf 'Package: new\\nStatus: install ok installed\\nVersion: 7\\n\\n' >>{STATUS};"
    "mkdir -p /usr/share/doc; echo new >/usr/share/doc/new; echo changed >>/etc/passwd; rm /etc/os-release;"
    "mv /etc/motd /etc/motd.old; chmod 600 /etc/secret"
)


@pytest.fixture
def upgraded(make_lab: Callable[..., Lab], tmp_path: Path) -> Lab:
    """A system whose slot 0 differs from slot 1 in packages and files."""
    root = busybox_root(tmp_path / "root")
    (root / "var/lib/dpkg").mkdir(parents=True)
    text = "".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n" for name in ("kept", "old"))
    (root / "var/lib/dpkg/status").write_text(text)
    (root / "etc/motd").write_text("welcome\n")
    (root / "etc/secret").write_text("secret\n")
    (root / "etc/secret").chmod(0o644)
    lab = make_lab()
    lab.lay_out(root, commons=("/home",))
    lab.session(UPGRADE)
    return lab


def test_without_names_it_is_slot_1_against_slot_0_packages_before_files(upgraded: Lab) -> None:
    done = upgraded.sysmut("diff")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n".join(
        [
            f"--- {FIRST}",
            f"+++ {upgraded.slots[0]}",
            "packages: 1 added, 1 removed, 1 changed",
            "~ kept  1 -> 2",
            "+ new        7",
            "- old   1",
            "files: 4 added, 1 removed, 2 modified, 1 renamed, 1 with other attributes",
            "> /etc/motd -> /etc/motd.old",
            "- /etc/os-release",
            "~ /etc/passwd",
            "a /etc/secret",
            "+ /usr",
            "+ /usr/share",
            "+ /usr/share/doc",
            "+ /usr/share/doc/new",
            f"~ {STATUS}",
            "",
        ]
    )


def test_the_other_way_round_it_says_the_opposite(upgraded: Lab) -> None:
    lines = upgraded.sysmut("diff", "0", "1").stdout.splitlines()
    for line in ("~ kept  2 -> 1", "- new   7", "+ old        1", "- /usr/share/doc/new", "+ /etc/os-release"):
        assert line in lines


def test_a_generation_does_not_differ_from_itself(upgraded: Lab) -> None:
    assert upgraded.sysmut("diff", "0", "0").stdout.splitlines()[2:] == ["packages: none differ", "files: none differ"]


def test_stat_says_only_how_much(upgraded: Lab) -> None:
    assert len(upgraded.sysmut("diff", "--stat").stdout.splitlines()) == 4
    told = upgraded.json("diff", "--stat")
    assert told["stat"]["packages"] == {"added": 1, "removed": 1, "changed": 1}
    assert told["stat"]["files"] == {"added": 4, "removed": 1, "modified": 2, "renamed": 1, "attributes": 1}
    assert not {"packages", "files"} & set(told)


def test_files_shows_text_as_a_unified_diff_etc_first(upgraded: Lab) -> None:
    shown = upgraded.sysmut("diff", "--files").stdout
    heads = [line for line in shown.splitlines() if line.startswith("+++ ")]
    assert heads == ["+++ /dev/null", "+++ b/etc/passwd", "+++ b/usr/share/doc/new", f"+++ b{STATUS}"]
    assert shown.splitlines()[0] == "/etc/motd.old: was /etc/motd, with the same content"
    assert "+changed" in shown


def test_files_takes_several_paths_and_the_generations_may_come_before_or_after(upgraded: Lab) -> None:
    expected = upgraded.sysmut("diff", "--files", "/etc/passwd", "/usr").stdout
    assert [line for line in expected.splitlines() if line.startswith("+++")] == [
        "+++ b/etc/passwd",
        "+++ b/usr/share/doc/new",
    ]
    assert upgraded.sysmut("diff", "1", "0", "--files", "/etc/passwd", "/usr").stdout == expected
    assert upgraded.sysmut("diff", "--files", "/etc/passwd", "/usr", "1", "0").stdout == expected
    assert upgraded.sysmut("diff", "--files", "/nowhere").stdout == ""


def test_the_unified_diff_is_one_that_patch_takes(upgraded: Lab, tmp_path: Path) -> None:
    patch = upgraded.sysmut("diff", "--files", "/etc/passwd").stdout
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text((upgraded.root(FIRST) / "etc/passwd").read_text())
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, text=True, check=True)
    assert (tmp_path / "etc/passwd").read_text() == (upgraded.root(upgraded.slots[0]) / "etc/passwd").read_text()


def test_json_has_it_all(upgraded: Lab) -> None:
    told = upgraded.json("diff", "--files", "/etc/passwd")
    assert told["packages"][0] == {
        "manager": "dpkg",
        "name": "kept",
        "kind": "changed",
        "before": ["1"],
        "after": ["2"],
    }
    assert {"path": "/etc/motd.old", "kind": "renamed", "before": "/etc/motd"} in told["files"]
    assert list(told["text"]) == ["/etc/passwd"]
    assert (told["before"], told["after"]) == (FIRST, upgraded.slots[0])


def test_what_a_hostile_file_says_cannot_trick_the_terminal(upgraded: Lab) -> None:
    upgraded.session("printf 'evil\\033[2J\\n' >/etc/evil; touch \"/etc/$(printf 'a\\nb\\033')\"")
    assert "\x1b" not in upgraded.sysmut("diff", "--files").stdout
    assert "+ /etc/a\\x0ab\\x1b" in upgraded.sysmut("diff").stdout.splitlines()


def test_against_the_running_root_which_is_no_generation_here(upgraded: Lab) -> None:
    told = upgraded.json("diff", "0", "/", "--stat")
    assert told["after"] == "/"
    assert told["stat"]["files"]["removed"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/", "0"), "only TO can be /"),
        (("--stat", "--files"), "do not go together"),
        (("0", "9"), "there is no slot 9"),
        (("nonsense",), "no generation is named"),
    ],
)
def test_what_cannot_be_meant_is_one_line(upgraded: Lab, arguments: tuple[str, ...], said: str) -> None:
    done = upgraded.sysmut("diff", *arguments)
    assert (done.returncode, len(done.stderr.splitlines()), said in done.stderr) == (64, 1, True)


def test_what_is_not_sealed_is_refused(upgraded: Lab) -> None:
    upgraded.seal(FIRST, sealed=False)
    done = upgraded.sysmut("diff")
    assert (done.returncode, "not sealed" in done.stderr) == (65, True)


# -- what activate and rollback say --------------------------------------------------------------------------


def test_the_impact_is_told_before_it_happens(upgraded: Lab) -> None:
    first = upgraded.slots[0]
    done = upgraded.sysmut("rollback")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[:5] == [
        f"slot 0 will be {FIRST} in the place of {first}:",
        "  packages  +1 -1 ~1: kept 2 -> 1, -new 7, +old 1",
        "  /etc      5 paths: /etc/motd, /etc/motd.old, /etc/os-release, /etc/passwd, /etc/secret",
        "  /home: stay as they are, for commons do not go back",
        f"  all of it: sysmut diff {first} {FIRST}",
    ]
    assert lines[5] == f"generation {FIRST} is slot 0 now"
    assert upgraded.sysmut("-q", "activate", first).stderr == ""


def test_json_tells_the_impact_of_a_dry_run_and_nothing_has_changed(upgraded: Lab) -> None:
    told = upgraded.json("rollback", "--dry-run")
    assert (told["changed"], told["dry_run"]) == (True, True)
    assert [change["name"] for change in told["impact"]["packages"]] == ["kept", "new", "old"]
    assert told["impact"]["commons"] == ["/home"]
    assert upgraded.slots[0] != FIRST
    assert upgraded.json("activate", upgraded.slots[0])["impact"] is None


def test_nothing_is_asked_without_a_terminal(upgraded: Lab) -> None:
    assert upgraded.sysmut("rollback", input="n\n").returncode == 0
    assert upgraded.slots[0] == FIRST


@pytest.mark.parametrize("answer", ["\n", "n\n", "maybe\n", "\x04"])
def test_on_a_terminal_anything_but_yes_changes_nothing(upgraded: Lab, answer: str) -> None:
    before = upgraded.picture()
    with Terminal(*upgraded.command("sysmut", "rollback")) as terminal:
        terminal.expect("go on? [y/N] ")
        terminal.send(answer)
        assert terminal.wait() == 1
        assert "nothing has changed" in terminal.seen
    assert upgraded.picture() == before


def test_on_a_terminal_yes_does_it_and_the_option_does_not_ask(upgraded: Lab) -> None:
    first = upgraded.slots[0]
    with Terminal(*upgraded.command("sysmut", "rollback")) as terminal:
        terminal.expect("go on? [y/N] ")
        terminal.send("y\n")
        assert terminal.wait() == 0
    assert upgraded.slots[0] == FIRST
    with Terminal(*upgraded.command("sysmut", "activate", "--yes", first)) as terminal:
        assert terminal.wait() == 0
        assert "go on?" not in terminal.seen
    assert upgraded.slots[0] == first


def test_the_lock_is_not_held_while_it_asks_and_who_was_first_wins(upgraded: Lab) -> None:
    first = upgraded.slots[0]
    with Terminal(*upgraded.command("sysmut", "rollback")) as terminal:
        terminal.expect("go on? [y/N] ")
        upgraded.session("touch /another", timeout=20)
        another = upgraded.slots[0]
        terminal.send("y\n")
        assert terminal.wait() == 75
        assert "another session published meanwhile" in terminal.seen
    assert upgraded.slots[:2] == [another, first]


def test_control_c_at_the_question_changes_nothing(upgraded: Lab) -> None:
    before = upgraded.picture()
    with Terminal(*upgraded.command("sysmut", "rollback")) as terminal:
        terminal.expect("go on? [y/N] ")
        terminal.send("\x03")
        assert terminal.wait() in (-2, 130)
    assert upgraded.picture() == before


def test_what_cannot_be_told_does_not_keep_one_from_going_back(upgraded: Lab) -> None:
    upgraded.session(f"rm {STATUS}; mkdir {STATUS}")
    done = upgraded.sysmut("rollback")
    assert done.returncode == 0
    assert "could not be told" in done.stderr


def test_nothing_that_differs_is_said_so(upgraded: Lab) -> None:
    upgraded.session("touch /root/file")
    said = upgraded.sysmut("rollback", "-n").stderr
    assert "  kernel, packages and /etc are the same; other files may differ" in said.splitlines()
    assert json.loads(upgraded.sysmut("rollback", "-n", "--json").stdout)["impact"]["etc"] == []
