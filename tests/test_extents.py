"""A file's extents, what of them the boot loader cannot read, and the mending of that.

What the code finds is held against what `btrfs inspect-internal dump-tree` shows of the disk.
"""

import errno
import os
import random
import re
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sysmut import btrfs, extents, inroot
from sysmut.boot import readable
from sysmut.errors import BadData, SystemFailure
from sysmut.extents import Extent
from tests.lab import sh

KIB = 1024
BLOCK = 4 * KIB
TEXT = b"compresses well. " * 40_000
NOISE = random.Random(1).randbytes(300_001)
ACL = "system.posix_acl_access"

Make = Callable[..., Path]


@pytest.fixture
def make(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes filesystems with options of mount and mkfs.btrfs, on so many devices; unmounts them afterwards."""
    tops: list[Path] = []
    loops: list[str] = []

    def filesystem(options: str = "defaults", *mkfs: str, devices: int = 1, size: int = 256 * 2**20) -> Path:
        directory = tmp_path_factory.mktemp("extents")
        mine = []
        for number in range(devices):
            image = directory / f"{number}.img"
            with open(image, "wb") as file:
                file.truncate(size)
            mine.append(sh("losetup", "-f", "--show", image).strip())
            loops.append(mine[-1])
        sh("mkfs.btrfs", "-q", *mkfs, *mine)
        top = directory / "top"
        top.mkdir()
        sh("mount", "-o", ",".join([options, *(f"device={device}" for device in mine)]), mine[0], top)
        tops.append(top)
        return top

    try:
        yield filesystem
    finally:
        for top in tops:  # lazily: what a failed test has open must not keep the rest
            subprocess.run(["umount", "--lazy", str(top)], check=True)
        for device in loops:
            subprocess.run(["losetup", "-d", device], check=True)
        for top in tops:
            shutil.rmtree(top.parent)


def extents_of(path: Path) -> tuple[Extent, ...]:
    """What the code finds, through a descriptor open for reading."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return extents.of(fd, str(path))
    finally:
        os.close(fd)


def dumped(path: Path) -> list[tuple[int, str, str]]:
    """(offset, type, compression) of a file's items on the disk, by another program."""
    sh("sync", "-f", path)
    device = sh("findmnt", "-n", "-o", "SOURCE", "-T", path).strip().split("[")[0]
    tree = sh("btrfs", "inspect-internal", "rootid", path).strip()
    text = sh("btrfs", "inspect-internal", "dump-tree", "-t", tree, device)
    found = []
    for item in re.split(r"\n\titem \d+ ", text):
        if key := re.match(rf"key \({path.stat().st_ino} EXTENT_DATA (\d+)\)", item):
            kind = re.search(r" type \d \((\w+)\)", item)
            compression = re.search(r"compression \d \((\w+)\)", item)
            assert kind
            how = "" if compression is None or compression[1] == "none" else compression[1]
            name = {"regular": "data", "prealloc": "unwritten"}.get(kind[1], kind[1])
            found.append((int(key[1]), "zeros" if "disk byte 0 nr 0" in item else name, how))
    return found


def seen(path: Path) -> list[tuple[int, str, str]]:
    """The same by the code, which must cover the file from end to end."""
    found = extents_of(path)
    assert [each.offset for each in found] == [0, *(each.offset + each.length for each in found)][: len(found)]
    assert sum(each.length for each in found) == path.stat().st_size
    assert all(each.length > 0 for each in found)
    return [(each.offset, each.kind, each.compression) for each in found]


def flaws(path: Path) -> tuple[str, ...]:
    """By way of the directory that the file is in."""
    return readable.flaws(str(path.parent), path.name)


def rewrite(path: Path) -> None:
    """Rewrite a file that must be readable and the same afterwards, with nothing left beside it."""
    content, beside = path.read_bytes(), sorted(os.listdir(path.parent))
    readable.rewrite(str(path.parent), path.name)
    assert flaws(path) == ()
    assert path.read_bytes() == content
    assert sorted(os.listdir(path.parent)) == beside
    on_disk = dumped(path)
    assert on_disk
    assert {kind for _, kind, _ in on_disk} <= {"data", "inline"}
    assert {how for _, _, how in on_disk} <= {"", "zstd"}


def write(path: Path, *parts: tuple[int, bytes], size: int | None = None) -> Path:
    """A file with these bytes at these offsets, and of this size."""
    with open(path, "wb") as file:
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
    if size is not None:
        os.truncate(path, size)
    return path


def preallocate(file: Path, offset: int, length: int) -> None:
    """Have space set aside for a part of a file, which makes it larger where need be."""
    sh("fallocate", "-o", str(offset), "-l", str(length), file)


# -- what is found ---------------------------------------------------------------------------------


def test_data_that_is_not_yet_on_disk_is_counted_whole(make: Make) -> None:
    file = write(make("compress-force=zstd") / "file", (0, TEXT * 4))
    found = extents_of(file)
    assert {(each.kind, each.compression) for each in found} == {("data", "zstd")}
    assert seen(file) == dumped(file)
    assert len(found) == -(-len(TEXT) * 4 // (128 * KIB))
    assert found[-1].offset + found[-1].length == len(TEXT) * 4


@pytest.mark.parametrize("how", ["zlib", "lzo", "zstd"])
@pytest.mark.parametrize("content", [TEXT, TEXT[:3000]], ids=["data", "inline"])
def test_the_compression_is_that_on_the_disk(make: Make, how: str, content: bytes) -> None:
    file = write(make(f"compress-force={how}") / "file", (0, content))
    assert {(kind, found) for _, kind, found in seen(file)} == {("data" if content == TEXT else "inline", how)}
    assert seen(file) == dumped(file)


def test_an_inline_extent_ends_with_the_file(make: Make) -> None:
    file = write(make() / "file", (0, b"ten bytes\n"))
    assert extents_of(file) == (Extent(0, 10, "inline"),)
    assert seen(file) == dumped(file)


def test_an_empty_file_has_no_extents(make: Make) -> None:
    assert extents_of(write(make() / "file")) == ()


@pytest.mark.parametrize(("mkfs", "hole"), [((), "hole"), (("-O", "^no-holes"), "zeros")])
def test_holes_are_found_between_and_at_both_ends(make: Make, mkfs: tuple[str, ...], hole: extents.Kind) -> None:
    file = write(make("defaults", *mkfs) / "file", (BLOCK, b"a" * BLOCK), (4 * BLOCK, b"b" * 100), size=6 * BLOCK + 7)
    assert extents_of(file) == (
        Extent(0, BLOCK, hole),
        Extent(BLOCK, BLOCK, "data"),
        Extent(2 * BLOCK, 2 * BLOCK, hole),
        Extent(4 * BLOCK, BLOCK, "data"),
        Extent(5 * BLOCK, BLOCK + 7, hole),
    )
    kept = [each for each in seen(file) if mkfs or each[1] != "hole"]
    assert kept == dumped(file)


def test_an_end_within_a_block_leaves_no_hole(make: Make) -> None:
    file = write(make() / "file", (0, b"a" * (BLOCK + 1)))
    os.truncate(file, BLOCK + 900)
    assert extents_of(file) == (Extent(0, BLOCK + 900, "data"),)


def test_a_file_that_is_one_hole_is_found_so_however_large(make: Make) -> None:
    assert extents_of(write(make() / "file", size=2**62)) == (Extent(0, 2**62, "hole"),)


def test_what_is_preallocated_counts_within_the_size_only(make: Make) -> None:
    file = write(make() / "file", (0, b"a" * BLOCK))
    sh("fallocate", "-n", "-o", str(BLOCK), "-l", str(8 * BLOCK), file)
    assert extents_of(file) == (Extent(0, BLOCK, "data"),)
    os.truncate(file, 2 * BLOCK + 5)
    preallocate(file, 0, 2 * BLOCK + 5)
    assert extents_of(file) == (Extent(0, BLOCK, "data"), Extent(BLOCK, BLOCK + 5, "unwritten"))
    assert seen(file) == dumped(file)


def test_thousands_of_extents_are_found_page_by_page(make: Make) -> None:
    pieces = [(number * 2 * BLOCK, b"x" * BLOCK) for number in range(3000)]
    file = write(make() / "file", *pieces)
    found = extents_of(file)
    assert [each.offset for each in found if each.kind == "data"] == [offset for offset, _ in pieces]
    assert len(found) == 2 * len(pieces) - 1
    assert [each for each in seen(file) if each[1] != "hole"] == dumped(file)


def test_more_extents_than_any_kernel_has_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(make() / "file", *((number * 2 * BLOCK, b"x" * BLOCK) for number in range(10)))
    monkeypatch.setattr(extents, "_MOST", 18)
    with pytest.raises(BadData, match="file: in more than 18 extents"):
        extents_of(file)
    monkeypatch.setattr(extents, "_MOST", 19)
    assert len(extents_of(file)) == 19


@pytest.mark.parametrize(
    ("compression", "encryption", "encoding", "name"),
    [(0, 0, 0, ""), (2, 0, 0, "lzo"), (4, 0, 0, "unknown"), (0, 1, 0, "unknown"), (3, 0, 1, "unknown")],
)
@pytest.mark.parametrize("kind", [0, 1])
def test_what_came_after_zstd_is_unknown(
    kind: int, compression: int, encryption: int, encoding: int, name: str
) -> None:
    item = struct.pack("=QQBBHB4Q", 7, 8192, compression, encryption, encoding, kind, 2**20, 4096, 0, 8192)
    assert extents.decode(4096, item, 4096).compression == name


def test_a_file_that_is_not_on_btrfs_is_an_error_with_its_path(root_user: None) -> None:
    with pytest.raises(OSError, match=r"self/status") as caught:
        extents_of(Path("/proc/self/status"))
    assert caught.value.filename == "/proc/self/status"


# -- what the boot loader cannot read --------------------------------------------------------------


def by_mount_option(top: Path) -> Path:
    sh("mount", "-o", "remount,compress=lzo", top)
    return write(top / "file", (0, TEXT))


def by_force(top: Path) -> Path:
    sh("mount", "-o", "remount,compress-force=lzo", top)
    return write(top / "file", (0, NOISE + TEXT))


def inline_by_force(top: Path) -> Path:
    sh("mount", "-o", "remount,compress-force=lzo", top)
    return write(top / "file", (0, TEXT[:1000]))


def by_property_of_the_directory(top: Path) -> Path:
    (top / "boot").mkdir()
    sh("btrfs", "property", "set", top / "boot", "compression", "lzo")
    return write(top / "boot/file", (0, TEXT))


def by_property_of_the_file(top: Path) -> Path:
    file = write(top / "file")
    sh("btrfs", "property", "set", file, "compression", "lzo")
    file.write_bytes(TEXT)
    return file


def by_chattr_under_force(top: Path) -> Path:
    sh("mount", "-o", "remount,compress-force=lzo", top)
    (top / "boot").mkdir()
    sh("chattr", "+c", top / "boot")
    return write(top / "boot/file", (0, TEXT))


def by_force_where_chattr_says_no(top: Path) -> Path:
    sh("mount", "-o", "remount,compress-force=lzo", top)
    (top / "boot").mkdir()
    sh("chattr", "+m", top / "boot")
    return write(top / "boot/file", (0, TEXT))


def hole(top: Path) -> Path:
    return write(top / "file", (0, NOISE[:BLOCK]), (3 * BLOCK, NOISE))


def leading_hole(top: Path) -> Path:
    return write(top / "file", (BLOCK, NOISE))


def trailing_hole(top: Path) -> Path:
    return write(top / "file", (0, NOISE[:BLOCK]), size=9 * BLOCK + 1)


def only_a_hole(top: Path) -> Path:
    return write(top / "file", size=2**20)


def preallocated(top: Path) -> Path:
    file = write(top / "file", (0, NOISE[:BLOCK]))
    preallocate(file, 0, 3 * BLOCK + 1)
    return file


LZO = "an LZO-compressed extent at byte "


@pytest.mark.parametrize("mkfs", [(), ("-O", "^no-holes")], ids=["no-holes", "hole-items"])
@pytest.mark.parametrize(
    ("flawed", "flaw"),
    [
        (by_mount_option, LZO),
        (by_force, LZO),
        (inline_by_force, LZO + "0"),
        (by_property_of_the_directory, LZO + "0"),
        (by_property_of_the_file, LZO + "0"),
        (by_chattr_under_force, LZO + "0"),
        (by_force_where_chattr_says_no, LZO + "0"),
        (hole, "a hole at byte 4096"),
        (leading_hole, "a hole at byte 0"),
        (trailing_hole, "a hole at byte 4096"),
        (only_a_hole, "a hole at byte 0"),
        (preallocated, "an unwritten (preallocated) extent at byte 4096"),
    ],
)
def test_what_cannot_be_read_is_told_and_mended(
    make: Make, mkfs: tuple[str, ...], flawed: Callable[[Path], Path], flaw: str
) -> None:
    file = flawed(make("defaults", *mkfs))
    before = flaws(file)
    if mkfs and "a hole" in flaw:  # it is written down, and so read as zeros
        assert before == ()
        return
    assert len(before) == 1
    assert before[0].startswith(flaw)
    dumped_as = {"lzo" if how == "lzo" else kind for _, kind, how in dumped(file)}
    assert ("lzo" in dumped_as) is flaw.startswith(LZO)
    assert ("unwritten" in dumped_as) is ("unwritten" in flaw)
    rewrite(file)


def test_each_kind_of_flaw_is_told_once(make: Make) -> None:
    top = make("compress-force=lzo")
    file = write(top / "file", (BLOCK, TEXT), (2**20, TEXT), size=2**21)
    sh("sync", "-f", file)  # in a file with preallocated extents nothing is compressed
    preallocate(file, 2**22, 2 * BLOCK)
    assert flaws(file) == (
        "a hole at byte 0",
        "an LZO-compressed extent at byte 4096",
        "an unwritten (preallocated) extent at byte 4194304",
    )
    rewrite(file)


def test_an_unknown_compression_is_told() -> None:
    found = (Extent(0, BLOCK, "data"), Extent(BLOCK, BLOCK, "inline", "unknown"))
    assert readable.told(found) == ("an extent with an unknown compression at byte 4096",)


@pytest.mark.parametrize("options", ["defaults", "compress-force=zlib", "compress-force=zstd", "nodatacow"])
@pytest.mark.parametrize("content", [b"", TEXT[:100], TEXT, NOISE, bytes(3 * BLOCK)])
def test_what_can_be_read_is_not_told(make: Make, options: str, content: bytes) -> None:
    top = make(options)
    sh("btrfs", "subvolume", "create", top / "@")
    file = write(top / "@/file", (0, content))
    copy = top / "@/copy"
    sh("cp", "--reflink=always", file, copy)
    sh("btrfs", "subvolume", "snapshot", "-r", top / "@", top / "sealed")
    assert flaws(file) == flaws(copy) == flaws(top / "sealed/file") == ()


def test_a_file_in_a_sealed_snapshot_is_read_from_its_own_subvolume(make: Make) -> None:
    top = make("compress-force=lzo")
    sh("btrfs", "subvolume", "create", top / "@")
    file = write(top / "@/file", (0, TEXT))
    sh("btrfs", "subvolume", "snapshot", "-r", top / "@", top / "sealed")
    rewrite(file)
    file.with_name("other").write_bytes(NOISE)
    assert flaws(file) == ()
    assert flaws(top / "sealed/file") == (LZO + "0",)


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "socket-like link"])
def test_only_a_regular_file_is_looked_at_and_written_anew(make: Make, kind: str) -> None:
    top = make()
    if kind == "directory":
        (top / "it").mkdir()
    elif kind == "fifo":
        os.mkfifo(top / "it")
    elif kind == "device":
        os.mknod(top / "it", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    else:
        (top / "it").symlink_to(".")
    for act in (readable.flaws, readable.rewrite):
        with pytest.raises(BadData, match="it: not a regular file"):
            act(str(top), "it")


# -- the mending -----------------------------------------------------------------------------------


def test_what_belongs_to_a_file_is_kept(make: Make) -> None:
    file = write(make() / "file", (BLOCK, NOISE))
    os.chown(file, 123, 456)
    sh("setcap", "cap_net_raw+ep", file)
    sh("setfacl", "-m", "u:7:rw", file)
    os.setxattr(file, "user.note", b"\0any\xff")
    os.setxattr(file, "trusted.note", b"")
    os.setxattr(file, "btrfs.compression", b"lzo")
    file.chmod(0o6754)
    os.setxattr(file, "security.capability", os.getxattr(file, "security.capability"))
    os.utime(file, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))

    def kept() -> tuple[object, ...]:
        status = os.stat(file)
        attributes = {name: os.getxattr(file, name) for name in os.listxattr(file) if name != "btrfs.compression"}
        return status.st_mode, status.st_uid, status.st_gid, status.st_atime_ns, status.st_mtime_ns, attributes

    before, inode = kept(), file.stat().st_ino
    assert set(before[-1]) == {"user.note", "trusted.note", "security.capability", ACL}  # type: ignore[call-overload]
    readable.rewrite(str(file.parent), file.name)
    assert kept() == before
    assert file.stat().st_ino != inode
    assert os.getxattr(file, "btrfs.compression") == b"zstd"


def test_the_default_acl_of_the_directory_does_not_come_in(make: Make) -> None:
    file = hole(make())
    file.chmod(0o640)
    sh("setfacl", "-d", "-m", "u:7:rw", file.parent)
    rewrite(file)
    assert os.listxattr(file) == ["btrfs.compression"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_lzo_does_not_come_back_when_the_file_is_written_to_again(make: Make) -> None:
    file = by_force(make())
    rewrite(file)
    file.write_bytes(TEXT)
    assert flaws(file) == ()


@pytest.mark.parametrize("where", ["the directory", "the mount"])
def test_a_file_that_cannot_be_compressed_is_mended(make: Make, where: str) -> None:
    top = make("compress-force=lzo")
    (top / "boot").mkdir()
    file = write(top / "boot/file", (0, TEXT))
    assert flaws(file) == (LZO + "0",)
    if where == "the directory":
        sh("chattr", "+C", top / "boot")
    else:
        sh("mount", "-o", "remount,nodatacow", top)
    rewrite(file)
    assert "btrfs.compression" not in os.listxattr(file)


def test_a_flaw_that_is_still_there_keeps_the_old_file(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    file = by_force(make())
    inode = file.stat().st_ino
    monkeypatch.setattr(readable, "_COMPRESSION", b"lzo")
    with pytest.raises(SystemFailure, match=r"^file: still has an LZO-compressed extent at byte \d+ when written"):
        readable.rewrite(str(file.parent), "file")
    assert file.stat().st_ino == inode
    assert os.listdir(file.parent) == ["file"]


def links(top: Path) -> Path:
    """A file below `top`, which is taken for a root, and links of all sorts that lead to it there."""
    (top / "boot/deep").mkdir(parents=True)
    (top / "usr").symlink_to("/boot/deep")
    (top / "absolute").symlink_to("/boot/file")
    (top / "boot/deep/up").symlink_to("../../../../absolute")
    (top / "boot/beside").symlink_to("file")
    (top / "through").symlink_to("usr/../deep/up")
    return write(top / "boot/file", (BLOCK, NOISE))


@pytest.mark.parametrize(
    "path", ["absolute", "boot/beside", "boot/deep/up", "usr/up", "through", "/through", "boot/file"]
)
@pytest.mark.parametrize("opened", [False, True])
def test_where_a_link_leads_in_the_root_is_written_anew_and_the_link_stays(make: Make, path: str, opened: bool) -> None:
    top = make()
    file = links(top)
    assert readable.flaws(str(top), path) == ("a hole at byte 0",)
    link = top / path.lstrip("/")
    was = os.readlink(link) if link.is_symlink() else None
    if opened:
        with inroot.opened_root(str(top)) as root:
            readable.rewrite(root, path)
            assert readable.flaws(root, path) == ()
    else:
        readable.rewrite(str(top), path)
    assert (os.readlink(link) if link.is_symlink() else None) == was
    assert flaws(file) == ()
    assert sorted(os.listdir(top / "boot")) == ["beside", "deep", "file"]
    assert sorted(os.listdir(top)) == ["absolute", "boot", "through", "usr"]


def test_links_that_lead_to_each_other_are_an_error(make: Make) -> None:
    top = make()
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    for act in (readable.flaws, readable.rewrite):
        with pytest.raises(OSError, match="a") as caught:
            act(str(top), "a")
        assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "a")


@pytest.mark.parametrize("path", ["missing", "missing/file", "file/", "", ".."])
def test_what_is_not_there_is_an_error_with_its_path(make: Make, path: str) -> None:
    top = make()
    write(top / "file", (0, b"x"))
    with pytest.raises((OSError, BadData)) as caught:
        readable.rewrite(str(top), path)
    assert getattr(caught.value, "filename", path) == path
    assert os.listdir(top) == ["file"]


def test_other_names_of_the_file_keep_the_old_one(make: Make) -> None:
    file = hole(make())
    other = file.with_name("other")
    other.hardlink_to(file)
    rewrite(file)
    assert flaws(other) == ("a hole at byte 4096",)
    assert other.stat().st_nlink == 1


def test_what_a_cut_off_rewrite_left_is_replaced_and_known_for_what_it_is(make: Make) -> None:
    file = hole(make())
    left = file.with_name(".file.sysmut-new")
    left.symlink_to("/etc/passwd")
    assert inroot.is_temporary(left.name)
    readable.rewrite(str(file.parent), file.name)
    assert os.listdir(file.parent) == ["file"]


@pytest.mark.parametrize("flag", ["+i", "+a"])
def test_a_protected_file_is_left_and_nothing_beside_it(make: Make, flag: str) -> None:
    file = hole(make())
    sh("chattr", flag, file)
    with pytest.raises(PermissionError) as caught:
        readable.rewrite(str(file.parent), file.name)
    assert caught.value.filename == "file"
    assert os.listdir(file.parent) == ["file"]
    assert flaws(file) == ("a hole at byte 4096",)


def test_a_file_in_a_sealed_root_is_left(make: Make) -> None:
    top = make()
    sh("btrfs", "subvolume", "create", top / "@")
    hole(top / "@")
    sh("btrfs", "property", "set", "-ts", top / "@", "ro", "true")
    with pytest.raises(OSError, match="file") as caught:
        readable.rewrite(str(top / "@"), "file")
    assert (caught.value.errno, caught.value.filename) == (errno.EROFS, "file")


def test_a_full_filesystem_leaves_the_old_file_and_nothing_beside_it(make: Make) -> None:
    top = make()
    file = write(top / "file", (BLOCK, random.Random(2).randbytes(16 * 2**20)))
    (top / "rest").touch()
    sh("sync", "-f", top)
    status = os.statvfs(top)
    preallocate(top / "rest", 0, status.f_bavail * status.f_frsize - 8 * 2**20)
    was = extents_of(file)
    with pytest.raises(OSError, match="file") as caught:
        readable.rewrite(str(top), "file")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "file")
    assert sorted(os.listdir(top)) == ["file", "rest"]
    assert extents_of(file) == was


def test_a_file_that_claims_to_be_huge_is_not_written_anew(make: Make) -> None:
    file = write(make() / "file", size=2**30 + 1)
    with pytest.raises(BadData, match="file: too large"):
        readable.rewrite(str(file.parent), "file")
    assert os.listdir(file.parent) == ["file"]


def test_a_file_on_another_filesystem_is_an_error_with_its_path(make: Make) -> None:
    top = make()
    (top / "boot").mkdir()
    sh("mount", "-t", "tmpfs", "tmpfs", top / "boot")
    write(top / "boot/file", (0, b"x"))
    for act in (readable.flaws, readable.rewrite):
        with pytest.raises(OSError, match="boot/file") as caught:
            act(str(top), "boot/file")
        assert caught.value.filename == "boot/file"
    assert os.listdir(top / "boot") == ["file"]


def test_the_new_file_is_on_disk_before_it_takes_the_place_of_the_old(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hole(make())
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def noting_fsync(fd: int) -> None:
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        fsync(fd)

    def noting_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        done.append(("rename", source))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    rewrite(file)
    assert done == [("fsync", ".file.sysmut-new"), ("rename", ".file.sysmut-new")]


# -- the filesystem's profiles ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "data", "metadata", "expected"),
    [
        (1, "single", "dup", {"single", "dup"}),
        (2, "raid0", "raid1", {"raid0", "raid1"}),
        (3, "raid1c3", "raid5", {"raid1c3", "raid5"}),
        (4, "raid10", "raid1c4", {"raid10", "raid1c4"}),
        (4, "raid6", "raid1c3", {"raid6", "raid1c3"}),
    ],
)
def test_the_profiles_are_those_of_all_block_groups(
    make: Make, devices: int, data: str, metadata: str, expected: set[str]
) -> None:
    top = make("defaults", "-d", data, "-m", metadata, devices=devices, size=160 * 2**20)
    shown = {line.split(",")[1].split(":")[0].strip().lower() for line in sh("btrfs", "fi", "df", top).splitlines()}
    fd = os.open(top, os.O_RDONLY)
    try:
        assert btrfs.profiles(fd, str(top)) == expected
        assert shown - {"single"} == expected - {"single"}  # the global reserve is shown as single
    finally:
        os.close(fd)


def test_the_profiles_of_what_is_not_btrfs_are_an_error_with_its_path() -> None:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="/proc"):
            btrfs.profiles(fd, "/proc")
    finally:
        os.close(fd)
