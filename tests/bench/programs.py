"""Who is measured: how each is started, and the programs among them that have to be made first."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import Contender
from tests.bench.place import beside
from tests.bench.stage import COMMON, Stage
from tests.lab import start_of

_FLOORS = Path(__file__).parent / "floors"

SYSMUT, PYTHON, C, SHELL, SNAPPER, PEER = "sysmut", "floor", "floor in C", "btrfs commands", "snapper", "peer"
START, BARE = "start-up", "bare delete"
"""The contenders, as the tables call them."""

_START = "import click, btrfsutil"


@dataclass(frozen=True)
class Programs:
    """How they are started."""

    directory: Path
    """Where what is made for this run is put."""
    peer_sysmut: str | None
    peer_syscln: str | None

    def sysmut(self, stage: Stage, *words: str) -> list[str]:
        """The command line of sysmut on a stage."""
        return [*_installed("sysmut"), words[0], "--device", stage.device, *words[1:]]

    def syscln(self, stage: Stage, *words: str) -> list[str]:
        """The command line of syscln."""
        return [*_installed("syscln"), "--device", stage.device, *words]

    def floor(self, name: str, stage: Stage, *words: str) -> list[str]:
        """The program in Python that does the least."""
        return [sys.executable, str(_FLOORS / f"{name}.py"), stage.device, str(stage.mount_point), *words]

    def shell(self, name: str, stage: Stage, *words: str) -> list[str]:
        """The command lines that do the same."""
        script = str(_FLOORS / f"{name}.sh")
        return ["unshare", "--mount", "sh", "-e", script, stage.device, str(stage.mount_point), *words]

    @property
    def has_compiler(self) -> bool:
        """Whether there is one for C."""
        return shutil.which("cc") is not None

    def compiled(self, name: str, stage: Stage, *words: str) -> list[str]:
        """The program in C, which is compiled when it is first asked for."""
        program = self.directory / f"{name}-in-c"
        if not program.exists():
            subprocess.run(["cc", "-O2", "-o", str(program), str(_FLOORS / f"{name}.c")], check=True)
        return [str(program), stage.device, str(stage.mount_point), *words]

    def bare_delete(self, stage: Stage) -> list[str]:
        """What deletes the subvolumes alone, where the stage is mounted already."""
        return [sys.executable, str(_FLOORS / "delete.py"), str(stage.top)]

    def help(self) -> list[str]:
        """`sysmut --help`."""
        return [*_installed("sysmut"), "--help"]

    def peer(self, command: str, stage: Stage) -> list[str]:
        """A peer's command line for a stage. @MNT@ and @UUID@, as well as @DEVICE@, are replaced in its words, and in
        the program if that is a script with such marks. The filesystem is named by its device, as for all others."""
        words = [_marked(word, stage) for word in shlex.split(command)]
        path = shutil.which(words[0])
        if path is None:
            with open(words[0], "rb"):  # which says what is wrong
                path = words[0]
        content = Path(path).read_bytes()
        if b"@UUID@" not in content and b"@DEVICE@" not in content:
            return words
        copy = self.directory / f"{Path(path).name}-{os.path.basename(stage.device)}"
        copy.write_text(_marked(content.decode(), stage))
        copy.chmod(0o755)
        return [str(copy), *words[1:]]


def start_up() -> Contender:
    """The interpreter that runs sysmut with the two modules that it cannot do without."""
    return Contender(START, lambda: [sys.executable, "-c", _START])


def _installed(name: str) -> list[str]:
    """The console script beside the interpreter; else the same by way of `-c`."""
    path = beside(name)
    return [path] if path else start_of(name)


def _marked(text: str, stage: Stage) -> str:
    text = text.replace("UUID=@UUID@", stage.device).replace("@DEVICE@", stage.device)
    return text.replace("@UUID@", stage.uuid).replace("@MNT@", str(stage.mount_point))


def on_stage(
    name: str,
    stage: Stage,
    command: Callable[[], Sequence[str]],
    finish: Callable[[], None] = lambda: None,
    prepare: Callable[[], None] = lambda: None,
    typed: str = "",
) -> Contender:
    """A contender whose commits are those of the stage's filesystem."""
    return Contender(name, command, typed, prepare, finish, lambda: stage.commits)


def session_words(stage: Stage) -> tuple[str, str]:
    """What a floor of a session needs to know besides: the new id, and the common."""
    return stage.new_id(), COMMON
