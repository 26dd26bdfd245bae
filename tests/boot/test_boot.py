"""A disk with the layout boots: by the real rEFInd, to the generation that the menu names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.disk import LABEL, LOADER, DiskLab
from tests.boot.guest import Kernel, report, run, switch_off
from tests.boot.menu import choose
from tests.lab import FIRST

SECOND = "20260102000000AbCdEfGh"
TITLE = "Linux"


def hand_written_menu(disk: DiskLab, release: str, *, timeout: int = -1) -> str:
    """rEFInd's configuration with every slot and `overlaytmpfs`. A timeout of 0 waits for a key, -1 not at all."""

    def entry(slot: int) -> str:
        boot = f"/current/{slot}/@/boot"
        options = f"root=UUID={disk.uuid} rootfstype=btrfs rootflags=subvol=/current/{slot}/@,ro quiet console=ttyS0"
        return f'loader {boot}/vmlinuz-{release}\ninitrd {boot}/initrd.img-{release}\noptions "{options}"\n'

    fallbacks = [f'submenuentry "Fallback {slot}" {{\n{entry(slot)}}}\n' for slot in range(1, len(disk.slots))]
    scratch = 'submenuentry "Overlay" {\nadd_options "overlaytmpfs"\n}\n'
    stanza = f'menuentry "{TITLE}" {{\nvolume "{LABEL}"\n{entry(0)}{"".join(fallbacks)}{scratch}}}\n'
    return f"timeout {timeout}\nuse_nvram false\nscanfor manual\n{stanza}"


@pytest.fixture
def disk(make_disk: Callable[..., DiskLab], guest_root: Path) -> DiskLab:
    """A disk with two generations: the second in slot 0, the first in the others."""
    made = make_disk()
    made.lay_out(guest_root)
    made.add_generation(SECOND, sealed=False)
    (made.root(SECOND) / "etc/generation-name").write_text("second\n")
    made.seal(SECOND)
    made.link([SECOND, FIRST, FIRST, FIRST], "20260102000001AbCdEfGh")
    return made


def write_menu(disk: DiskLab, kernel: Kernel, **options: int) -> None:
    disk.esp_write({f"{LOADER}/refind.conf": hand_written_menu(disk, kernel.release, **options)})


def test_slot_0_boots_and_then_what_a_session_has_published_there(disk: DiskLab, cloud_kernel: Kernel) -> None:
    write_menu(disk, cloud_kernel)
    with disk.started() as machine:
        booted = report(machine)
        switch_off(machine)
    assert (booted.name, booted.release) == ("second", cloud_kernel.release)
    path, kind, flags = booted.mounted("/")
    assert (path, kind) == (f"/snapshots/{SECOND}/@", "btrfs")
    assert "ro" in flags
    disk.session("echo third > /etc/generation-name")
    with disk.started() as machine:
        booted = report(machine)
    assert (booted.name, booted.mounted("/")[0]) == ("third", f"/snapshots/{disk.slots[0]}/@")


def test_a_fallback_chosen_in_the_menu_boots(disk: DiskLab, cloud_kernel: Kernel) -> None:
    write_menu(disk, cloud_kernel, timeout=0)
    with disk.started() as machine:
        choose(machine, "Fallback 2", within=TITLE)
        booted = report(machine)
    assert (booted.name, booted.mounted("/")[0]) == ("first", f"/snapshots/{FIRST}/@")
    assert "subvol=/current/2/@" in booted.cmdline


def test_the_power_cut_keeps_what_the_guest_has_synced(disk: DiskLab, cloud_kernel: Kernel, tmp_path: Path) -> None:
    write_menu(disk, cloud_kernel)
    with disk.started(screen=True) as machine:
        report(machine)
        assert run(machine, "mount -t btrfs -o subvolid=5 /dev/vda2 /tmp") == (0, "")
        assert run(machine, "echo synced > /tmp/kept && sync /tmp/kept") == (0, "")
        machine.screendump(tmp_path / "screen.png")
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert (disk.top / "kept").read_text() == "synced\n"
    assert disk.sysmut("status").returncode == 0


def test_what_is_written_to_the_overlay_is_gone_after_the_next_boot(disk: DiskLab, cloud_kernel: Kernel) -> None:
    write_menu(disk, cloud_kernel, timeout=0)
    with disk.started() as machine:
        choose(machine, "Overlay", within=TITLE)
        booted = report(machine)
        assert booted.mounted("/")[1] == "overlay"
        assert booted.mounted("/media/root-ro")[:2] == (f"/snapshots/{SECOND}/@", "btrfs")
        assert run(machine, "echo changed > /etc/generation-name; cat /etc/generation-name") == (0, "changed")
        assert run(machine, "cat /media/root-rw/root/etc/generation-name") == (0, "changed")
        switch_off(machine)
    with disk.started() as machine:
        choose(machine, TITLE)
        assert report(machine).name == "second"
        assert run(machine, "echo changed > /etc/generation-name")[0] != 0
