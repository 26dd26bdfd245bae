"""Something to happen while a disk is recorded: sessions, activations, pins, collections, and a busy neighbour."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab import Finished, Lab, sh
from tests.reliability.recorder import Recorder
from tests.reliability.truth import Manifest, manifest
from tests.reliability.zygote import Zygote

SIZE = 256 * 2**20

CHANGE = (
    "for n in 1 2 3; do echo $SYSMUT_GENERATION $n > /data/$n; done;"
    " yes $SYSMUT_GENERATION | head -c 70000 > /data/large; ln -sf $SYSMUT_GENERATION /data/link;"
    " rm -f /data/old; mv /data/1 /data/old; echo done >> /data/count"
)
"""What a session does: files written, replaced, renamed and removed."""

_NEIGHBOUR = """\
import os, sys, time
directory, number = sys.argv[1], 0
while True:
    number += 1
    with open(f"{directory}/new", "w") as file:
        file.write(f"{number}\\n" * 100)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{directory}/new", f"{directory}/file{number % 3}")
    time.sleep(0.004)
"""


class RecordedLab(Lab):
    """A lab on a disk that remembers. `initial` is the empty filesystem that its log begins with."""

    def __init__(self, directory: Path) -> None:
        self.backing = directory / "backing"
        self.initial = directory / "initial"
        self.log = directory / "log"
        super().__init__(directory, SIZE)

    def format(self, size: int) -> None:
        with open(self.backing, "wb") as file:
            file.truncate(size)
        sh("mkfs.btrfs", "-q", self.backing)
        sh("cp", "--sparse=always", self.backing, self.initial)
        self.recorder = Recorder(self.backing, self.image, self.log)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.recorder.close()


def small_root(directory: Path, busybox: Path) -> Path:
    """A root that takes little time to look through: a few commands of busybox, and a directory for changes."""
    for name in ("bin", "data", "dev", "etc", "home", "proc", "run", "sbin", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    shutil.copy2(busybox, directory / "bin/busybox")
    for name in ("sh", "yes", "head", "ln", "rm", "mv", "true"):
        (directory / "bin" / name).symlink_to("busybox")
    for name in ("fstab", "passwd"):
        (directory / "etc" / name).write_text("")
    return directory


class Workload:
    """The commands, each with a mark when it has reported success: what a power cut after it must not undo."""

    def __init__(self, lab: RecordedLab, zygote: Zygote, seed: int) -> None:
        self._lab = lab
        self._zygote = zygote
        self._random = random.Random(seed)
        self.manifests: dict[str, Manifest] = {}
        self._learn(lab.slots)

    def begin(self) -> None:
        """Mark that from here on everything counts."""
        os.sync()
        self._lab.recorder.mark({"slots": self._lab.slots})

    def _learn(self, names: list[str]) -> None:
        for name in names:
            if name not in self.manifests:
                self.manifests[name] = manifest(self._lab.root(name))

    def _run(self, program: str, *arguments: str) -> Finished:
        done = self._zygote.run(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    def _json(self, program: str, *arguments: str) -> Any:
        root = ("--root", str(self._lab.top), "--json")
        verb, *rest = arguments or ("",)
        words = (verb, *root, *rest) if verb else root
        return json.loads(self._run(program, *words).stdout)

    def session(self) -> None:
        """A session that writes files, replaces, renames and removes some."""
        told = self._json("sysmut", "run", "--", "sh", "-ec", CHANGE)
        self._lab.recorder.mark({"slots": told["slots"]})
        self._learn(told["slots"])

    def activate(self) -> None:
        """A slot other than the first becomes slot 0."""
        told = self._json("sysmut", "activate", str(self._random.randrange(1, 4)))
        self._lab.recorder.mark({"slots": told["slots"]})

    def collect(self) -> None:
        """A collection."""
        told = self._json("syscln")
        self._lab.recorder.mark({"gone": told["deleted"]})

    def pin(self) -> None:
        """A generation in a slot is pinned, as a user does it: with ln and sync."""
        pins = self._lab.top / "pins"
        pins.mkdir(exist_ok=True)
        name = f"pin{len(os.listdir(pins))}"
        generation = self._random.choice(self._lab.slots)
        (pins / name).symlink_to(f"../snapshots/{generation}")
        sh("sync", "-f", pins)
        self._lab.recorder.mark({"pin": name, "generation": generation})

    def rounds(self, sessions: int) -> None:
        """So many sessions, and between them the rest."""
        for number in range(sessions):
            self.session()
            if number % 3 == 1:
                self.activate()
            if number % 4 == 2:
                self.collect()
            if number % 7 == 3:
                self.pin()
        self.collect()


@contextlib.contextmanager
def neighbour(directory: Path) -> Iterator[None]:
    """Another process that writes, renames and fsyncs on the same filesystem."""
    process = subprocess.Popen([sys.executable, "-c", _NEIGHBOUR, str(directory)])
    try:
        yield
        assert process.poll() is None, "the neighbour gave up"
    finally:
        process.kill()
        process.wait()
