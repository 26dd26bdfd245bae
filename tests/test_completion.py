"""What a shell completes: by click's protocol, and in bash, zsh and fish themselves."""

import contextlib
import fcntl
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from sysmut.cli import SESSION, VERBS
from tests.lab import FIRST, Lab, clean_environment, sh, start_of, without_coverage
from tests.terminal import Terminal

SCRIPTS = Path(__file__).parents[1] / "docs/completions"
FILES = {"bash": "sysmut.bash", "zsh": "_sysmut", "fish": "sysmut.fish"}
SHELLS = pytest.mark.parametrize("shell", FILES)

SECOND = "20260202000000AbCdEfGh"
PIN = "v1.0@home:x"
HOSTILE = (
    "$(touch x)",
    "a b",
    "a'b",
    'a"b',
    "a\nplain,b",
    "\x1b[31m",
    "-x",
    "~root",
    "=ls",
    "a;b",
    "a`b`",
    "a\\b",
    "ä",
)
NAMED = ("0", "1", "2", "3", "alike", PIN, SECOND, FIRST)
"""All that a generation of `system` can be called, in the order in which it is offered."""

TAKING_NAMES = (
    *("activate", "check", "delete", "describe", "diff", "mount", "pin", "rollback", "run", "shell", "show", "umount"),
    SESSION,
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[Lab]:
    """A filesystem that the tests only look at: two generations, pins, and names that no shell would like."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    lab = Lab(tmp_path_factory.mktemp("completion"))
    lab.lay_out(small_root)
    lab.add_generation(SECOND)
    (lab.top / "snapshots" / SECOND / "sysmut.json").write_text(json.dumps({"description": "the\nsecond, \x1b[31m: ö"}))
    (lab.top / "pins").mkdir()
    for name in (PIN, "alike", *HOSTILE):
        (lab.top / "pins" / name).symlink_to(f"../snapshots/{SECOND}")
        if name in HOSTILE:
            (lab.top / "snapshots" / name).mkdir()
    (lab.top / "pins/1").symlink_to(f"../snapshots/{SECOND}")  # by ln: it can only mean the slot
    (lab.top / "pins/adrift").symlink_to("../snapshots/gone")
    yield lab
    lab.close()


def place(lab: Lab) -> dict[str, str]:
    """The environment that names this filesystem."""
    return {"SYSMUT_ROOT": str(lab.top)}


def asked(*words: str, program: str = "sysmut", shell: str = "bash", **options: Any) -> list[str]:
    """What is offered for the last of these words, as lines of click's protocol. Nothing else may be said."""
    environment = options.pop("env", clean_environment()) | options.pop("place", {})
    number = str(len(words)) if shell != "fish" else words[-1]
    environment |= {f"_{program.upper()}_COMPLETE": f"{shell}_complete", "COMP_CWORD": number}
    environment["COMP_WORDS"] = shlex.join([program, *words]).removesuffix(" ''")
    done = subprocess.run(
        start_of(program), check=False, capture_output=True, text=True, env=environment, timeout=20, **options
    )
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout).removesuffix("\n").split("\n")


def offered(*words: str, **options: Any) -> list[str]:
    """The words that are offered."""
    return [line.partition(",")[2] for line in asked(*words, **options) if line.startswith("plain,")]


def described(*words: str, **options: Any) -> dict[str, str]:
    """Word -> what is said of it."""
    lines = asked(*words, shell="zsh", **options)
    assert lines[::3] == ["plain"] * (len(lines) // 3)
    names = [line.replace("\\:", ":") for line in lines[1::3]]  # later versions of click escape it
    return dict(zip(names, lines[2::3], strict=True))


# -- by the protocol -----------------------------------------------------------------------------


def test_where_a_verb_may_stand_verbs_are_offered_and_names_for_a_session(system: Lab) -> None:
    assert offered("", place=place(system)) == [*VERBS, *NAMED]
    assert offered("--root", str(system.top), "") == [*VERBS, *NAMED]
    assert offered("a", place=place(system)) == ["activate", "alike"]
    said = described("a", place=place(system))
    assert said == {"activate": VERBS["activate"], "alike": f"pin -> {SECOND}"}


def test_behind_a_slot_nothing_more_is_offered_and_a_misspelt_verb_is_not_complained_of(system: Lab) -> None:
    assert asked("0", "", place=place(system)) == [""]
    assert asked("activat", "", place=place(system)) == [""]
    assert asked("activate", "0", "", place=place(system)) == [""]


@pytest.mark.parametrize("verb", [*VERBS, SESSION, "", "syscln"])
def test_every_option_of_a_command_is_offered(verb: str) -> None:
    command = importlib.import_module(f"sysmut.cli.{verb or SESSION}").command
    assert isinstance(command, click.Command)
    options = {name for p in command.params if isinstance(p, click.Option) for name in p.opts if name.startswith("--")}
    words = ["--"] if verb in ("", "syscln") else [verb, "--"]
    assert set(offered(*words, program="syscln" if verb == "syscln" else "sysmut")) == {*options, "--help"}


def test_options_are_offered_where_options_stand_before_the_verb(system: Lab) -> None:
    assert "--prometheus" in offered("--root", str(system.top), "status", "--")
    assert "--prometheus" not in offered("--root", str(system.top), "--")


@pytest.mark.parametrize("verb", TAKING_NAMES)
def test_a_verb_that_takes_a_generation_is_offered_each_of_its_names(verb: str, system: Lab) -> None:
    assert offered(verb, "", place=place(system)) == list(NAMED)
    assert offered(verb, FIRST[:6], place=place(system)) == [FIRST]


@pytest.mark.parametrize("verb", ["check", "delete", "diff"])
def test_a_verb_that_takes_several_is_offered_them_again(verb: str, system: Lab) -> None:
    assert offered(verb, "0", "", place=place(system)) == list(NAMED)


def test_unpin_is_offered_pins_only_those_too_that_lead_nowhere(system: Lab) -> None:
    pinned = f"pin -> {SECOND}"
    said = {"1": pinned, "alike": pinned, PIN: pinned, "adrift": "leads nowhere"}
    assert described("unpin", "", place=place(system)) == said


def test_with_each_name_it_is_said_what_it_is_in_one_plain_line(system: Lab) -> None:
    said = described("activate", "", place=place(system))
    assert (said["0"], said["1"], said["alike"]) == (FIRST, FIRST, f"pin -> {SECOND}")
    assert said[SECOND] == "the second,  [31m: ö"
    assert said[FIRST] == "slot 0, slot 1, slot 2, slot 3"
    latin = {**place(system), "PYTHONIOENCODING": "ascii"}
    assert described("activate", "", place=latin)[SECOND] == "the second,  [31m: ?"


def test_a_long_description_is_cut(lab: Lab) -> None:
    assert lab.sysmut("describe", "0", "word " * 50).returncode == 0
    said = described("activate", FIRST, place=place(lab))[FIRST]
    assert len(said) <= 60
    assert said.startswith("word word")
    assert said.endswith("...")


@pytest.mark.parametrize("shell", FILES)
def test_a_name_that_a_shell_would_not_take_as_it_stands_is_left_out(shell: str, system: Lab) -> None:
    text = "\n".join(asked("activate", "", shell=shell, place=place(system)))
    assert FIRST in text
    assert [name for name in HOSTILE if name in text.replace("\\:", ":")] == []
    assert asked("activate", "~", place=place(system)) == [""]


def test_the_place_comes_from_options_anywhere_before_and_from_the_environment(system: Lab, tmp_path: Path) -> None:
    file = tmp_path / "sysmut.toml"
    file.write_text(f'device = "UUID={system.uuid.upper()}"\n')
    device = system_device(system)
    for words in (
        ("--root", str(system.top), "activate"),
        (f"--root={system.top}", "activate"),
        ("activate", "--force", "--root", str(system.top)),
        ("activate", "--device", device),
        ("activate", "--device", f"UUID={system.uuid}"),
        ("activate", "--image", str(system.image)),
        ("--config", str(file), "activate"),
    ):
        assert offered(*words, FIRST[:6]) == [FIRST]
        assert offered(*words, FIRST[:6], place={"SYSMUT_ROOT": "/nowhere"} if "--config" not in words else {}) == [
            FIRST
        ]
    for name, value in (("ROOT", system.top), ("DEVICE", device), ("IMAGE", system.image), ("CONFIG", file)):
        assert offered("activate", FIRST[:6], place={f"SYSMUT_{name}": str(value)}) == [FIRST]


def system_device(lab: Lab) -> str:
    """The loop device that the filesystem is mounted from."""
    return sh("findmnt", "-n", "-o", "SOURCE", lab.top).strip()


def test_a_filesystem_that_nobody_has_mounted_is_left_alone(make_lab: Any, small_root: Path) -> None:
    lab = make_lab()
    lab.lay_out(small_root)
    lab.close()
    before = lab.image.read_bytes()
    assert asked("--image", str(lab.image), "activate", "") == [""]
    assert asked("--device", f"UUID={lab.uuid}", "activate", "") == [""]
    device = sh("losetup", "--find", "--show", lab.image).strip()
    try:
        assert asked("--device", device, "activate", "") == [""]
        assert asked("--image", str(lab.image), "activate", "") == [""]
    finally:
        sh("losetup", "--detach", device)
    assert lab.image.read_bytes() == before


def test_nothing_is_written(system: Lab) -> None:
    def written() -> tuple[str, Any]:
        os.sync()
        found = re.search(
            r"^generation\s+(\d+)", sh("btrfs", "inspect-internal", "dump-super", system.image), re.MULTILINE
        )
        assert found
        return found[1], system.picture()

    sh("mount", "-o", "remount,noatime", system.top)  # when links were last read is the mount's business
    before = written()
    assert offered("activate", "", place=place(system)) == list(NAMED)
    assert offered("activate", "", place={"SYSMUT_IMAGE": str(system.image)}) == list(NAMED)
    assert written() == before


def test_no_lock_is_waited_for(system: Lab) -> None:
    with contextlib.ExitStack() as stack:
        for path in (system.top / "links", system.top / "snapshots" / SECOND, system.image):
            fd = os.open(path, os.O_RDONLY)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert offered("activate", "", place=place(system)) == list(NAMED)
        assert offered("activate", "", place={"SYSMUT_IMAGE": str(system.image)}) == list(NAMED)


def test_as_another_user_verbs_and_options_are_offered_and_no_names(system: Lab) -> None:
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "env": without_coverage()}
    assert offered("", place=place(system), **nobody) == list(VERBS)
    assert asked("activate", "", place=place(system), **nobody) == [""]
    assert asked("unpin", "", place=place(system), **nobody) == [""]
    assert "--force" in offered("activate", "--", place=place(system), **nobody)


def test_as_another_user_nothing_is_loaded_that_would_look_for_names(system: Lab) -> None:
    asking = {"_SYSMUT_COMPLETE": "bash_complete", "COMP_WORDS": "sysmut activate ''", "COMP_CWORD": "-1"}
    program = [sys.executable, "-X", "importtime", *start_of("sysmut")[1:]]
    environment = without_coverage() | place(system) | asking

    def loaded(**who: Any) -> str:
        done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment, **who)
        return str(done.stderr)

    assert "btrfsutil" in loaded()
    assert "btrfsutil" not in loaded(user=65534, group=65534, extra_groups=[])


def test_where_the_system_is_not_one_nothing_is_said(make_lab: Any, tmp_path: Path) -> None:
    bare = make_lab()
    broken = tmp_path / "broken.toml"
    broken.write_text("no toml")
    for where in (
        {"SYSMUT_ROOT": "/nowhere"},
        place(bare),
        {"SYSMUT_ROOT": "/proc"},
        {"SYSMUT_ROOT": ""},
        {"SYSMUT_IMAGE": "/nowhere"},
        {"SYSMUT_DEVICE": "/dev/null"},
        {"SYSMUT_DEVICE": "LABEL=no"},
        {"SYSMUT_CONFIG": str(broken)},
        {**place(bare), "SYSMUT_DEVICE": "/dev/null"},
    ):
        assert asked("activate", "", place=where) == [""]
        assert offered("", place=where) == list(VERBS)
    (tmp_path / "btrfsutil.py").write_text("raise ImportError('undefined symbol: btrfs_util_x')\n")
    path = {"PYTHONPATH": f"{tmp_path}:{SCRIPTS.parents[1]}"}
    assert asked("activate", "", place={**place(bare), **path}) == [""]


def test_files_are_left_to_the_shell(system: Lab) -> None:
    assert asked("--script", "x/", place=place(system)) == ["file,x/"]
    assert asked("run", "--", "", place=place(system)) == ["file,"]
    assert asked("run", "0", "--", "ls", "-", place=place(system)) == ["file,-"]
    assert asked("shell", "0", "--", "l", place=place(system)) == ["file,l"]
    assert asked("umount", "./x", place=place(system)) == ["dir,./x"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--root",), "dir"),
        (("--image",), "file"),
        (("--config",), "file"),
        (("--device",), "file"),
        (("--resolver",), "file"),
        (("--mount",), "file"),
        (("--esp",), "file"),
        (("mount", "0"), "dir"),
        (("refind", "--from"), "dir"),
        (("status", "--prometheus"), "file"),
        (("diff", "--files"), "file"),
        (("init",), "file"),
    ],
)
def test_what_takes_a_file_or_directory_is_offered_those(words: tuple[str, ...], kind: str) -> None:
    assert asked(*words, "/x") == [f"{kind},/x"]


def test_other_commands_do_not_load_what_completes(system: Lab) -> None:
    program = [sys.executable, "-X", "importtime", *start_of("sysmut")[1:], "show", "0"]
    done = subprocess.run(program, check=True, capture_output=True, text=True, env=clean_environment(**place(system)))
    assert "sysmut.cli.naming" in done.stderr
    assert "shell_completion" not in done.stderr


# -- the scripts ---------------------------------------------------------------------------------


@SHELLS
def test_the_files_for_packages_are_what_completion_prints(shell: str) -> None:
    done = subprocess.run(
        [*start_of("sysmut"), "completion", shell], check=True, capture_output=True, text=True, env=clean_environment()
    )
    assert done.stdout == (SCRIPTS / FILES[shell]).read_text()


def test_there_are_files_by_the_names_that_bash_and_fish_look_for() -> None:
    assert (SCRIPTS / "syscln.bash").read_text() == (SCRIPTS / "sysmut.bash").read_text()
    assert (SCRIPTS / "syscln.fish").read_text() == (SCRIPTS / "sysmut.fish").read_text()


def test_another_shell_is_refused() -> None:
    done = subprocess.run([*start_of("sysmut"), "completion", "tcsh"], check=False, capture_output=True, text=True)
    assert done.returncode == 64
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr


# -- in the shells -------------------------------------------------------------------------------

STARTS = {
    "bash": ("bash --norc --noprofile -i", f"source {SCRIPTS}/sysmut.bash"),
    "zsh": ("zsh -f -i", f"fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -u -D"),
    "fish": ("fish --no-config -i", f"set -p fish_complete_path {SCRIPTS}"),
}
"""How each is started, and how it comes to know the script."""

PROGRAM = """\
#!/bin/sh
# Tells which words a shell has made of a line; where it is asked what may come next, it is the program itself.
[ -z "$_SYSMUT_COMPLETE" ] || {{ echo complaint >&2; exec {start} "$@"; }}
printf '<%s>' "$@" >>{log}
echo >>{log}
"""


class Prompt:
    """A shell on a terminal, with sysmut and syscln in its PATH."""

    def __init__(self, shell: str, directory: Path, variables: dict[str, str]) -> None:
        start, setup = STARTS[shell]
        for name in ("sysmut", "syscln"):
            path = directory / name
            path.write_text(PROGRAM.format(start=shlex.join(start_of(name)), log=directory / "log"))
            path.chmod(0o755)
        (directory / "log").touch()
        variables = {
            **variables,
            "HOME": str(directory),
            "PATH": f"{directory}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
        }
        pairs = [f"{name}={value}" for name, value in variables.items()]
        self.log = directory / "log"
        self.terminal = Terminal(
            "env", *(f"-u{name}" for name in os.environ if name.startswith("XDG_")), *pairs, *start.split()
        )
        self.terminal.send(f"cd {directory}; {setup}; echo rea''dy\r")
        self.terminal.expect("ready\r\n")

    def words(self, typed: str) -> str:
        """The words that the program is given after this was typed and the line sent."""
        lines = len(self.log.read_text().splitlines())
        self.terminal.send(typed)
        self.terminal.send("\r")
        self.terminal.send("echo do''ne\r")
        self.terminal.expect("done\r\n")
        return self.log.read_text().splitlines()[lines]

    def __enter__(self) -> "Prompt":
        return self

    def __exit__(self, *_about: object) -> None:
        self.terminal.__exit__(None, None, None)


@SHELLS
def test_tab_completes_ids_pins_verbs_and_options(shell: str, system: Lab, tmp_path: Path) -> None:
    with Prompt(shell, tmp_path, place(system)) as prompt:
        assert prompt.words("sysmut activate 202601\t") == f"<activate><{FIRST}>"
        assert prompt.words("sysmut act\t202602\t --for\t") == f"<activate><{SECOND}><--force>"
        assert prompt.words("sysmut activate v1\t") == f"<activate><{PIN}>"
        assert prompt.words("sysmut activate v1.0@ho\t") == f"<activate><{PIN}>"
        assert prompt.words("sysmut unpin ad\t") == "<unpin><adrift>"
        assert prompt.words("syscln --dry\t") == "<--dry-run>"
        assert prompt.words("sysmut completion z\t") == "<completion><zsh>"


@SHELLS
def test_tab_completes_in_the_middle_of_a_line_and_behind_a_place(shell: str, system: Lab, tmp_path: Path) -> None:
    with Prompt(shell, tmp_path, {}) as prompt:
        root = str(system.top)
        assert prompt.words(f"sysmut --root={root} act\t202601\t") == f"<--root={root}><activate><{FIRST}>"
        assert prompt.words(f"sysmut activate --root {root} 202601\t") == f"<activate><--root><{root}><{FIRST}>"
        back = "\x1b[D" * len(" --force")
        assert (
            prompt.words(f"sysmut --root '{root}' show 202601 --force{back}\t")
            == f"<--root><{root}><show><{FIRST}><--force>"
        )


@SHELLS
def test_tab_completes_files_also_behind_an_equals_sign(shell: str, system: Lab, tmp_path: Path) -> None:
    with Prompt(shell, tmp_path, place(system)) as prompt:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep/script.sh").touch()
        assert prompt.words("sysmut --script deep/sc\t 0") == "<--script><deep/script.sh><0>"
        assert prompt.words("sysmut --script=deep/sc\t 0") == "<--script=deep/script.sh><0>"
        assert prompt.words("sysmut run 0 -- cat deep/sc\t") == "<run><0><--><cat><deep/script.sh>"


@SHELLS
def test_tab_says_nothing_where_there_is_nothing_to_offer(shell: str, tmp_path: Path) -> None:
    with Prompt(shell, tmp_path, {"SYSMUT_ROOT": "/nowhere"}) as prompt:
        assert prompt.words("sysmut activate 2026\t") == "<activate><2026>"
        assert prompt.words("sysmut activat 2026\t") == "<activat><2026>"
        prompt.terminal.send("sysmut activate 2026\t\x15")
        prompt.terminal.send("echo o''ver\r")
        seen = prompt.terminal.expect("over\r\n")
        assert [word for word in ("complaint", "Traceback", "sysmut:", "nowhere") if word in seen] == []


def test_fish_shows_what_each_is(system: Lab, tmp_path: Path) -> None:
    with Prompt("fish", tmp_path, place(system)) as prompt:
        prompt.terminal.send("complete -C 'sysmut activate 2026' | string replace \\t ' = '; echo o''ver\r")
        seen = prompt.terminal.expect("over\r\n")
        assert f"{SECOND} = the second,  [31m: ö\r\n{FIRST} = slot 0, slot 1, slot 2, slot 3\r\n" in seen


def test_zsh_shows_what_each_is(system: Lab, tmp_path: Path) -> None:
    with Prompt("zsh", tmp_path, place(system)) as prompt:
        prompt.terminal.send("sysmut activate 2026\t\t")
        seen = prompt.terminal.expect(FIRST) + prompt.terminal.expect("slot 3")
        assert "the second" in seen
