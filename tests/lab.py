"""A btrfs filesystem on a loop device, with sysmut's layout in it, made by hand and thrown away.

The layout is written here as the wiki's page has it, by mkdir, ln and `btrfs`, so that the tests do
not lean on the code that they test.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PLACEHOLDER = "CURRENT_SNAPSHOTS_PATH"
FIRST = "20260101000000AbCdEfGh"
"""The id of a lab's first generation."""

Finished = subprocess.CompletedProcess[str]


def sh(*command: str | Path, **options: Any) -> str:
    """Run a program that must succeed; its standard output."""
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def start_of(program: str) -> list[str]:
    """How the console script `sysmut` or `syscln` is started, in this interpreter."""
    module = {"sysmut": "sysmut.cli", "syscln": "sysmut.cli.syscln"}[program]
    return [sys.executable, "-c", f"from {module} import main; main()"]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without any of sysmut's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SYSMUT_")}
    return {**kept, **more}


def without_coverage() -> dict[str, str]:
    """The environment for a run that is not measured: on the clock, or with nowhere to write."""
    return {name: value for name, value in clean_environment().items() if not name.startswith(("COVERAGE", "PYTHON"))}


class Lab:
    """One filesystem, mounted at `top`. Every command is run on it by --root."""

    mount_options = "loop"

    def __init__(self, directory: Path, size: int = 512 * 2**20) -> None:
        self.image = directory / "disk.img"
        self.top = directory / "top"
        self.top.mkdir()
        self._started: list[subprocess.Popen[str]] = []
        self.format(size)
        self.mount()
        self.uuid = sh("findmnt", "-n", "-o", "UUID", self.top).strip()

    def format(self, size: int) -> None:
        """Make the image, with the filesystem of this size in it."""
        with open(self.image, "wb") as file:
            file.truncate(size)
        sh("mkfs.btrfs", "-q", self.image)

    def mount(self) -> None:
        """Mount the filesystem, when it is made and again after `close`."""
        sh("mount", "-o", self.mount_options, self.image, self.top)

    def close(self) -> None:
        """Unmount everything of this filesystem; the loop device goes with its last mount. A sysmut that
        a test has left running is killed."""
        for process in self._started:
            if process.poll() is None:
                kill(process)
        for _ in range(20):
            seen = [line.split() for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]
            devices = {fields[2] for fields in seen if fields[4] == str(self.top)}
            # What a test has mounted elsewhere counts, too.
            ours = [
                fields[4].replace("\\040", " ")
                for fields in seen
                if fields[2] in devices or fields[4] == str(self.top) or fields[4].startswith(f"{self.top}/")
            ]
            if not ours:
                return
            for point in sorted(ours, key=lambda point: (point == str(self.top), -len(point))):
                subprocess.run(["umount", point], check=False, capture_output=True)
            time.sleep(0.05)
        raise AssertionError(f"cannot unmount {self.top}")

    # -- making a layout -------------------------------------------------------------------------

    def lay_out(self, root: Path | None = None, *, slots: int = 4, commons: tuple[str, ...] = ()) -> str:
        """The wiki's layout with one sealed generation, a copy of the directory `root`, in every slot."""
        for name in ("commons", "links", "next", "snapshots"):
            (self.top / name).mkdir()
        lines = [f"UUID={self.uuid} / btrfs subvol={PLACEHOLDER}/@,ro,noatime 0 0"]
        for path in commons:
            name = path.replace("/", "@")
            sh("btrfs", "subvolume", "create", self.top / "commons" / name)
            lines.append(f"UUID={self.uuid} {path} btrfs subvol=/commons/{name},rw,noatime 0 0")
        self.template = "\n".join(["# made by hand", *lines, "tmpfs /tmp tmpfs mode=1777 0 0"]) + "\n"
        self.add_generation(FIRST, root)
        self.link([FIRST] * slots)
        return FIRST

    @property
    def template(self) -> str:
        return (self.top / "fstab").read_text()

    @template.setter
    def template(self, text: str) -> None:
        (self.top / "fstab").write_text(text)

    def add_generation(self, name: str, root: Path | None = None, *, source: str = FIRST, sealed: bool = True) -> Path:
        """A generation: a copy of the directory `root`, else a snapshot of `source`. Its `@`."""
        directory = self.top / "snapshots" / name
        directory.mkdir()
        if root is None:
            sh("btrfs", "subvolume", "snapshot", self.root(source), directory / "@")
        else:
            sh("btrfs", "subvolume", "create", directory / "@")
            sh("cp", "-a", f"{root}/.", directory / "@")
        (directory / "@/etc/fstab").write_text(self.template.replace(PLACEHOLDER, f"/snapshots/{name}"))
        if sealed:
            self.seal(name)
        return directory / "@"

    def seal(self, name: str, *, sealed: bool = True) -> None:
        """Make a generation's root read-only, or writable again."""
        sh("btrfs", "property", "set", "-ts", self.root(name), "ro", "true" if sealed else "false")

    @contextlib.contextmanager
    def unsealed(self, name: str) -> Iterator[Path]:
        """Open a sealed generation for a test to tamper with."""
        self.seal(name, sealed=False)
        yield self.root(name)
        self.seal(name)

    def link(self, slots: list[str], name: str = "20260101000001AbCdEfGh") -> None:
        """A link set with these generations, in force."""
        links = self.top / "links" / name
        links.mkdir()
        for number, generation in enumerate(slots):
            (links / str(number)).symlink_to(f"../../snapshots/{generation}")
        current = self.top / "current"
        current.unlink(missing_ok=True)
        current.symlink_to(f"./links/{name}")

    # -- looking ----------------------------------------------------------------------------------

    def root(self, name: str) -> Path:
        return self.top / "snapshots" / name / "@"

    @property
    def slots(self) -> list[str]:
        """The generation in each slot, by following the links as the boot loader does."""
        current = self.top / "current"
        return [(current / number).resolve().name for number in sorted(os.listdir(current), key=int)]

    @property
    def generations(self) -> set[str]:
        return set(os.listdir(self.top / "snapshots"))

    @property
    def link_sets(self) -> set[str]:
        return set(os.listdir(self.top / "links"))

    def is_sealed(self, name: str) -> bool:
        return "ro=true" in sh("btrfs", "property", "get", "-ts", self.root(name), "ro")

    def picture(self) -> dict[str, Any]:
        """All that must not change when nothing is to happen."""
        return {
            "current": os.readlink(self.top / "current") if (self.top / "current").is_symlink() else None,
            "generations": {name: sorted(os.listdir(self.top / "snapshots" / name)) for name in self.generations},
            "links": {
                name: {
                    slot: os.readlink(self.top / "links" / name / slot)
                    for slot in os.listdir(self.top / "links" / name)
                }
                for name in self.link_sets
            },
            "next": os.listdir(self.top / "next"),
            "subvolumes": [line.split(" path ")[1] for line in sh("btrfs", "subvolume", "list", self.top).splitlines()],
        }

    # -- running ----------------------------------------------------------------------------------

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        """The command line of `sysmut` or `syscln` on this filesystem."""
        return [*start_of(program), "--root", str(self.top), *map(str, arguments)]

    def run(self, program: str, *arguments: str | Path, timeout: float = 120, **options: Any) -> Finished:
        """Run it to its end, without a terminal."""
        environment = options.pop("env", None) or clean_environment(**options.pop("environment", {}))
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(program, *arguments),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            **options,
        )

    def sysmut(self, *arguments: str | Path, **options: Any) -> Finished:
        return self.run("sysmut", *arguments, **options)

    def syscln(self, *arguments: str | Path, **options: Any) -> Finished:
        return self.run("syscln", *arguments, **options)

    def session(self, script: str, *arguments: str, status: int = 0, **options: Any) -> Finished:
        """A session with `sh -ec SCRIPT`, which must end with this status."""
        done = self.sysmut("run", *arguments, "--", "sh", "-ec", script, **options)
        assert done.returncode == status, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """What a command that must succeed says as JSON."""
        done = self.sysmut(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start sysmut and do not wait."""
        environment: Mapping[str, str] = options.pop("env", clean_environment())
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE)
        process = subprocess.Popen(self.command("sysmut", *arguments), text=True, env=environment, **options)
        self._started.append(process)
        return process

    def start_waiting(self, go: str = "/home/go", **options: Any) -> "subprocess.Popen[str]":
        """Start a session whose script says so in a common, and waits there for `finish()`. The lab
        needs the common /home. Returns when it waits."""
        (self.top / "commons/@home").joinpath(Path(go).name).unlink(missing_ok=True)
        script = f"touch /waited; echo waiting; until [ -e {go} ]; do sleep 0.02; done"
        process = self.start("run", "--", "sh", "-ec", script, **options)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n", process.communicate()[1]
        return process

    def finish(self, process: "subprocess.Popen[str]", go: str = "/home/go") -> tuple[int, str]:
        """Let a waiting session end; its status and what it said on standard error."""
        (self.top / "commons/@home").joinpath(Path(go).name).touch()
        said = process.communicate(timeout=60)[1]
        return process.returncode, said


def busybox_root(directory: Path) -> Path:
    """A small root directory: a static busybox with its commands, and an /etc."""
    for name in ("bin", "boot", "dev", "etc", "home", "proc", "root", "run", "sbin", "sys", "tmp", "var/log"):
        (directory / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    shutil.copy2(busybox, directory / "bin/busybox")
    for name in set(sh(busybox, "--list").split()) - {"busybox"}:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "bin/busybox").chmod(0o755)
    (directory / "sbin/init").symlink_to("../bin/busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/fstab").write_text("")
    (directory / "etc/os-release").write_text("ID=test\n")
    (directory / "root").chmod(0o700)
    (directory / "tmp").chmod(0o1777)
    return directory


def kill(process: "subprocess.Popen[str]", number: int = signal.SIGKILL) -> int:
    """Send a signal and wait for the end; the return code."""
    process.send_signal(number)
    process.communicate(timeout=30)
    return process.returncode


def wait_until(condition: Any, seconds: float = 20) -> None:
    """Return as soon as `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def copy_program(root: Path, name: str) -> str:
    """Copy a program of the host, with the libraries that it is linked to, into a root; its path there."""
    path = shutil.which(name)
    assert path, f"{name} is not installed"
    libraries = [word for word in sh("ldd", path).split() if word.startswith("/")]
    for file in (path, *libraries):
        target = root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(file), target)
    return path
