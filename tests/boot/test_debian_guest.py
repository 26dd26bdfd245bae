"""A Debian that keeps itself: sysmut at work inside a machine that rEFInd boots.

One machine for all tests, with one life: each test goes on from where the one before left it.
"""

import re
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.boot.conftest import DebianParts
from tests.boot.debian import PACKAGES, SETTINGS, Kernels
from tests.boot.disk import DiskLab
from tests.boot.guest import Booted, report, run, switch_off
from tests.boot.machine import Machine
from tests.boot.menu import choose

TITLE = "Debian GNU/Linux"
INSTALLED = "dpkg-query -W -f '${db:Status-Abbrev}' "


@dataclass
class Life:
    """The machine, and what is known of it by now."""

    disk: DiskLab
    packages: Path
    """The image of the other disk."""
    kernels: Kernels
    first: str
    """The generation that was taken in."""
    failed: int
    """The tests that had failed before this life began."""
    second: str = ""
    """The one of the upgrade."""
    broken: str = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.kill()

    def sh(self, command: str, status: int = 0) -> str:
        """What a command says that must end with this status, in the guest."""
        found, said = run(self.machine, command)
        assert found == status, said
        return said

    def slots(self) -> list[str]:
        """The generations in the slots, as the guest's sysmut sees them."""
        return re.findall(r"^ +\d+ +(\S+)", self.sh("sysmut status"), re.MULTILINE)

    def start(self) -> None:
        """Switch the machine on. What would be a restart switches it off (`-no-reboot`): the firmware
        needs longer for a restart than for a cold start."""
        disk = ["-drive", f"if=none,id=packages,format=raw,readonly=on,file={self.packages}"]
        options = [*disk, "-device", "virtio-blk-pci,drive=packages,addr=0x11", "-no-reboot"]
        self.machine = Machine(self.disk.image, memory=768, options=options)

    def restart(self, command: str | None = "systemctl reboot") -> None:
        """Have the system restart, by this command or as it will by itself."""
        if command is not None:
            self.machine.send(f"{command}\n")
        self.machine.wait_off()
        self.machine.kill()
        self.start()

    def arrive(self) -> Booted:
        """Wait until the system is up, all of it."""
        booted = report(self.machine)
        assert self.sh("systemctl is-system-running --wait") == "running"
        return booted


@pytest.fixture(scope="module")
def life(
    debian_parts: "Future[DebianParts]",
    refind_files: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Life]:
    """A disk with a Debian taken in, and rEFInd where firmware finds it by itself; switched on."""
    parts = debian_parts.result()
    disk = DiskLab(tmp_path_factory.mktemp("guest"), 3 * 2**30)
    try:
        done = disk.sysmut("init", parts.archive, "--common", "recommended")
        assert done.returncode == 0, done.stderr
        parts.archive.unlink()
        put_refind(disk, refind_files, tmp_path_factory.mktemp("esp"))
        life = Life(disk, parts.packages, parts.kernels, disk.slots[0], request.session.testsfailed)
        with disk.unmounted(), life:
            yield life
    finally:
        disk.close()
        disk.image.unlink()


def put_refind(disk: DiskLab, refind: Path, directory: Path) -> None:
    """rEFInd with the menu, as for removable media, on the empty system partition."""
    settings = directory / "sysmut.toml"
    settings.write_text(SETTINGS)
    (directory / "EFI").mkdir()
    where: list[str | Path] = ["--esp", directory, "--config", settings]
    done = disk.sysmut("refind", "--setup", "--removable", "--install", "--from", refind, *where)
    assert done.returncode == 0, done.stderr
    main = directory / "EFI/BOOT/refind.conf"
    main.write_text(main.read_text().replace("timeout 5", "timeout -1"))
    disk.esp_write({"/EFI": directory / "EFI"})


@pytest.fixture(autouse=True)
def each_after_the_one_before(life: Life, request: pytest.FixtureRequest) -> None:
    """Where the machine is in no state that a test could go on from, none tries."""
    assert request.session.testsfailed == life.failed, "an earlier test of this machine's life has failed"


def firmware_menu(life: Life) -> tuple[list[str], str, dict[str, str]]:
    """The firmware's order, the entry that was booted, and what the entries are called."""
    lines = life.sh("efibootmgr").splitlines()
    told = dict(line.split(": ") for line in lines if re.match(r"Boot(Order|Current): ", line))
    named = {line[4:8]: line[10:] for line in lines if re.match(r"Boot[0-9A-F]{4}[* ] ", line)}
    return told["BootOrder"].split(","), told["BootCurrent"], named


def test_debian_boots_from_slot_0_with_a_root_that_is_read_only(life: Life) -> None:
    booted = life.arrive()
    assert booted.release == life.kernels.old
    assert "rootflags=subvol=/current/0/@,ro" in booted.cmdline
    path, kind, flags = booted.mounted("/")
    assert (path, kind) == (f"/snapshots/{life.first}/@", "btrfs")
    assert "ro" in flags
    assert "Read-only file system" in life.sh("touch /etc/written", status=1)
    assert booted.mounted("/var/log")[0] == "/commons/@var@log"
    assert life.slots() == [life.first] * 4


def test_refind_is_put_beside_what_was_booted_with_an_entry_in_the_firmwares_menu(life: Life) -> None:
    life.sh("sysmut refind --setup --install")
    order, current, named = firmware_menu(life)
    assert named[order[0]] == "rEFInd Boot Manager"
    assert current != order[0]
    life.sh("sed -i 's/^timeout .*/timeout 2/' /boot/efi/EFI/refind/refind.conf")
    again = life.sh("sysmut refind --setup --install")
    assert again.splitlines() == ["rEFInd is on the system partition already", "the boot menu is as it should be"]


def test_an_upgrade_by_apt_brings_a_new_kernel_and_the_menu_for_it(life: Life) -> None:
    life.sh(f"mount -o ro LABEL=packages {PACKAGES}")
    life.sh(f"sysmut --mount {PACKAGES} --script {PACKAGES}/upgrade.sh")
    slots = life.slots()
    assert slots[1:] == [life.first] * 3
    life.second = slots[0]
    written = life.sh("cat /boot/efi/EFI/refind/sysmut.conf")
    assert f"loader /current/0/@/boot/vmlinuz-{life.kernels.new}\n" in written
    assert f"loader /current/1/@/boot/vmlinuz-{life.kernels.old}\n" in written
    life.sh(f"{INSTALLED} hello", status=1)
    life.sh("sysmut check")


def test_the_firmware_boots_the_upgrade_by_its_own_entry(life: Life) -> None:
    life.restart()
    booted = life.arrive()
    assert booted.release == life.kernels.new
    assert booted.mounted("/")[0] == f"/snapshots/{life.second}/@"
    assert life.sh("hello") == "Hello, world!"
    order, current, named = firmware_menu(life)
    assert named[current] == "rEFInd Boot Manager"
    assert current == order[0]


def test_what_would_not_boot_is_published_by_force_alone(life: Life) -> None:
    life.sh(f"mount -o ro LABEL=packages {PACKAGES}")
    breaks = f"sysmut --mount {PACKAGES} --script {PACKAGES}/break.sh"
    assert "/bin/none" in life.sh(breaks, status=65)
    assert life.slots()[0] == life.second
    life.sh(f"{breaks} --force")
    life.broken = life.slots()[0]
    assert life.slots() == [life.broken, life.second, life.first, life.first]


def test_a_kernel_that_panics_starts_anew_and_the_menu_offers_what_booted_before(life: Life) -> None:
    life.restart()
    life.machine.expect(r"Kernel panic - not syncing")
    life.restart(None)
    choose(life.machine, "Fallback 1", within=TITLE)
    booted = life.arrive()
    assert booted.mounted("/")[0] == f"/snapshots/{life.second}/@"
    assert "rootflags=subvol=/current/1/@,ro" in booted.cmdline


def test_a_rollback_makes_the_fallback_the_default(life: Life) -> None:
    life.sh("sysmut rollback --yes")
    assert life.slots() == [life.second, life.broken, life.first, life.first]
    life.restart()
    booted = life.arrive()
    assert booted.mounted("/")[0] == f"/snapshots/{life.second}/@"
    assert "rootflags=subvol=/current/0/@,ro" in booted.cmdline


def test_what_falls_out_of_the_slots_leaves_the_menu_and_is_collected(life: Life) -> None:
    life.sh("sysmut run --slots 2 -- touch /etc/mended")
    mended, other = life.slots()
    assert other == life.second
    said = life.sh("syscln -v")
    assert life.broken in said
    assert life.first in said
    life.sh("umount /boot/efi")
    switch_off(life.machine)
    for folder in ("refind", "BOOT"):
        written = life.disk.esp_read(f"EFI/{folder}/sysmut.conf").decode()
        assert written.count("vmlinuz-") == written.count(f"vmlinuz-{life.kernels.new}") == 2
        assert "/current/1/@" in written
    life.disk.esp_check()
    life.disk.mount()
    assert life.disk.slots == [mended, life.second]
    assert life.disk.generations == {mended, life.second}
    life.disk.close()
