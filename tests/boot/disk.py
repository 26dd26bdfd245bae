"""A disk's image: a partition table, an EFI system partition, and a btrfs that is a `Lab`.

The kernel may lack FAT, and does not look for partitions on loop devices: the system partition is
written and read with mtools, and the btrfs is mounted by its offset. A machine may run only while
the btrfs is not mounted here.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.boot.machine import Machine
from tests.lab import Lab, sh, wait_until

MIB = 2**20
ESP_START, ESP_SIZE = 1 * MIB, 64 * MIB
ROOT_START = ESP_START + ESP_SIZE
LABEL = "sysmut-root"
"""The name of the btrfs partition in the partition table, by which rEFInd's `volume` finds it."""
LOADER = "/EFI/BOOT"
"""The folder of the system partition from which the firmware starts rEFInd without being told."""


class DiskLab(Lab):
    """A laboratory on the second partition of a disk that can be booted."""

    def __init__(self, directory: Path, size: int = 512 * MIB, mkfs: Sequence[str] = ()) -> None:
        self.mkfs = ("mkfs.btrfs", "-q", *mkfs)
        """The command that makes the btrfs, without the device."""
        super().__init__(directory, size)

    def format(self, size: int) -> None:
        with open(self.image, "wb") as file:
            file.truncate(ROOT_START + size + 1 * MIB)
        parts = ["-n", f"1:{ESP_START // 512}:+{ESP_SIZE // 1024}K", "-t", "1:ef00", "-c", "1:ESP"]
        parts += ["-n", f"2:{ROOT_START // 512}:+{size // 1024}K", "-t", "2:8300", "-c", f"2:{LABEL}"]
        sh("sgdisk", "--set-alignment=1", *parts, self.image)
        sectors = str(ESP_START // 512)
        sh("mkfs.vfat", "-F", "32", "-s", "1", "--offset", sectors, self.image, str(ESP_SIZE // 1024))
        self.mount_options = f"loop,offset={ROOT_START},sizelimit={size}"
        place = ["-o", str(ROOT_START), "--sizelimit", str(size)]
        device = sh("losetup", "-f", "--show", *place, self.image).strip()
        try:
            self.make_filesystem(device)
        finally:
            sh("losetup", "-d", device)

    def make_filesystem(self, device: str) -> None:
        """Make the btrfs on the block device that is the second partition."""
        sh(*self.mkfs, device)

    def close(self) -> None:
        """Unmount it, and wait until it is mounted nowhere: what has a mount namespace of its own keeps it
        for as long as it runs, and another test's session may."""
        super().close()
        wait_until(lambda: not os.path.exists(f"/sys/fs/btrfs/{self.uuid}"))

    @contextlib.contextmanager
    def unmounted(self) -> Iterator[Path]:
        """The disk's image, free for a machine; mounted again afterwards."""
        self.close()
        try:
            yield self.image
        finally:
            self.mount()

    @contextlib.contextmanager
    def started(self, **options: Any) -> Iterator[Machine]:
        """A machine that runs from this disk; with its end the disk is mounted here again."""
        with self.unmounted() as image, Machine(image, **options) as machine:
            yield machine

    # -- the system partition ------------------------------------------------------------------------

    @property
    def _esp(self) -> str:
        return f"{self.image}@@{ESP_START}"

    def esp_write(self, files: Mapping[str, Path | bytes | str]) -> None:
        """Write files (what is in them, or a file or directory to copy) to paths on the system partition."""
        for path, source in files.items():
            parents = [str(parent) for parent in reversed(Path("/", path).parents)][1:]
            for parent in parents:
                sh("sh", "-c", 'mdir -b -i "$0" "::$1" >/dev/null 2>&1 || mmd -i "$0" "::$1"', self._esp, parent)
            if isinstance(source, Path):
                sh("mcopy", "-s", "-o", "-i", self._esp, source, f"::{path}")
            else:
                self._esp_put(path, source if isinstance(source, bytes) else source.encode())

    def _esp_put(self, path: str, data: bytes) -> None:
        staged = self.image.with_suffix(".staged")
        staged.write_bytes(data)
        sh("mcopy", "-o", "-i", self._esp, staged, f"::{path}")
        staged.unlink()

    def set_up_menu(self, refind_files: Path, *arguments: str, timeout: int = -1) -> None:
        """Let sysmut put rEFInd and the menu on the system partition, by way of a directory that is
        copied there. `arguments` are for `sysmut refind --install`. A `timeout` of -1 does not wait for a
        key, 0 waits for ever; rEFInd reads the line itself, sysmut writes another (5 seconds)."""
        tree = self.image.with_suffix(".tree")
        tree.mkdir(exist_ok=True)
        for options in (("--setup", "--removable", "--from", refind_files), ("--install", *arguments)):
            done = self.sysmut("refind", "--esp", tree, *options)
            assert done.returncode == 0, done.stderr
        main = tree / "EFI/BOOT/refind.conf"
        main.write_text(re.sub(r"(?m)^timeout .*$", f"timeout {timeout}", main.read_text()))
        self.esp_write({"/": tree / "EFI"})

    def esp_check(self) -> None:
        """See that the system partition's FAT is in order."""
        staged = self.image.with_suffix(".esp")
        with open(self.image, "rb") as image:
            image.seek(ESP_START)
            staged.write_bytes(image.read(ESP_SIZE))
        sh("fsck.vfat", "-n", staged)
        staged.unlink()

    def esp_read(self, path: str) -> bytes:
        """What is in a file of the system partition."""
        staged = self.image.with_suffix(".staged")
        staged.unlink(missing_ok=True)
        sh("mcopy", "-i", self._esp, f"::{path}", staged)
        data = staged.read_bytes()
        staged.unlink()
        return data


class SeveralDisks(DiskLab):
    """A laboratory with a profile over the second partition of the disk that can be booted, and others,
    which have no partitions."""

    def __init__(self, directory: Path, size: int = 512 * MIB, profile: str = "raid1", disks: int = 2) -> None:
        self._others = [directory / f"disk{number}.img" for number in range(2, disks + 1)]
        self._loops: list[str] = []
        self._size = size
        super().__init__(directory, size, ("-d", profile, "-m", profile))

    @property
    def device_options(self) -> str:
        """The mount options that name the devices as a machine sees them."""
        others = [f"device=/dev/vd{chr(ord('b') + at)}" for at in range(len(self._others))]
        return ",".join(["device=/dev/vda2", *others])

    def make_filesystem(self, device: str) -> None:
        for other in self._others:
            with open(other, "wb") as file:
                file.truncate(self._size)
        self._attach()
        sh(*self.mkfs, device, *self._loops)

    def mount(self) -> None:
        self._attach()
        plain = self.mount_options
        self.mount_options = ",".join([plain, *(f"device={loop}" for loop in self._loops)])
        try:
            super().mount()
        finally:
            self.mount_options = plain

    def _attach(self) -> None:
        for other in self._others[len(self._loops) :]:
            self._loops.append(sh("losetup", "-f", "--show", other).strip())

    def close(self) -> None:
        super().close()
        while self._loops:
            sh("losetup", "-d", self._loops.pop())

    @contextlib.contextmanager
    def started(self, **options: Any) -> Iterator[Machine]:
        more = [*options.pop("options", ())]
        for at, other in enumerate(self._others):
            more += ["-drive", f"if=none,id=more{at},format=raw,cache=unsafe,file={other}"]
            more += ["-device", f"virtio-blk-pci,drive=more{at},addr={0x12 + at:#x}"]
        with super().started(options=more, **options) as machine:
            yield machine
