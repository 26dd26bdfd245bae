"""What a bootable disk is made of, unpacked once for all tests, and disks of it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.boot.debian import Kernels, make_archive, make_package_disk, offered_kernels
from tests.boot.disk import LOADER, DiskLab
from tests.boot.guest import Kernel, make_initramfs, small_guest
from tests.boot.looping import looping_guest, write_menu
from tests.boot.machine import FIRMWARE
from tests.boot.trial import Trial, endure
from tests.lab import sh

PROGRAMS = ("qemu-system-x86_64", "sgdisk", "mkfs.vfat", "mcopy", "cpio", "modprobe", "busybox", "apt-get")


@pytest.fixture(scope="session")
def boot_programs() -> None:
    """For a test that boots a disk."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing or not FIRMWARE.exists() or os.geteuid() != 0:
        pytest.skip(f"needs root, Debian's ovmf, and {', '.join(missing or PROGRAMS)}")


def unpacked(package: Callable[[], str], directory: Path) -> Path:
    """Unpack a Debian package in a directory; `package` names it by apt's lists. It is not installed:
    rEFInd's would look for the host's own system partition."""
    command = ("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root")
    if subprocess.run([*command, package()], cwd=directory, check=False, capture_output=True).returncode != 0:
        sh("apt-get", "update", "-q")  # the lists may name what the mirror no longer has
        sh(*command, package(), cwd=directory)
    (archive,) = directory.glob("*.deb")
    sh("dpkg-deb", "-x", archive, directory)
    archive.unlink()
    return directory


@pytest.fixture(scope="session")
def refind_files(boot_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with refind_x64.efi, drivers_x64 and icons."""
    return unpacked(lambda: "refind", tmp_path_factory.mktemp("refind")) / "usr/share/refind/refind"


@pytest.fixture(scope="session")
def cloud_kernel(boot_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Debian's kernel for virtual machines."""
    base = unpacked(_newest_kernel, tmp_path_factory.mktemp("kernel"))
    (image,) = (base / "boot").glob("vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    sh("depmod", "-b", base, release)
    yield Kernel(image, release, base)
    shutil.rmtree(base)


def _newest_kernel() -> str:
    shown = sh("apt-cache", "show", "--no-all-versions", "linux-image-cloud-amd64")
    found = re.search(r"^Depends: (linux-image-\S+)", shown, re.MULTILINE)
    assert found, shown
    return found[1]


@pytest.fixture(scope="session")
def initramfs(cloud_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initramfs for the kernel; what it obeys is said in tests.boot.guest."""
    return make_initramfs(tmp_path_factory.mktemp("initramfs"), cloud_kernel)


@pytest.fixture(scope="session")
def guest_root(cloud_kernel: Kernel, initramfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root directory of a guest that boots, and tells what it is."""
    return small_guest(tmp_path_factory.mktemp("guest"), cloud_kernel, initramfs)


@pytest.fixture(scope="session")
def looping_root(cloud_kernel: Kernel, initramfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root directory of a guest that makes generations."""
    return looping_guest(tmp_path_factory.mktemp("looping"), cloud_kernel, initramfs)


class Disks:
    """Makes disks, with rEFInd and its btrfs driver on their system partitions."""

    def __init__(self, refind_files: Path, directories: pytest.TempPathFactory) -> None:
        self._refind = refind_files
        self._directories = directories
        self._made: list[DiskLab] = []

    def __call__(
        self, size: int = 512 * 2**20, *, loader: bool = True, kind: type[DiskLab] = DiskLab, **options: Any
    ) -> DiskLab:
        """A disk of the class `kind`, for which `options` are; without rEFInd where `loader` is not wanted."""
        disk = kind(self._directories.mktemp("disk"), size, **options)
        self._made.append(disk)
        if loader:
            disk.esp_write(
                {
                    f"{LOADER}/BOOTX64.EFI": self._refind / "refind_x64.efi",
                    f"{LOADER}/drivers_x64/btrfs_x64.efi": self._refind / "drivers_x64/btrfs_x64.efi",
                }
            )
        return disk

    def close(self) -> None:
        """Unmount and remove what was made."""
        for disk in self._made:
            disk.close()
            disk.image.unlink()


@pytest.fixture
def make_disk(refind_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    """Makes disks, which are gone after the test."""
    disks = Disks(refind_files, tmp_path_factory)
    yield disks
    disks.close()


def looping_disk(make: Callable[..., DiskLab], root: Path, menu: Path) -> DiskLab:
    """A disk from which that guest boots; `menu` is a directory to be made, for what its menu is made in."""
    disk = make(1 * 2**30)
    disk.lay_out(root, slots=2, commons=("/var/log",))
    write_menu(disk, menu)
    disk.close()
    return disk


# What takes minutes with one processor is begun when the first of these tests begins, and goes on
# beside them.


@pytest.fixture(scope="session")
def background() -> Iterator[Executor]:
    """Does one thing after the other, in a thread."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor
        executor.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class DebianParts:
    """What the Debian guest is made of."""

    kernels: Kernels
    archive: Path
    packages: Path
    """The image of a disk with packages."""


@pytest.fixture(scope="session")
def debian_parts(
    refind_files: Path, background: Executor, tmp_path_factory: pytest.TempPathFactory
) -> "Future[DebianParts]":
    """A Debian, and what it is to be upgraded with."""
    directory = tmp_path_factory.mktemp("debian")

    def make() -> DebianParts:
        kernels = offered_kernels()
        return DebianParts(
            kernels, make_archive(directory, kernels.old, refind_files), make_package_disk(directory, kernels)
        )

    return background.submit(make)


@pytest.fixture(scope="session")
def five_power_cuts(
    looping_root: Path, refind_files: Path, background: Executor, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Future[Trial]]":
    """Five power cuts, and how they went."""
    disks = Disks(refind_files, tmp_path_factory)
    menu = tmp_path_factory.mktemp("menu") / "menu"
    found = background.submit(lambda: endure(looping_disk(disks, looping_root, menu), looping_root, 5))
    yield found
    found.exception()  # waits
    disks.close()


@pytest.fixture(scope="session", autouse=True)
def begun_early(request: pytest.FixtureRequest) -> None:
    """Begin what is going to be asked for."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    for name in ("debian_parts", "five_power_cuts"):
        if name in wanted:
            request.getfixturevalue(name)
