"""The EFI system partition: found, mounted, and written so that nothing is ever half there.

The kernel that the tests run on may have no vfat. Where a mount is needed the filesystem is ext4, and
only the name of its type is another; the rules for names are sysmut's own and need no FAT.
"""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmut import disks, mounts, syscalls
from sysmut.errors import BadData, NoSpace, NotSysmut, SysmutError, SystemFailure, UsageError
from sysmut.menu import esp
from sysmut.menu.esp import ESP_TYPE, Esp
from sysmut.menu.fat import Tree
from tests.lab import sh, wait_until, without_coverage

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def put(top: Path, *paths: str) -> Esp:
    """Empty files below `top`, as a system partition."""
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).touch()
    return Esp(str(top))


def below(top: Path) -> dict[str, bytes]:
    """Every file below `top`, with its content."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


# -- looking -----------------------------------------------------------------------------------------


def test_refinds_own_directory_comes_first_and_the_fallback_only_with_a_configuration(tmp_path: Path) -> None:
    found = put(
        tmp_path,
        "EFI/zzz/refind_x64.efi",
        "EFI/BOOT/bootx64.efi",
        "EFI/BOOT/refind_x64.efi",
        "EFI/Microsoft/Boot/bootmgfw.efi",
        "EFI/aaa/refind.conf",
        "EFI/refind/refind_aa64.efi",
        "EFI/tools/refind.efi",
        "EFI/file",
    )
    assert found.refind_directories() == ("EFI/refind", "EFI/aaa", "EFI/zzz")
    put(tmp_path, "EFI/BOOT/refind.conf")
    assert found.refind_directories() == ("EFI/refind", "EFI/BOOT", "EFI/aaa", "EFI/zzz")


def test_no_directory_is_found_where_there_is_no_refind(tmp_path: Path) -> None:
    assert Esp(str(tmp_path)).refind_directories() == ()
    assert put(tmp_path, "EFI/BOOT/bootx64.efi").refind_directories() == ()


def test_names_are_found_in_any_case_as_the_firmware_does(tmp_path: Path) -> None:
    found = put(tmp_path, "efi/REFIND/REFIND.CONF")
    (tmp_path / "efi/REFIND/REFIND.CONF").write_bytes(b"timeout 5")
    assert found.refind_directories() == ("efi/REFIND",)
    assert found.read("EFI/refind/refind.conf") == b"timeout 5"
    assert found.read("/EFI\\refind\\Refind.Conf") == b"timeout 5"
    assert found.names("EFI/Refind") == ("REFIND.CONF",)
    assert found.write("EFI/refind/refind.conf", b"timeout 1", keep="Old.conf")
    assert below(tmp_path) == {"efi/REFIND/REFIND.CONF": b"timeout 1", "efi/REFIND/Old.conf": b"timeout 5"}
    assert found.write("EFI/refind/refind.conf", b"timeout 2", keep="OLD.CONF")
    assert below(tmp_path) == {"efi/REFIND/REFIND.CONF": b"timeout 2", "efi/REFIND/Old.conf": b"timeout 1"}


@pytest.mark.parametrize("path", ["missing", "a/b", "file/below", "", "/", ".", "../x", "a/../file", "x\0y", "n" * 300])
def test_what_is_not_there_reads_as_nothing(tmp_path: Path, path: str) -> None:
    put(tmp_path / "top", "file", "a/file")
    (tmp_path / "x").touch()
    found = Tree(str(tmp_path / "top"))
    assert found.read(path) is None
    assert found.names(path) == ()


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    found = put(tmp_path, "large", "secret")
    os.truncate(tmp_path / "large", 2**40)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("secret")
    for name, said in (("large", "too large"), ("fifo", "not a regular file"), ("directory", "not a regular file")):
        with pytest.raises(BadData, match=f"{name}: {said}"):
            found.read(name)
    with pytest.raises(SysmutError, match="link"):
        found.read("link")


# -- writing -----------------------------------------------------------------------------------------


def test_a_file_is_written_with_the_directories_above_it(tmp_path: Path) -> None:
    found = Esp(str(tmp_path))
    assert found.write("EFI/refind/sysmut.conf", b"x", keep="before.conf")
    assert below(tmp_path) == {"EFI/refind/sysmut.conf": b"x"}  # there was nothing to keep


def test_the_same_content_is_not_written_again_and_what_was_kept_stays(tmp_path: Path) -> None:
    found = Esp(str(tmp_path))
    found.write("f", b"one", keep="old")
    found.write("f", b"two", keep="old")
    before = [os.stat(tmp_path / name).st_ino for name in ("f", "old")]
    assert not found.write("f", b"two", keep="old")
    assert [os.stat(tmp_path / name).st_ino for name in ("f", "old")] == before
    assert below(tmp_path) == {"f": b"two", "old": b"one"}


@pytest.mark.parametrize(
    "name",
    ["a:b", "a*", "what?", "a\\b", "a|b", "a\nb", "end.", "end ", ".", "..", " ", "", "ä", "n" * 256, 'q"', "\x7f"],
)
def test_a_name_that_fat_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    found = Esp(str(tmp_path))
    for path, keep in ((f"EFI/{name}/x", None), (f"EFI/{name}", None), ("EFI/x", name)):
        with pytest.raises(UsageError, match="FAT"):
            found.write(path.rstrip("/") if name else f"EFI/{name}/x", b"x", keep=keep)
    assert below(tmp_path) == {}
    assert os.listdir(tmp_path) == []


def test_a_temporary_file_that_was_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "sysmut-new.tmp").write_bytes(b"cut off")
    Esp(str(tmp_path)).write("f", b"x", keep=None)
    assert below(tmp_path) == {"f": b"x"}


@pytest.fixture
def small(root_user: None, tmp_path: Path) -> Iterator[Path]:
    """A small filesystem with a file of 8 KiB in it and little room beside that."""
    top = tmp_path / "small"
    top.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20", "none", top)
    try:
        (top / "file").write_bytes(b"old!" * 2048)
        yield top
    finally:
        sh("umount", top)


def test_a_full_partition_leaves_the_file_as_it_was_and_nothing_else(small: Path) -> None:
    found = Esp(str(small))
    before = below(small)
    with pytest.raises(NoSpace, match=f"{small}/file: No space left") as caught:
        found.write("file", b"new!" * 15000, keep=None)
    assert "system partition" in caught.value.hint
    with pytest.raises(NoSpace):
        found.write("other", b"new!" * 15000, keep=None)
    assert below(small) == before


def test_when_there_is_no_room_for_the_copy_nothing_is_replaced(small: Path) -> None:
    (small / "filler").write_bytes(bytes(52 * 1024))
    before = below(small)
    with pytest.raises(NoSpace, match="older: No space"):
        Esp(str(small)).write("file", b"x", keep="older")
    assert below(small) == before


def test_no_room_for_a_directory_is_told_with_its_path(small: Path) -> None:
    for number in range(17):
        (small / f"n{number}").touch()
    with pytest.raises(NoSpace, match=f"{small}/EFI"):
        Esp(str(small)).write("EFI/refind/x", b"x", keep=None)


def test_a_read_only_partition_is_told_with_what_to_do(small: Path) -> None:
    sh("mount", "-o", "remount,ro", small)
    with pytest.raises(SystemFailure, match=f"{small}/file: Read-only") as caught:
        Esp(str(small)).write("file", b"x", keep=None)
    assert "remount,rw" in caught.value.hint
    with pytest.raises(SystemFailure, match="read-only"), esp.opened(str(small), None, None, writable=True):
        pass
    with esp.opened(str(small), None, None, writable=False) as found:
        assert found.path == str(small)


def test_what_reads_back_otherwise_does_not_replace_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def lose(fd: int, *_: Any) -> None:
        os.pwrite(fd, b"X", 0)  # a disk that does not keep what it is given

    monkeypatch.setattr(os, "posix_fadvise", lose)
    with pytest.raises(SystemFailure, match=r"f: .*read back"):
        Esp(str(tmp_path)).write("f", b"new", keep=None)
    assert below(tmp_path) == {"f": b"old"}


def on_disk(top: Path, script: str) -> list[tuple[str, str]]:
    """The calls below `top`, by strace, that make things durable or visible: name and last path."""
    log = top.with_name("strace")
    python = Path(__file__).parents[1] / ".venv/bin/python"
    whole = f"import sys\nfrom sysmut.menu.fat import Tree\ntree = Tree(sys.argv[1])\n{script}"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
    sh("strace", "-y", "-o", log, "-e", calls, python, "-c", whole, top, env=without_coverage())
    return [
        (line.partition("(")[0].removesuffix("2").removesuffix("at"), re.findall(r"[\w.-]+(?=[>\"])", line)[-1])
        for line in log.read_text().splitlines()
        if str(top) in line
    ]


def test_all_is_on_disk_in_order_before_and_after_the_rename(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    top, new = tmp_path.name, "sysmut-new.tmp"
    assert on_disk(tmp_path, "tree.write('f', b'new', keep='k')") == [
        ("fsync", new),
        ("rename", "k"),
        ("fsync", top),
        ("fsync", "k"),
        ("fsync", new),
        ("rename", "f"),
        ("fsync", top),
        ("fsync", "f"),
    ]
    assert below(tmp_path) == {"f": b"new", "k": b"old"}


def test_a_new_directory_is_on_disk_before_what_is_in_it(tmp_path: Path) -> None:
    top, new = tmp_path.name, "sysmut-new.tmp"
    assert on_disk(tmp_path, "tree.write('EFI/refind/f', b'new', keep=None)") == [
        ("mkdir", "EFI"),
        ("fsync", top),
        ("mkdir", "refind"),
        ("fsync", "EFI"),
        ("fsync", new),
        ("rename", "f"),
        ("fsync", "refind"),
        ("fsync", "f"),
    ]


def test_the_file_before_keeps_its_place_on_disk_until_the_new_one_is_entered(tmp_path: Path) -> None:
    """In the kernel's vfat, closing it is what sets its clusters free."""
    (tmp_path / "f").write_bytes(b"old")
    log = tmp_path.with_name("strace")
    python = Path(__file__).parents[1] / ".venv/bin/python"
    script = "import sys; from sysmut.menu.fat import Tree; Tree(sys.argv[1]).write('f', b'new', keep=None)"
    sh(
        "strace",
        "-y",
        "-o",
        log,
        "-e",
        "trace=openat,close,rename,renameat,renameat2,fsync",
        python,
        "-c",
        script,
        tmp_path,
        env=without_coverage(),
    )
    calls = [line for line in log.read_text().splitlines() if f"{tmp_path}/f" in line or "rename" in line]
    renamed = next(number for number, line in enumerate(calls) if line.startswith("rename"))
    opened = next(line for line in reversed(calls[:renamed]) if line.startswith("openat"))
    old = opened.rpartition("= ")[2].partition("<")[0]
    after = [line for line in calls[renamed + 1 :] if line.startswith((f"close({old}<", "fsync("))]
    assert [line.partition("(")[0] for line in after] == ["fsync", "close"]


def test_two_writers_at_once_both_leave_a_whole_file(tmp_path: Path) -> None:
    contents = [bytes([65 + number]) * 50_000 for number in range(4)]
    failures = []

    def write(data: bytes) -> None:
        try:
            for _ in range(10):
                Esp(str(tmp_path)).write("f", data, keep=None)
        except SysmutError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "f").read_bytes() in contents
    assert os.listdir(tmp_path) == ["f"]


# -- finding and mounting ----------------------------------------------------------------------------

FIRST, SECOND = "11111111-0000-0000-0000-000000000001", "11111111-0000-0000-0000-000000000002"
ONE = f"start=1MiB, size=16MiB, type={ESP_TYPE}, name=ONE, uuid={FIRST}\nstart=20MiB, type={LINUX}, name=root\n"
TWO = f"""\
{ONE.replace("20MiB", "20MiB, size=16MiB")}start=40MiB, size=16MiB, type={ESP_TYPE}, name=TWO, uuid={SECOND}
"""


def make_image(path: Path, table: str) -> Path:
    """A disk image, with ext4 in what is to be the system partitions."""
    with open(path, "wb") as file:
        file.truncate(64 * 2**20)
    sh("sfdisk", "-q", path, input=f"label: gpt\n{table}")
    for part in disks.every_in_image(str(path)):
        if part.type == ESP_TYPE:
            sh(
                "mkfs.ext4",
                "-q",
                "-E",
                f"offset={part.start}",
                "-d",
                _content(path.parent, part.label),
                path,
                f"{part.size // 1024}k",
            )
    return path


def _content(parent: Path, label: str) -> Path:
    directory = parent / f"content-{label}"
    directory.mkdir(exist_ok=True)
    (directory / "label").write_text(label)
    return directory


@pytest.fixture
def as_ext4(root_user: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """System partitions are ext4."""
    monkeypatch.setattr(esp, "_FSTYPE", "ext4")
    monkeypatch.setattr(esp, "_OPTIONS", "")


def isolated(work: Callable[[], None]) -> None:
    """Do it in a process with a mount namespace of its own, as sysmut does; its assertions count."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
            work()
        except BaseException as error:
            status = 1
            os.write(writer, f"{type(error).__name__}: {error}"[:4000].encode())
        os._exit(status)
    os.close(writer)
    with open(reader) as file:
        said = file.read()
    assert os.waitpid(child, 0)[1] == 0, said


def label_in(given: str | None = None, device: str | None = None, image: Path | None = None) -> str:
    """What the file `label` says in the system partition that is opened."""
    with esp.opened(given, device, str(image) if image else None, writable=True) as found:
        return (found.read("label") or b"").decode()


def attached_to(text: str) -> str:
    return "\n".join(line for line in sh("losetup", "-a").splitlines() if text in line)


def test_the_system_partition_of_an_image_is_mounted_and_left_again(as_ext4: None, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img", ONE)

    def work() -> None:
        with esp.opened(None, None, str(image), writable=True) as found:
            assert found.path == esp.MOUNT_POINT
            assert found.disk is None
            assert found.partition == disks.every_in_image(str(image))[0]
            assert found.write("EFI/refind/new", b"x", keep=None)
        assert mounts.mounted_at(esp.MOUNT_POINT) is None
        with esp.opened(None, None, str(image), writable=False) as found:
            assert found.read("EFI/refind/new") == b"x"
            with pytest.raises(SystemFailure, match="Read-only"):
                found.write("EFI/refind/new", b"y", keep=None)
        wait_until(lambda: attached_to(str(image)) == "", 5)

    isolated(work)
    assert mounts.mounted_at(esp.MOUNT_POINT) is None
    wait_until(lambda: attached_to(str(image)) == "", 5)


def test_of_several_in_an_image_one_must_be_named(as_ext4: None, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img", TWO)
    with pytest.raises(UsageError, match=r"partition 1 \(ONE\), partition 3 \(TWO\)") as caught:
        label_in(image=image)
    assert "--esp" in caught.value.hint
    isolated(lambda: _same(label_in("PARTLABEL=TWO", image=image), "TWO"))
    isolated(lambda: _same(label_in(f"PARTUUID={FIRST.upper()}", image=image), "ONE"))
    for given in ("PARTLABEL=THREE", "UUID=1234-5678", "/dev/missing"):
        with pytest.raises(UsageError, match=given):
            label_in(given, image=image)
    with pytest.raises(UsageError, match="no such file"):
        label_in(image=tmp_path / "missing")
    wait_until(lambda: attached_to(str(image)) == "", 5)


def _same(one: object, other: object) -> None:
    assert one == other


def test_a_disk_without_a_system_partition_is_told(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img", f"type={LINUX}\n")
    with pytest.raises(NotSysmut, match="no EFI system partition") as caught:
        label_in(image=image)
    assert "--esp" in caught.value.hint


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with esp.opened(str(tmp_path / "link"), None, None, writable=True) as found:
        assert found == Esp(str(tmp_path), None, None)


@pytest.mark.parametrize("given", ["", "/dev/missing", "/dev/null", "/etc/passwd", "UUID=dead-beef", "nonsense"])
def test_what_is_neither_directory_nor_device_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="no such directory or block device"):
        label_in(given)


@pytest.fixture
def attach(root_user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Makes an image with these partitions, as a disk of this machine; its device. The machine's own disks,
    which may have a system partition too, are out of sight."""
    devices: list[str] = []
    block = tmp_path / "block"
    block.mkdir()
    monkeypatch.setattr(disks, "_BLOCK", str(block))

    def attach(name: str, table: str) -> str:
        image = make_image(tmp_path / name, table)
        device = sh("losetup", "-P", "-f", "--show", image).strip()
        devices.append(device)
        (block / os.path.basename(device)).symlink_to(f"/sys/block/{os.path.basename(device)}")
        for part in disks.every_in_image(str(image)):
            place = (str(part.number), str(part.start // 512), str(part.size // 512))
            subprocess.run(["addpart", device, *place], check=False, capture_output=True)
            wait_until(lambda: Path(f"{device}p{part.number}").exists(), 5)  # noqa: B023
        return device

    yield attach
    for device in devices:
        subprocess.run(["partx", "-d", device], check=False, capture_output=True)
        sh("losetup", "-d", device)


Attach = Callable[[str, str], str]


def test_the_system_partition_on_the_filesystems_own_disk_is_taken_before_all_others(
    as_ext4: None, attach: Attach
) -> None:
    mine = attach("mine.img", ONE)
    other = attach("other.img", ONE.replace("ONE", "OTHER").replace(FIRST, SECOND))
    bare = attach("bare.img", f"type={LINUX}\n")
    isolated(lambda: _same(label_in(device=f"{mine}p2"), "ONE"))
    isolated(lambda: _same(label_in(device=f"{other}p2"), "OTHER"))
    isolated(lambda: _same(label_in("PARTLABEL=OTHER"), "OTHER"))
    isolated(lambda: _same(label_in(f"PARTUUID={FIRST}"), "ONE"))
    isolated(lambda: _same(label_in(f"{other}p1", f"{mine}p2"), "OTHER"))
    for device in (f"{bare}p1", bare, None):
        with pytest.raises(UsageError, match=rf"{mine}p1 \(ONE\), {other}p1 \(OTHER\)"):
            label_in(device=device)


def test_a_single_system_partition_of_the_machine_is_taken_from_another_disk(as_ext4: None, attach: Attach) -> None:
    attach("mine.img", ONE)
    bare = attach("bare.img", f"type={LINUX}\n")
    isolated(lambda: _same(label_in(device=f"{bare}p1"), "ONE"))


def test_where_it_is_mounted_already_that_mount_is_used(as_ext4: None, attach: Attach, tmp_path: Path) -> None:
    device = attach("mine.img", ONE)
    point = tmp_path / "boot efi"
    point.mkdir()

    def work() -> None:
        sh("mount", f"{device}p1", point)
        for given in (None, str(point), f"{device}p1"):
            with esp.opened(given, f"{device}p2", None, writable=True) as found:
                assert found == Esp(str(point), device, disks.partition(f"{device}p1"))
                assert mounts.mounted_at(esp.MOUNT_POINT) is None
        assert mounts.mounted_at(str(point)) is not None
        sub = point / "sub"
        sub.mkdir()
        with esp.opened(str(sub), None, None, writable=True) as found:
            assert found == Esp(str(sub))
        bound = tmp_path / "bound"
        bound.mkdir()
        sh("mount", "--bind", sub, bound)
        with esp.opened(str(bound), None, None, writable=True) as found:
            assert found == Esp(str(bound))  # no partition's top: paths from here are not the firmware's
        sh("mount", "-o", "remount,ro", point)
        with pytest.raises(SystemFailure, match="mounted read-only"):
            label_in(device=f"{device}p2")
        # Hidden below another mount it cannot be used, and is mounted once more.
        sh("mount", "-t", "tmpfs", "none", point)
        with esp.opened(None, f"{device}p2", None, writable=False) as found:
            assert found.path == esp.MOUNT_POINT
            assert (found.disk, found.partition) == (device, disks.partition(f"{device}p1"))

    isolated(work)


def test_a_kernel_that_cannot_mount_it_is_told_with_what_to_do(
    as_ext4: None, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = attach("mine.img", ONE)
    monkeypatch.setattr(esp, "_FSTYPE", "no-such-filesystem")
    with pytest.raises(NotSysmut, match="no vfat") as caught:
        label_in(device=f"{device}p2")
    assert "--esp DIRECTORY" in caught.value.hint
    monkeypatch.setattr(esp, "_FSTYPE", "btrfs")
    with pytest.raises(NotSysmut, match=f"{device}p1: not a FAT filesystem"):
        label_in(device=f"{device}p2")


def test_a_failed_mount_names_the_partition(as_ext4: None, attach: Attach, tmp_path: Path) -> None:
    device = attach("mine.img", ONE)
    point = tmp_path / "efi"
    point.mkdir()

    def work() -> None:
        sh("mount", "-o", "ro", f"{device}p1", point)  # so that it cannot be mounted writable
        sh("mount", "-t", "tmpfs", "none", point)
        with pytest.raises(OSError, match=f"{device}p1") as caught:
            label_in(device=f"{device}p2")
        assert caught.value.errno == errno.EBUSY

    isolated(work)
