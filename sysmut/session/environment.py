"""What a session runs, and the environment that it runs in."""

import os
import stat
from collections.abc import Mapping

from sysmut import inroot
from sysmut.config import Config
from sysmut.errors import BadData
from sysmut.sandbox import Command, File, Mount
from sysmut.values import frozen

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FILES = "/run/session"
"""Where the session's own files are: on a tmpfs, so that the generation does not keep them."""

_BASHRC = """\
for file in /etc/bash.bashrc /etc/bashrc ~/.bashrc; do
    [ -r "$file" ] && . "$file"
done
unset file
PS1="[sysmut $SYSMUT_GENERATION] $PS1"
"""


@frozen
class Program:
    """A shell (neither script nor argv), a script, or a command."""

    script: bytes | None = None
    name: str = "the shell"
    argv: tuple[str, ...] = ()

    @property
    def is_shell(self) -> bool:
        """Whether it is the shell on the terminal."""
        return self.script is None and not self.argv

    @property
    def shown(self) -> tuple[str, ...]:
        """For the record."""
        return self.argv or ((self.name,) if self.script is not None else ())

    @property
    def sha256(self) -> str | None:
        """The script's, in hexadecimal."""
        if self.script is None:
            return None
        import hashlib  # late: it loads OpenSSL

        return hashlib.sha256(self.script).hexdigest()


def command(
    program: Program,
    config: Config,
    root: str,
    facts: Mapping[str, str],
    mounts: tuple[Mount, ...],
    timeout: float | None,
) -> Command:
    """The command that runs `program` in the generation at `root`; `facts` are the variables that
    tell it about the session."""
    environment = {"PATH": _PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh"}
    for name in ("TERM", *config.environment):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment.update(facts)
    if program.script is not None:
        path = f"{_FILES}/{os.path.basename(program.name) or 'script'}"
        if "\0" in path or len(os.fsencode(path)) > 200:
            path = f"{_FILES}/script"
        return Command(
            (path,),
            environment,
            # An ignored error would publish a broken generation. A binary of another kind is no script.
            fallback=() if b"\0" in program.script.partition(b"\n")[0] else ("sh", "-e", path),
            timeout=timeout,
            mounts=mounts,
            files=(File(path, program.script, 0o700),),
        )
    if program.argv:
        return Command(program.argv, environment, timeout=timeout, mounts=mounts)
    shell = _shell(config, root)
    environment["SHELL"] = shell
    return _interactive(shell, environment, mounts, timeout)


def _interactive(shell: str, environment: dict[str, str], mounts: tuple[Mount, ...], timeout: float | None) -> Command:
    """The shell, with a prompt that says where one is. Bash's start-up files set the prompt anew, so
    it gets one that reads those and puts the generation before what they say."""
    environment["PS1"] = f"[sysmut {environment['SYSMUT_GENERATION']}] # "
    argv: tuple[str, ...] = (shell,)
    files: tuple[File, ...] = ()
    if os.path.basename(shell) == "bash":
        argv = (shell, "--rcfile", f"{_FILES}/bashrc")
        files = (File(f"{_FILES}/bashrc", _BASHRC.encode(), 0o600),)
    return Command(argv, environment, interactive=True, timeout=timeout, mounts=mounts, files=files)


def _shell(config: Config, root: str) -> str:
    """The shell from the settings, else that of root in the generation, else /bin/sh."""
    if config.shell:
        return config.shell
    try:
        text = inroot.read_text(root, "etc/passwd")
    except (OSError, BadData):
        text = ""
    for line in text.split("\n"):
        fields = line.split(":")
        if fields[0] == "root" and len(fields) == 7 and fields[6].startswith("/"):
            status = inroot.status(root, fields[6])
            if status is not None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                return fields[6]
    return "/bin/sh"
