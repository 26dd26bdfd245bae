"""A full disk, of data and of metadata, from every moment of a session, an activation and a collection on:
each is whole or not at all, and what is left can be collected."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sysmut import layout
from tests.lab import FIRST, Finished, busybox_root, sh, wait_until, without_coverage
from tests.reliability.full import KINDS, LEAF, Disk, Kind
from tests.reliability.table import Row

OTHER = "20260202000000OtherOth"
GARBAGE = tuple(f"2025010100000{number}Garbaged" for number in range(2))
FAILED = 99
"""The status of a script that was told that the disk is full, and says so."""

OLD = b"as it was\n" * 100_000
STEPS = (
    "mkdir -p /new/deep",
    'for n in 1 2 3 4 5 6 7 8; do echo "small $n" >/new/deep/$n; done',
    "cat /bin/busybox >/new/large",
    "seq 30000 >/new/lines; ln -s lines /new/link",
    "dd if=/bin/busybox of=/srv/old bs=64k count=3 seek=2 conv=notrunc 2>/dev/null",
    "seq 9 >>/srv/old; mv /srv/old /new/moved",
)
SCRIPT = "\n".join((*STEPS, "echo done"))

each_kind = pytest.mark.parametrize("kind", KINDS)
each_deed = pytest.mark.parametrize("name", ["a session", "an activation", "a collection"])


def quick_and_long(name: str, quick: object, long: object) -> pytest.MarkDecorator:
    """The two forms of a search."""
    forms = [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.long)]
    return pytest.mark.parametrize(name, forms)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small root, with a file that the script changes in place."""
    made = busybox_root(tmp_path_factory.mktemp("root"))
    (made / "srv").mkdir()
    (made / "srv/old").write_bytes(OLD)
    return made


@pytest.fixture
def disk(root_user: None, root: Path, tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path, root)
    yield made
    made.throw_away()


@dataclass
class Search:
    """What was tried, and what was found."""

    disk: Disk
    points: int = 0
    broken: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def judge(self, where: object, done: Finished, what_lacks: Callable[[], list[str]]) -> None:
        """Count what was done on a disk that is full by now: in a success nothing must lack, neither at
        once nor when all is read from the disk anew; a failure must be clean; and it must go on after it."""
        disk = self.disk

        def look() -> list[str]:
            return what_is_unclean(disk, done) if done.returncode else what_lacks()

        broken = look()
        disk.remount()
        later = [] if broken else look()
        lost = [] if done.returncode else later
        broken += [fault for fault in later if fault not in lost] + what_stays(disk)
        self.points += 1
        self.broken += bool(broken)
        self.lost += bool(lost)
        self.faults += [f"{where}: {fault}" for fault in (*broken, *lost)]

    def row(self, what: str) -> Row:
        """For the table; fails with what was found first."""
        assert not self.faults, "\n".join(self.faults[:20])
        return Row(part=4, what=what, points=self.points, broken=self.broken, lost=self.lost)


# -- what is right ----------------------------------------------------------------------------------------


def what_is_unclean(disk: Disk, done: Finished) -> list[str]:
    """What is wrong with a failure: it must be told as want of room, and must have changed nothing."""
    faults = []
    by_script = done.returncode == FAILED and f"ended with status {FAILED}" in done.stderr
    if done.returncode != 73 and not by_script:
        faults.append(f"status {done.returncode}")
    told = "".join(done.stderr.splitlines()[-1:])
    if "Traceback" in done.stderr or not told.startswith(("sysmut: ", "syscln: ")):
        faults.append("not told in one line")
    elif told.partition(": ")[2].startswith("No space"):
        faults.append("not told where")
    if disk.in_force != disk.saved_in_force:
        faults.append(f"in force is {disk.in_force}")
    if "new generation was discarded" in done.stderr and disk.generations != set(disk.slots):
        faults.append("not discarded")
    return [f"{fault}: {done.stderr[-300:]}" for fault in faults]


def what_stays(disk: Disk) -> list[str]:
    """What is wrong with a collection, on the disk that is still full, and with a session, when there is
    room again."""
    collected = disk.syscln(env=without_coverage())
    left = disk.generations - set(disk.slots), len(disk.link_sets)
    faults = []
    if collected.returncode or left != (set(), 1):
        faults.append(f"not collected: {collected.returncode}, {left}, {collected.stderr}")
    disk.empty()
    after = disk.sysmut("run", "--", "sh", "-ec", "echo room >/room", env=without_coverage())
    if after.returncode or (disk.root(disk.slots[0]) / "room").read_text() != "room\n":
        faults.append(f"no session afterwards: {after.returncode}, {after.stderr}")
    return faults


def files_of_the_script(root: Path) -> dict[str, bytes]:
    """What the script makes in /new."""
    busybox = (root / "bin/busybox").read_bytes()
    first, last = 2 * 65536, 5 * 65536
    lines = b"".join(b"%d\n" % number for number in range(1, 30001))
    return {
        **{f"deep/{number}": b"small %d\n" % number for number in range(1, 9)},
        "large": busybox,
        "lines": lines,
        "link": lines,
        "moved": OLD[:first] + busybox[: last - first] + OLD[last:] + b"1\n2\n3\n4\n5\n6\n7\n8\n9\n",
    }


def what_a_session_lacks(disk: Disk, expected: dict[str, bytes]) -> list[str]:
    """What is not as it is when one with the script was published."""
    new, *others = disk.slots
    if others != [FIRST] * 3 or new == FIRST:
        return [f"slots {disk.slots}"]
    directory = disk.root(new)
    faults = [path for path, content in expected.items() if _content(directory / "new" / path) != content]
    fstab = disk.template.replace("CURRENT_SNAPSHOTS_PATH", f"/snapshots/{new}")
    if _content(directory / "etc/fstab") != fstab.encode():
        faults.append("fstab")
    if f'"generation": "{new}"'.encode() not in _content(directory.parent / "sysmut.json"):
        faults.append("sysmut.json")
    if _content(directory.parent / "sysmut.log") != b"done\n":
        faults.append("sysmut.log")
    return faults if disk.is_sealed(new) else [*faults, "not sealed"]


def _content(path: Path) -> bytes:
    """What is in the file, or why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return str(error).encode()


# -- from each call on, at each level ----------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """What is done on a disk that is, or becomes full."""

    commands: tuple[list[str], ...]
    what_lacks: Callable[[], list[str]]
    paths: tuple[str, ...] = ()
    """Where ioctls are points of their own."""


def heedful(script: str, *, last: str = ":") -> list[str]:
    """The command that runs the script, and where a command of it fails does something last, and ends with
    FAILED."""
    return ["sh", "-c", f'sh -ec "$1" && exit; {last}; exit {FAILED}', "sh", script]


def prepare(disk: Disk, name: str, root: Path) -> Deed:
    """Save the disk as it is before the deed of that name."""
    if name == "a session":
        expected = files_of_the_script(root)
        options: tuple[list[str], ...] = (["--min-free", "0"], [])
        commands = tuple(disk.command("sysmut", "run", *each, "--", *heedful(SCRIPT)) for each in options)
        deed = Deed(commands, lambda: what_a_session_lacks(disk, expected))
    elif name == "an activation":
        disk.add_generation(OTHER)
        after = [OTHER, FIRST, FIRST, FIRST]
        deed = Deed((disk.command("sysmut", "activate", OTHER),), lambda: [] if disk.slots == after else disk.slots)
    else:
        paths = [f"{layout.MOUNT_POINT}/snapshots/{add_garbage(disk, name)}" for name in GARBAGE]
        disk.link([FIRST] * 4, "20260101000002AbCdEfGh")
        deed = Deed(
            (disk.command("syscln"),),
            lambda: sorted((disk.generations - {FIRST}) | (disk.link_sets - {"20260101000002AbCdEfGh"})),
            tuple(f"{path}{below}" for path in paths for below in ("", "/@", "/@/srv")),
        )
    disk.save()
    return deed


def add_garbage(disk: Disk, name: str, *, blocks: int = 256, leaves: int = 64) -> str:
    """A generation to which nothing refers, with subvolumes and files of its own: so many blocks of data,
    so many leaves of metadata."""
    root = disk.add_generation(name, sealed=False)
    for path in (root / "srv/inner", root.parent / "@beside"):
        sh("btrfs", "subvolume", "create", path)
        (path / "file").write_text("content")
        sh("btrfs", "property", "set", "-ts", path, "ro", "true")
    (root / "srv/data").write_bytes(os.urandom(blocks * 4096))
    for number in range(leaves):
        os.setxattr(root / "srv/data", f"user.{number}", bytes(LEAF))
    (root.parent / "sysmut.json").write_text("{}")
    disk.seal(name)
    return name


@quick_and_long("every", 10, 1)
@each_kind
@each_deed
def test_on_a_disk_that_fills_up_at_any_call_it_is_whole_or_not_at_all(
    disk: Disk, root: Path, name: str, kind: Kind, every: int, record: Callable[[Row], None]
) -> None:
    deed = prepare(disk, name, root)
    search = Search(disk)
    points = [(command, point) for command in deed.commands for point in disk.points(command, deed.paths)]
    for command, point in points[::every]:
        disk.restore()
        done = disk.run_until(command, point, lambda: disk.fill(kind))
        assert done is not None, f"{point} was not reached"
        search.judge(point, done, deed.what_lacks)
    record(search.row(f"{kind}-full at each call of {name}"))


BLOCKS, LEAVES = 900, 1100
"""With so many blocks of data and leaves of metadata there is room for all."""


@quick_and_long("step", 275, 9)
@pytest.mark.parametrize(
    ("name", "kind"), [("a session", "data"), ("a session", "metadata"), ("an activation", "metadata")]
)
def test_on_a_disk_that_is_nearly_full_it_is_whole_or_not_at_all(
    disk: Disk, root: Path, name: str, kind: Kind, step: int, record: Callable[[Row], None]
) -> None:
    deed = prepare(disk, name, root)
    search = Search(disk)
    statuses = set()
    for level in range(0, (BLOCKS if kind == "data" else LEAVES) + step, step):
        disk.restore()
        if kind == "data":
            disk.fill(kind, blocks=level)
        else:
            disk.fill(kind, blocks=BLOCKS, leaves=level)
        done = disk.run_to_the_end(deed.commands[0])
        statuses.add(done.returncode)
        search.judge(f"{level} left", done, deed.what_lacks)
    assert {0, 73} <= statuses
    record(search.row(f"{name} at each level of free {kind}"))


# -- while the script runs ---------------------------------------------------------------------------------

HOLD = "echo waiting; while [ -e /home/hold ]; do sleep 0.02; done"
SCRIPTS: dict[str, Callable[[str], list[str]]] = {
    "heeds": lambda steps: ["--min-free", "0", "--", *heedful(steps)],
    "heeds, and makes room": lambda steps: ["--min-free", "0", "--", *heedful(steps, last="rm -r /new")],
    "does not heed": lambda steps: ["--", "sh", "-c", f"{steps}\ntrue"],
}


@quick_and_long("every", 3, 1)
@each_kind
def test_what_a_script_could_not_write_is_not_published_whether_it_heeds_that_or_not(
    disk: Disk, kind: Kind, every: int, record: Callable[[Row], None]
) -> None:
    (disk.top / "commons/@home/hold").touch()
    disk.save()
    search = Search(disk)
    for number in range(0, len(STEPS), every):
        steps = "\n".join((*STEPS[:number], HOLD, *STEPS[number:]))
        for manner, arguments in SCRIPTS.items():
            disk.restore()
            done = run_held(disk, arguments(steps), kind)
            search.judge(f"{manner}, before {STEPS[number]}", done, lambda: ["published"])
    record(search.row(f"{kind}-full at each step of a script"))


def run_held(disk: Disk, arguments: list[str], kind: Kind) -> Finished:
    """A session that is held in its script until the disk is full."""
    process = disk.start("run", *arguments, env=without_coverage())
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    disk.fill(kind)
    (disk.top / "commons/@home/hold").unlink()
    out, said = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, said)


@quick_and_long("lefts", (40, 24), (*range(2, 31, 2), *range(34, 64, 2)))
def test_the_space_that_must_stay_free_stays_free_though_nothing_is_on_the_disk_yet(
    disk: Disk, lefts: tuple[int, ...], record: Callable[[Row], None]
) -> None:
    """The kernel counts as free what has been written, and will be on the disk in half a minute only."""
    disk.save()
    floor = 32
    room = os.statvfs(disk.top).f_bavail * 4096 >> 20
    faults = []
    for left in lefts:
        disk.restore()
        dd = ["dd", "if=/dev/zero", "of=/large", "bs=1M", f"count={room - left}"]
        done = disk.sysmut("run", "--min-free", f"{floor}M", "--", *dd, env=without_coverage())
        if done.returncode != (0 if left > floor else 73):
            faults.append(f"{left} MiB left: {done.returncode}, {done.stderr}")
    assert not faults, "\n".join(faults)
    record(Row(4, "space that must stay free after a session", len(lefts), len(faults), 0))


# -- a collection -------------------------------------------------------------------------------------------


@quick_and_long("counts", (1, 30), (1, 2, 4, 8, 16, 32, 64, 128, 256))
@each_kind
def test_a_collection_on_a_full_disk_gives_back_all_that_it_deletes(
    disk: Disk, kind: Kind, counts: tuple[int, ...], record: Callable[[Row], None]
) -> None:
    disk.save()
    faults = []
    for count in counts:
        disk.restore()
        blocks, leaves = 2048 // count, 512 // count
        for number in range(count):
            add_garbage(disk, f"20250101{number:06}Garbaged", blocks=blocks, leaves=leaves)
        disk.fill(kind)
        failed = disk.sysmut("run", "--min-free", "0", "--", "true", env=without_coverage())
        assert failed.returncode == 73, failed.stderr
        before = disk.free
        done = disk.syscln(env=without_coverage())
        if done.returncode or disk.generations != {FIRST}:
            faults.append(f"{count} generations: {done.returncode}, {len(disk.generations) - 1} left, {done.stderr}")
            continue
        wait_until(disk.is_clean)
        if not disk.takes(kind, count * (blocks if kind == "data" else leaves)):
            faults.append(f"{count} generations: what is free cannot be used")
        if disk.free < before + count * (blocks * 4096 + leaves * LEAF):
            faults.append(f"{count} generations: {before} bytes were free, now {disk.free}")
    assert not faults, "\n".join(faults)
    record(Row(4, f"space that a collection gives back, {kind}-full", len(counts), len(faults), 0))
