"""A disk with the layout boots: by the real rEFInd, and by the menu that sysmut has written, to the
generation that an entry names.

Each machine boots several times over, for what costs time is not the guest's part of it.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.disk import LABEL, LOADER, DiskLab
from tests.boot.guest import Booted, Kernel, report, run, switch_off
from tests.boot.machine import Machine
from tests.boot.menu import choose, read_main_menu
from tests.bootable import cpio
from tests.lab import FIRST, sh

NEWEST, OLDER, PINNED = ("20260102000000AbCdEfGh", "20251231000000AbCdEfGh", "20250101000000AbCdEfGh")
OLDEST = "20251230000000AbCdEfGh"
SLOTS = [NEWEST, FIRST, OLDER, OLDEST]
TITLE = "Linux"
OPTIONS = ("--kernel-options", "console=ttyS0 quiet")
VANISHING = "changes vanish at reboot"


@pytest.fixture
def disk(make_disk: Callable[..., DiskLab], guest_root: Path) -> DiskLab:
    """A disk with a generation of its own in every slot and in a pin; each says its id as its name. What
    they load first is a file of microcode."""
    made = make_disk(loader=False)
    made.lay_out(guest_root)
    with made.unsealed(FIRST) as root:
        # Taken after the initramfs, this would be its init.
        (root / "boot/intel-ucode.img").write_bytes(cpio({"early": "loaded early", "init": "#!/bin/none\n"}))
        (root / "etc/generation-name").write_text(f"{FIRST}\n")
    for generation in (NEWEST, OLDER, OLDEST, PINNED):
        made.add_generation(generation, sealed=False)
        (made.root(generation) / "etc/generation-name").write_text(f"{generation}\n")
        made.seal(generation)
    made.link(SLOTS, "20260102000001AbCdEfGh")
    (made.top / "pins").mkdir()
    (made.top / "pins/before-the-move").symlink_to(f"../snapshots/{PINNED}")
    return made


def require_booted(booted: Booted, generation: str, place: str) -> None:
    """By all that the guest tells, this generation was booted, by way of the link `place`."""
    assert booted.name == generation
    path, kind, flags = booted.mounted("/")
    assert (path, kind) == (f"/snapshots/{generation}/@", "btrfs")
    assert "ro" in flags
    assert f"rootflags=subvol=/{place}/@,ro" in booted.cmdline
    assert f"initrd=\\{place}\\@\\boot\\".replace("/", "\\") in booted.cmdline


def restart(machine: Machine) -> None:
    machine.send("reboot -f\n")


def volumes(disk: DiskLab) -> set[str]:
    """What the menu on the system partition says of the volume."""
    return set(re.findall(r'volume "?([^"\n]*)', disk.esp_read(f"{LOADER}/sysmut.conf").decode()))


def test_slot_0_boots_and_then_what_a_session_has_published_there(
    disk: DiskLab, refind_files: Path, cloud_kernel: Kernel
) -> None:
    assert disk.sysmut("check").stderr == "all is well\n"
    disk.set_up_menu(refind_files, *OPTIONS)
    assert volumes(disk) == {LABEL}
    with disk.started() as machine:
        booted = report(machine)
        switch_off(machine)
    require_booted(booted, NEWEST, "current/0")
    assert booted.release == cloud_kernel.release
    disk.session("echo newer > /etc/generation-name")
    assert disk.slots == [disk.slots[0], *SLOTS[:3]]
    with disk.started() as machine:
        booted = report(machine)
    assert (booted.name, booted.mounted("/")[0]) == ("newer", f"/snapshots/{disk.slots[0]}/@")
    assert disk.sysmut("check").stderr == "all is well\n"


def test_every_fallback_and_every_pin_boots_and_microcode_is_loaded_first(disk: DiskLab, refind_files: Path) -> None:
    disk.set_up_menu(refind_files, *OPTIONS, timeout=0)
    offered = {f"Fallback {slot}": (SLOTS[slot], f"current/{slot}") for slot in (1, 2, 3)}
    offered["Pin before-the-move"] = (PINNED, "pins/before-the-move")
    with disk.started() as machine:
        for title, (generation, place) in offered.items():
            choose(machine, title, within=TITLE)
            require_booted(report(machine), generation, place)
            assert run(machine, "cat /dev/early") == (0, "loaded early")
            restart(machine)
        # A fallback that was chosen by hand is not what boots the next time.
        menu = read_main_menu(machine)
        assert menu.entries[menu.selected].startswith(f"Boot {TITLE} from ")


def test_what_is_written_to_the_overlay_is_gone_after_the_next_boot(disk: DiskLab, refind_files: Path) -> None:
    disk.set_up_menu(refind_files, *OPTIONS, timeout=0)
    with disk.started() as machine:
        choose(machine, f"Slot 0, {VANISHING}", within=TITLE)
        booted = report(machine)
        assert booted.mounted("/")[1] == "overlay"
        assert booted.mounted("/media/root-ro")[:2] == (f"/snapshots/{NEWEST}/@", "btrfs")
        assert run(machine, "echo changed > /etc/generation-name; cat /etc/generation-name") == (0, "changed")
        assert run(machine, "cat /media/root-rw/root/etc/generation-name") == (0, "changed")
        assert run(machine, "sync")[0] == 0
        restart(machine)
        choose(machine, TITLE)
        require_booted(report(machine), NEWEST, "current/0")
        assert run(machine, "echo changed > /etc/generation-name")[0] != 0


def test_with_two_partitions_of_one_label_it_is_found_by_its_uuid(disk: DiskLab, refind_files: Path) -> None:
    sh("sgdisk", "--set-alignment=1", "-n", "3:0:0", "-c", f"3:{LABEL.upper()}", disk.image)
    about = sh("sgdisk", "-i", "2", disk.image)
    uuid = re.search(r"Partition unique GUID: (\S+)", about)
    assert uuid, about
    disk.set_up_menu(refind_files, *OPTIONS)
    assert {volume.lower() for volume in volumes(disk)} == {uuid[1].lower()}
    with disk.started() as machine:
        require_booted(report(machine), NEWEST, "current/0")


def test_the_power_cut_keeps_what_the_guest_has_synced(disk: DiskLab, refind_files: Path, tmp_path: Path) -> None:
    disk.set_up_menu(refind_files, *OPTIONS)
    with disk.started(screen=True) as machine:
        report(machine)
        assert run(machine, "mount -t btrfs -o subvolid=5 /dev/vda2 /tmp") == (0, "")
        assert run(machine, "echo synced > /tmp/kept && sync /tmp/kept") == (0, "")
        machine.screendump(tmp_path / "screen.png")
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert (disk.top / "kept").read_text() == "synced\n"
    assert disk.sysmut("status").returncode == 0
