"""Partition tables: read as the kernel and sfdisk read them, and never believed without reason."""

import contextlib
import json
import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmut import disks, gpt, image
from sysmut.gpt import Partition
from tests.lab import sh, wait_until

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
SIZE = 64 * 2**20
TABLE = f"""\
label: gpt
start=1MiB, size=16MiB, type={ESP}, name="EFI system", uuid=11111111-2222-3333-4444-55555555AAAA
3: start=20MiB, size=32MiB, type={LINUX}, name=wurzel, uuid=AAAAAAAA-2222-3333-4444-555555555555
"""


def make(path: Path, table: str = TABLE) -> Path:
    """An image with the partitions that sfdisk makes of `table`."""
    with open(path, "wb") as file:
        file.truncate(SIZE)
    sh("sfdisk", "-q", path, input=table)
    return path


@contextlib.contextmanager
def attached(path: Path, *options: str) -> Iterator[str]:
    """A loop device that shows the file, with these options of losetup."""
    device = sh("losetup", *options, "-f", "--show", path).strip()
    try:
        yield device
    finally:
        sh("losetup", "-d", device)


def make_on_large_sectors(path: Path) -> list[dict[str, Any]]:
    """The same for a disk of 4,096 byte sectors; what sfdisk then says of its partitions."""
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    with attached(path, "-b", "4096") as device:
        sh("sfdisk", "-q", device, input=TABLE)
        told = json.loads(sh("sfdisk", "-J", device))["partitiontable"]
        assert told["sectorsize"] == 4096
        return list(told["partitions"])


def read(path: Path) -> tuple[Partition, ...]:
    with open(path, "rb") as file:
        return gpt.partitions(file.fileno(), str(path))


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_table_is_read_as_sfdisk_wrote_it(root_user: None, tmp_path: Path, sector: int) -> None:
    path = tmp_path / "disk.img"
    if sector == 4096:
        told = make_on_large_sectors(path)
    else:
        told = json.loads(sh("sfdisk", "-J", make(path)))["partitiontable"]["partitions"]
    assert read(path) == tuple(
        Partition(
            int(one["node"][-1]),
            one["start"] * sector,
            one["size"] * sector,
            one["type"].lower(),
            one["uuid"].lower(),
            one["name"],
        )
        for one in told
    )
    assert [part.number for part in read(path)] == [1, 3]
    assert read(path)[0] == Partition(1, 2**20, 16 * 2**20, ESP, "11111111-2222-3333-4444-55555555aaaa", "EFI system")


def test_a_disk_with_an_mbr_has_no_gpt_partitions_even_if_an_old_gpt_is_left(tmp_path: Path) -> None:
    path = make(tmp_path / "disk.img")
    with open(path, "r+b") as file:
        file.seek(450)
        file.write(b"\x83")
    assert read(path) == ()
    with open(path, "r+b") as file:  # no partitions, as boot code of its own has it
        file.seek(450)
        file.write(b"\0")
    assert len(read(path)) == 2
    with open(path, "r+b") as file:
        file.seek(450)
        file.write(b"\x83")
    with open(path, "r+b") as file:  # a hybrid MBR, which says that there is a GPT
        file.seek(450 + 16)
        file.write(b"\xee")
    assert len(read(path)) == 2


def test_a_filesystem_in_a_partition_of_4096_byte_sectors_is_found(root_user: None, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    make_on_large_sectors(path)
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), b"_BHRfS_M", 20 * 2**20 + 0x10040)
        assert image.find_btrfs(file.fileno(), "disk.img") == (20 * 2**20, 32 * 2**20)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError, match="the disk"):
            gpt.partitions(fd, "the disk")
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Header:
    """A GPT's header, with a table of one partition behind it."""

    signature: bytes = b"EFI PART"
    length: int = 92
    place: int = 1
    table: int = 2
    count: int = 4
    size: int = 128
    first: int = 40
    last: int = 80
    header_sum: int = 0
    table_sum: int = 0

    def disk(self) -> bytes:
        """The disk; `header_sum` and `table_sum` are added to the right checksums."""
        own = bytes(range(16))
        entry = struct.pack("<16s16sQQQ72s", own, own[::-1], self.first, self.last, 0, "ä😀".encode("utf-16-le"))
        table = entry.ljust(4096, b"\0")
        total = self.count * self.size
        checksum = (zlib.crc32(table[:total]) + self.table_sum) & 0xFFFFFFFF
        fields = (self.length, 0, 0, self.place, 2000, 34, 2000, own, self.table, self.count, self.size, checksum)
        header = struct.pack("<8sIIIIQQQQ16sQIII", self.signature, 0x10000, *fields)
        right = zlib.crc32(header[: min(self.length, 512)].ljust(min(self.length, 512), b"\0"))
        header = header[:16] + struct.pack("<I", (right + self.header_sum) & 0xFFFFFFFF) + header[20:]
        return bytes(512) + header.ljust(512, b"\0") + table


def partitions_of(data: bytes) -> tuple[Partition, ...]:
    fd = os.memfd_create("disk")
    try:
        os.write(fd, data)
        return gpt.partitions(fd, "disk")
    finally:
        os.close(fd)


GOOD = Header()


def test_guids_and_labels_are_read_as_the_specification_has_them() -> None:
    (found,) = partitions_of(GOOD.disk())
    assert found == Partition(
        1,
        40 * 512,
        41 * 512,
        "03020100-0504-0706-0809-0a0b0c0d0e0f",
        "0c0d0e0f-0a0b-0809-0706-050403020100",
        "ä😀",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"signature": b"EFI PARX"},
        {"length": 91},
        {"length": 513},
        {"length": 2**32 - 1},
        {"place": 2},
        {"table": 0},
        {"table": 1},
        {"table": 2**54},
        {"table": 2**64 - 1},
        {"table": 5000},
        {"count": 0},
        {"count": 2**32 - 1},
        {"count": 64},  # beyond the end
        {"size": 127},
        {"size": 0},
        {"size": 2**32 - 1},
        {"first": 0},
        {"first": 1},
        {"first": 81},
        {"last": 2**64 - 1},
        {"first": 2**63, "last": 2**63},
        {"header_sum": 1},
        {"table_sum": 1},
    ],
)
def test_a_table_that_lies_or_is_damaged_has_no_partitions(change: dict[str, Any]) -> None:
    assert partitions_of(replace(GOOD, **change).disk()) == ()


def test_a_table_that_is_cut_short_has_no_partitions() -> None:
    data = GOOD.disk()
    for length in (0, 1, 511, 512, 600, 1023, 1024, 1100, 1024 + 511):
        assert partitions_of(data[:length]) == ()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1535), st.binary(max_size=64))
def test_no_damage_makes_more_than_an_empty_answer(at: int, data: bytes) -> None:
    whole = GOOD.disk()
    found = partitions_of(whole[:at] + data + whole[at + len(data) :])
    assert found in ((), partitions_of(whole))


# -- of this machine ---------------------------------------------------------------------------------


@pytest.fixture
def disk(root_user: None, tmp_path: Path) -> Iterator[str]:
    """A loop device with the partitions of TABLE, which the kernel knows."""
    path = make(tmp_path / "disk.img")
    with attached(path, "-P") as device:
        try:
            # Not every kernel looks for partitions by itself: it is told where they are.
            for part in read(path):
                place = (str(part.number), str(part.start // 512), str(part.size // 512))
                subprocess.run(["addpart", device, *place], check=False, capture_output=True)
            wait_until(lambda: Path(f"{device}p3").exists(), 5)
            yield device
        finally:
            subprocess.run(["partx", "-d", device], check=False, capture_output=True)


def test_the_partition_of_a_device_is_found_by_its_disks_table(disk: str, tmp_path: Path) -> None:
    first, third = read(tmp_path / "disk.img")
    assert disks.partition(f"{disk}p1") == first
    link = tmp_path / "by-partuuid"
    link.symlink_to(f"{disk}p3")
    assert disks.partition(str(link)) == third
    assert disks.partition(disk) is None
    assert disks.partition("/dev/null") is None
    assert disks.disk(str(link)) == disk
    assert disks.disk(disk) is None
    assert disks.disk("/dev/null") is None
    numbers = os.stat(f"{disk}p3").st_rdev
    assert disks.device_of(f"{os.major(numbers)}:{os.minor(numbers)}") == f"{disk}p3"
    assert disks.device_of("0:99") is None
    with pytest.raises(FileNotFoundError):
        disks.partition("/dev/missing")


def test_every_partition_of_the_machine_is_told_with_its_device(disk: str, tmp_path: Path) -> None:
    first, third = read(tmp_path / "disk.img")
    assert [one for one in disks.every() if one[0].startswith(f"{disk}p")] == [
        (f"{disk}p1", first),
        (f"{disk}p3", third),
    ]


def test_a_table_that_the_kernel_does_not_go_by_is_not_gone_by(disk: str, tmp_path: Path) -> None:
    make(tmp_path / "disk.img", TABLE.replace("20MiB", "24MiB"))
    assert disks.partition(f"{disk}p1") is not None
    assert disks.partition(f"{disk}p3") is None
    assert [path for path, _ in disks.every() if path.startswith(f"{disk}p")] == [f"{disk}p1"]
    (tmp_path / "disk.img").write_bytes(bytes(SIZE))  # as for an MBR
    assert disks.partition(f"{disk}p1") is None
    assert [path for path, _ in disks.every() if path.startswith(f"{disk}p")] == []


@pytest.mark.parametrize("kind", ["md", "dm"])
def test_what_md_and_device_mapper_make_of_disks_is_no_partition_to_the_firmware(
    disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The kernel has neither, so this is sysfs as it would be: the loop device's, and one directory more."""
    device = os.stat(f"{disk}p1").st_rdev
    name = os.path.basename(disk)
    for path in (f"{name}/{name}p1", "numbers", "block"):
        (tmp_path / path).mkdir(parents=True)
    for file, text in (("partition", "1\n"), ("start", "2048\n")):
        (tmp_path / name / f"{name}p1" / file).write_text(text)
    (tmp_path / "numbers" / f"{os.major(device)}:{os.minor(device)}").symlink_to(f"../{name}/{name}p1")
    (tmp_path / "block" / name).symlink_to(f"../{name}")
    monkeypatch.setattr(disks, "_NUMBERS", str(tmp_path / "numbers"))
    monkeypatch.setattr(disks, "_BLOCK", str(tmp_path / "block"))
    assert disks.partition(f"{disk}p1") is not None
    assert len(disks.every()) == 1
    (tmp_path / name / kind).mkdir()
    assert disks.partition(f"{disk}p1") is None
    assert disks.disk(f"{disk}p1") is None
    assert disks.every() == ()


def test_a_disk_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sdz!9/sdz!9p1").mkdir(parents=True)
    (tmp_path / "sdz!9/sdz!9p1/partition").write_text("1\n")
    (tmp_path / "sdy").symlink_to("../gone/while/this/was/read")
    monkeypatch.setattr(disks, "_BLOCK", str(tmp_path))
    assert disks.every() == ()


def test_an_images_partitions_are_found_by_their_place(tmp_path: Path) -> None:
    path = make(tmp_path / "disk.img")
    assert disks.every_in_image(str(path)) == read(path)
    assert disks.in_image(str(path), 20 * 2**20) == read(path)[1]
    assert disks.in_image(str(path), 0) is None
    with pytest.raises(FileNotFoundError):
        disks.every_in_image(str(tmp_path / "missing"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="fifo"):
        disks.every_in_image(str(tmp_path / "fifo"))


def test_a_loop_device_tells_its_file_and_place(root_user: None, tmp_path: Path) -> None:
    path = make(tmp_path / "a disk.img")
    with attached(path, "-o", str(2**20)) as device:
        assert disks.backing_of(device) == (str(path), 2**20)
        path.unlink()
        assert disks.backing_of(device) is None
    assert disks.backing_of("/dev/null") is None
    free = sh("losetup", "-f").strip()
    assert disks.backing_of(free) is None
