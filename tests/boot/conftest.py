"""What a bootable disk is made of, unpacked once for all tests, and disks of it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.boot.disk import LOADER, DiskLab
from tests.boot.guest import Kernel, make_initramfs, small_guest
from tests.boot.machine import FIRMWARE
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


@pytest.fixture
def make_disk(refind_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DiskLab]]:
    """Makes disks; unmounts them afterwards. With `loader`, rEFInd and its btrfs driver are on the system
    partition. `kind` is the disk's class, and what remains is for that."""
    disks: list[DiskLab] = []

    def make(size: int = 512 * 2**20, *, loader: bool = True, kind: type[DiskLab] = DiskLab, **options: Any) -> DiskLab:
        disk = kind(tmp_path_factory.mktemp("disk"), size, **options)
        disks.append(disk)
        if loader:
            disk.esp_write(
                {
                    f"{LOADER}/BOOTX64.EFI": refind_files / "refind_x64.efi",
                    f"{LOADER}/drivers_x64/btrfs_x64.efi": refind_files / "drivers_x64/btrfs_x64.efi",
                }
            )
        return disk

    yield make
    for disk in disks:
        disk.close()
        disk.image.unlink()
