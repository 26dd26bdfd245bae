"""Hostile roots and top levels: whatever lies in the place of what sysmut reads or writes, it leads nowhere outside,
hangs nothing, and ends in one clear line or does no harm."""

import contextlib
import os
import random
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bootable import RELEASE, bootable_root
from tests.lab import FIRST, Finished, Lab, sh
from tests.reliability.apart import apart
from tests.reliability.scratch import forget_devices
from tests.reliability.table import Row
from tests.reliability.zygote import Zygote
from tests.test_hostile import SYSEXITS

SECOND, GARBAGE, EVIL = (f"2026020{n}000000AbCdEfGh" for n in range(2, 5))
OTHER_SET = "links/20250303000000OtherSet"
MARK = "of the host"

TOP = (
    *(f"snapshots/{name}/sysmut.{kind}" for name in (FIRST, SECOND, GARBAGE) for kind in ("json", "log")),
    *(f"snapshots/{GARBAGE}{path}" for path in ("/.sysmut.json.sysmut-new", "/@boot", "/@", "")),
    *("LINKS/0", "LINKS/2", "LINKS/9", "LINKS", f"{OTHER_SET}/0", OTHER_SET, "links", "current", "trial", "fstab"),
    *("next", "next/current", "pins", "pins/first", "pins/new", "snapshots", "commons", "commons/@home"),
)
"""Paths from the top level; LINKS is the link set in force."""
ROOT = (
    *("boot", "boot/vmlinuz-lts", "boot/initramfs-lts", "boot/amd-ucode.img", "lib", "lib/modules", "sbin"),
    *(f"lib/modules/{RELEASE}", f"lib/modules/{RELEASE}/modules.builtin", "sbin/init"),
    *("usr/share/kernel", "usr/share/kernel/lts/kernel.release"),
    *("etc", "etc/fstab", "etc/.fstab.sysmut-new", "etc/os-release", "etc/resolv.conf", "etc/passwd"),
    *("proc", "dev", "dev/pts", "sys", "run", "home", "tmp"),
)
"""Paths in a generation."""
KINDS = ("fifo", "socket", "character", "block", "directory", "file", "link", "up", "itself", "nowhere")

SCRIPT = ("run", "--", "sh", "-ec", "echo x >/home/proof; echo x >/tmp/proof")
COMMANDS = (
    *(("sysmut", "status"), ("sysmut", "status", "--json"), ("sysmut", "check"), ("syscln", "-n"), ("sysmut", *SCRIPT)),
    *(("sysmut", "activate", "2"), ("sysmut", "rollback"), ("syscln",)),
)
ROOT_COMMANDS = (("sysmut", "check", EVIL), ("sysmut", "run", EVIL, *SCRIPT[1:]), ("sysmut", "activate", EVIL))


def _lay_out(lab: Lab, root: Path) -> None:
    """A top level with something in every place."""
    lab.lay_out(root, commons=("/home",))
    for name in (SECOND, GARBAGE, EVIL):
        lab.add_generation(name)
    lab.link([SECOND, FIRST, FIRST, FIRST], "20260101000002AbCdEfGh")
    (lab.top / OTHER_SET).mkdir()
    (lab.top / OTHER_SET / "0").symlink_to(f"../../snapshots/{GARBAGE}")
    (lab.top / "pins").mkdir()
    for pin, name in {"first": FIRST, "second": SECOND, "evil": EVIL}.items():
        (lab.top / "pins" / pin).symlink_to(f"../snapshots/{name}")


def _host(lab: Lab) -> None:
    """Another such top level, as the host's own, that shows who reads it; with what is missing in the first."""
    lab.template += f"# {MARK}\n"
    for name in (FIRST, SECOND, GARBAGE):
        for kind in ("json", "log"):
            (lab.top / f"snapshots/{name}/sysmut.{kind}").write_text(f'{{"description": "{MARK}"}}')
    (lab.top / "pins" / MARK).symlink_to(f"../snapshots/{GARBAGE}")
    for path in ("trial", "next/current"):
        (lab.top / path).symlink_to(f"{'../' * path.count('/')}snapshots/{GARBAGE}")
    with lab.unsealed(EVIL) as root:
        for name in ("etc/fstab", "etc/passwd", "etc/os-release"):
            (root / name).write_text(f"# {MARK}\n")


def _put(kind: str, place: Path, outside: Path) -> None:
    """Something of this kind in the place of what is there, which goes."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        sh("mv", place, f"{place}.away")
    place.parent.mkdir(parents=True, exist_ok=True)
    types = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "character": stat.S_IFCHR, "block": stat.S_IFBLK}
    if kind in types:
        os.mknod(place, 0o666 | types[kind], os.makedev(240, 240))  # no driver has this number: to open it is an error
    elif kind == "directory":
        (place / "full").mkdir(parents=True)
    elif kind == "file":
        place.write_text("junk\n")
    else:
        target = {"link": str(outside), "up": f"{'../' * 40}{outside}", "itself": place.name, "nowhere": "/no/where"}
        place.symlink_to(target[kind])


def _faults(done: Finished, command: tuple[str, ...], place: str) -> Iterator[str]:
    """What is wrong with how a command ended."""
    errors = [line for line in done.stderr.splitlines() if line.startswith(f"{command[0]}: ")]
    if done.returncode not in (0, *SYSEXITS) or done.returncode == 70:
        yield f"status {done.returncode}"
    if (done.returncode != 0) != (len(errors) == 1):
        yield "not one line"
    if "Traceback" in done.stderr or "No such device" in done.stderr or MARK in done.stdout + done.stderr:
        yield "a traceback, a device that was opened, or what is the host's"
    if done.returncode == 71 and os.path.basename(place) not in "".join(errors):
        yield "a failure that does not name the place"


class Search:
    """A top level that is as it was before each attempt, and what must not be touched meanwhile."""

    def __init__(self, lab: Lab, host: Lab, zygote: Zygote) -> None:
        self.lab, self.host, self.zygote = lab, host, zygote
        self.points = 0
        self.faults: list[str] = []
        self._pristine = lab.image.with_name("pristine.img")
        self._before = self._picture()
        lab.close()
        sh("cp", "--sparse=always", lab.image, self._pristine)
        lab.mount()

    def _picture(self) -> str:
        return sh("find", self.host.top, "-printf", "%p %y %i %l %s %m %T@\\n")

    def attempt(self, place: str, kind: str, *, inside: bool) -> None:
        """Put something in one place, and run all commands that could meet it."""
        lab = self.lab
        lab.close()
        sh("cp", "--sparse=always", self._pristine, lab.image)
        forget_devices()  # else btrfs takes it for an old device, and refuses it
        lab.mount()
        shown = place.replace("LINKS", os.readlink(lab.top / "current").removeprefix("./"))
        if inside:
            with lab.unsealed(EVIL) as root:
                _put(kind, root / place, self.host.root(EVIL) / place)
        else:
            _put(kind, lab.top / shown, self.host.top / shown)
        for command in ROOT_COMMANDS if inside else COMMANDS:
            what = f"{kind} for {'@/' if inside else ''}{place}: {' '.join(command)[:30]}"
            self.faults += [f"{what}: {fault}" for fault in self._run(command, what, shown)]
        kept = sh("btrfs", "subvolume", "list", lab.top)
        if not all(f"/{name}/@\n" in kept for name in (FIRST, SECOND)):
            self.faults.append(f"{kind} for {place}: a generation that is referred to was deleted")
        before, self._before = self._before, self._picture()
        if before != self._before:
            self.faults.append(f"{kind} for {place}: the host was changed")

    def _run(self, command: tuple[str, ...], what: str, shown: str) -> Iterator[str]:
        self.points += 1
        before = self._generations()
        program, *arguments = command
        try:
            done = self.zygote.run(program, "--root", self.lab.top, *arguments, timeout=30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{what}: it hangs") from None
        yield from (f"{fault}: {done.returncode} {done.stderr[-300:]}" for fault in _faults(done, command, shown))
        made = self._generations() - before
        if done.returncode and made:
            yield f"it failed, and left {made}"
        if any(MARK in _text(self.lab.root(name) / "etc/fstab") for name in made):
            yield "the host's template was taken"

    def _generations(self) -> set[str]:
        path = self.lab.top / "snapshots"
        return self.lab.generations if path.is_dir() and not path.is_symlink() else set()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


@contextlib.contextmanager
def searching(make_lab: Callable[..., Lab], small_root: Path, directory: Path) -> Iterator[Search]:
    """A search, in two labs: one to tamper with, and one that stands for the host."""
    root = bootable_root(small_root, directory)
    lab, host = make_lab(256 * 2**20), make_lab(256 * 2**20)
    for each in (lab, host):
        _lay_out(each, root)
    _host(host)
    with Zygote() as zygote:
        yield Search(lab, host, zygote)


@pytest.mark.parametrize("part", [pytest.param(12, id="quick"), pytest.param(1, id="long", marks=pytest.mark.long)])
@apart
def test_nothing_in_any_place_leads_outside_hangs_or_ends_in_a_traceback(
    make_lab: Callable[..., Lab], small_root: Path, tmp_path: Path, record: Callable[[Row], None], part: int
) -> None:
    pairs = [
        (place, kind, inside) for inside, places in ((False, TOP), (True, ROOT)) for place in places for kind in KINDS
    ]
    with searching(make_lab, small_root, tmp_path) as search:
        for place, kind, inside in random.Random(1).sample(pairs, len(pairs) // part):
            search.attempt(place, kind, inside=inside)
    assert not search.faults, "\n".join(search.faults[:20])
    what = "hostile roots and top levels: what leads outside, hangs or ends in a traceback"
    record(Row(7, what, search.points, len(search.faults), 0))


def test_a_directory_that_has_the_name_of_a_file_of_sysmuts_stays_and_stops_nothing(lab: Lab) -> None:
    names = ("sysmut.json", "sysmut.log", ".sysmut.json.sysmut-new")
    root = lab.add_generation(GARBAGE)
    for name in names:
        (root.parent / name).mkdir()
    done = lab.syscln("-v")
    assert done.returncode == 0, done.stderr
    assert "holds what is not sysmut's" in done.stderr
    assert sorted(os.listdir(root.parent)) == sorted(names)
    assert lab.syscln().returncode == 0
