"""The boot menu: what is in it, how it gets onto the system partition, and that it stays right."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from refind.model import Entry
from refind.parse import parse
from tests.bootable import add_kernel, bootable_root, bzimage, initramfs_image
from tests.lab import FIRST, Finished, Lab, clean_environment

MIDDLE = "20260202000000AbCdEfGh"
NEW = "20260303000000AbCdEfGh"
MAIN = "timeout 5\nscanfor manual\ndefault_selection 1\n"


@pytest.fixture
def system(make_lab: Callable[..., Lab], small_root: Path, tmp_path: Path) -> Lab:
    """NEW in slot 0, MIDDLE in slot 1, FIRST in slots 2 and 3; each has a kernel."""
    lab = make_lab()
    lab.lay_out(bootable_root(small_root, tmp_path, overlay=True), commons=("/home",))
    for name in (MIDDLE, NEW):
        lab.add_generation(name)
    lab.link([NEW, MIDDLE, FIRST, FIRST], "20260303000001AbCdEfGh")
    return lab


@pytest.fixture
def esp(tmp_path: Path) -> Path:
    """A system partition with rEFInd on it."""
    folder = tmp_path / "esp/EFI/refind"
    folder.mkdir(parents=True)
    (folder / "refind_x64.efi").write_bytes(b"MZ")
    (folder / "refind.conf").write_text(MAIN)
    return tmp_path / "esp"


def menu_of(lab: Lab, *arguments: str) -> Entry:
    """What `sysmut refind` prints, as rEFInd reads it."""
    done = lab.sysmut("refind", "--volume", "root", *arguments)
    assert done.returncode == 0, done.stderr
    (entry,) = parse(done.stdout.encode(), "sysmut.conf").config.entries
    return entry


def install(lab: Lab, esp: Path, *arguments: str, status: int = 0) -> Finished:
    done = lab.sysmut("refind", "--install", "--esp", esp, "--volume", "root", *arguments)
    assert done.returncode == status, done.stderr
    return done


def written(path: Path) -> tuple[int, int, int]:
    """What tells whether a file or directory was written, or is another one."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def boots(lab: Lab, text: bytes) -> dict[str, str]:
    """Title -> generation of all that the menu offers. Loader, initramfs and root must be there, and of
    one generation."""
    (entry,) = parse(text, "sysmut.conf").config.entries
    found = {}
    for offer in (entry, *entry.submenus):
        assert offer.loader is not None
        assert offer.initrd is not None
        assert offer.options is not None
        words = dict(word.partition("=")[::2] for word in offer.options.split())
        (subvolume,) = [flag for flag in words["rootflags"].split(",") if flag.startswith("subvol=")]
        places = [
            lab.top / path.lstrip("/") for path in (offer.loader, offer.initrd, subvolume.removeprefix("subvol="))
        ]
        assert all(place.exists() for place in places), offer
        (generation,) = {place.resolve().relative_to(lab.top / "snapshots").parts[0] for place in places}
        found[offer.title] = generation
    return found


# What is in it


def test_every_slot_is_offered_whole_and_once_more_with_changes_that_vanish(system: Lab) -> None:
    entry = menu_of(system)
    assert entry.title == "Linux"
    assert entry.icon == "/EFI/refind/icons/os_linux.png"
    assert (entry.loader, entry.initrd) == ("/current/0/@/boot/vmlinuz-lts", "/current/0/@/boot/initramfs-lts")
    expected = f"root=UUID={system.uuid} rootfstype=btrfs rootflags=subvol=/current/0/@,ro,noatime ro panic=30"
    assert entry.options == expected
    titles = [submenu.title for submenu in entry.submenus]
    vanishing = [f"{title}, changes vanish at reboot" for title in ("Slot 0", "Fallback 1", "Fallback 2", "Fallback 3")]
    assert titles == ["Fallback 1", "Fallback 2", "Fallback 3", *vanishing]
    first = entry.submenus[0]
    assert (first.volume, first.loader) == ("root", "/current/1/@/boot/vmlinuz-lts")
    assert first.initrd == "/current/1/@/boot/initramfs-lts"
    assert first.options == expected.replace("/0/", "/1/")
    assert entry.submenus[3].options == f"{expected} overlaytmpfs"
    text = system.sysmut("refind", "--volume", "root").stdout.encode()
    assert set(boots(system, text).values()) == {NEW, MIDDLE, FIRST}


def test_pins_are_offered_by_name(system: Lab) -> None:
    (system.top / "pins").mkdir()
    (system.top / "pins/before-the-move").symlink_to(f"../snapshots/{FIRST}")
    (system.top / "pins/odd name").symlink_to(f"../snapshots/{FIRST}")
    done = system.sysmut("refind", "--volume", "root")
    assert boots(system, done.stdout.encode())["Pin before-the-move"] == FIRST
    assert "subvol=/pins/before-the-move/@" in done.stdout
    assert "odd name" not in done.stdout
    assert "pin odd name is not in the boot menu" in done.stderr


def test_each_slot_is_offered_with_the_kernel_that_it_has(system: Lab) -> None:
    with system.unsealed(MIDDLE) as root:
        for old in (root / "boot").iterdir():
            old.unlink()
        (root / "boot/vmlinuz-6.1.0-9-amd64").write_bytes(bzimage())
        (root / "boot/initrd.img-6.1.0-9-amd64").write_bytes(initramfs_image())
        (root / "boot/vmlinuz-6.1.0-18-amd64").write_bytes(bzimage())
        (root / "boot/initrd.img-6.1.0-18-amd64").write_bytes(initramfs_image())
        (root / "boot/intel-ucode.img").write_bytes(b"ucode")
        (root / "boot/amd-ucode.img").write_bytes(b"ucode")
    fallback = menu_of(system).submenus[0]
    assert fallback.loader == "/current/1/@/boot/vmlinuz-6.1.0-18-amd64"
    assert fallback.command_line.split()[-3:] == [
        "initrd=\\current\\1\\@\\boot\\amd-ucode.img",
        "initrd=\\current\\1\\@\\boot\\intel-ucode.img",
        "initrd=\\current\\1\\@\\boot\\initrd.img-6.1.0-18-amd64",
    ]
    assert "Fallback 1, changes vanish at reboot" not in [submenu.title for submenu in menu_of(system).submenus]


def test_a_kernel_can_be_named(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        add_kernel(root, "edge", "7.0.0-edge")
    assert menu_of(system).loader == "/current/0/@/boot/vmlinuz-edge"
    assert menu_of(system, "--kernel", "lts").loader == "/current/0/@/boot/vmlinuz-lts"
    done = system.sysmut("refind", "--volume", "root", "--kernel", "virt")
    assert done.returncode == 65
    assert "there is no kernel 'virt' (there are: edge, lts)" in done.stderr


def test_root_options_and_the_swap_line_come_from_the_generations_own_fstab(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        line = f"UUID={system.uuid} / btrfs subvolid=999,subvol=/snapshots/{NEW}/@,rw,compress=zstd:3,nofail,x-y 0 0\n"
        (root / "etc/fstab").write_text(line + "/swapfile none swap sw 0 0\nUUID=1234-ab none swap sw 0 0\n")
    options = menu_of(system).options
    assert options is not None
    assert "rootflags=subvol=/current/0/@,ro,compress=zstd:3 ro resume=UUID=1234-ab panic=30" in options


def test_the_settings_add_to_it(system: Lab, tmp_path: Path) -> None:
    settings = tmp_path / "sysmut.toml"
    settings.write_text('title = "Mine"\nicon = "/EFI/mine.png"\nkernel_options = "quiet  splash"\npanic = 0\n')
    done = system.sysmut("refind", "--config", settings, "--volume", "v")
    (entry,) = parse(done.stdout.encode(), "x").config.entries
    assert (entry.title, entry.icon, entry.volume) == ("Mine", "/EFI/mine.png", "v")
    assert entry.options is not None
    assert entry.options.endswith(" ro quiet splash")


def test_title_and_icon_come_from_the_distribution(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / "etc/os-release").write_text('NAME="Alpine Linux"\nID=alpine\n')
    entry = menu_of(system)
    assert (entry.title, entry.icon) == ("Alpine Linux", "/EFI/refind/icons/os_linux.png")
    with system.unsealed(NEW) as root:
        (root / "etc/os-release").write_text("ID=raspbian\nID_LIKE='x debian'\nNAME=\"Müsli\"\n")
    entry = menu_of(system)
    assert (entry.title, entry.icon) == ("Linux", "/EFI/refind/icons/os_debian.png")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--kernel-options", "x" * 1900], 65, "make kernel_options shorter"),
        (["--kernel-options", "a\nb"], 64, "plain ASCII"),
        (["--title", "Müsli"], 64, "plain ASCII"),
        (["--panic", "-1"], 64, "--panic"),
        (["--removable"], 64, "--setup"),
        (["--dry-run"], 64, "--install"),
    ],
)
def test_what_the_boot_loader_could_not_take_is_refused(
    system: Lab, arguments: list[str], status: int, said: str
) -> None:
    done = system.sysmut("refind", "--volume", "root", *arguments)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_filesystem_that_is_on_no_partition_needs_a_name_for_it(system: Lab) -> None:
    done = system.sysmut("refind")
    assert done.returncode == 69
    assert "--volume" in done.stderr


def test_a_root_without_a_kernel_has_no_menu(lab: Lab) -> None:
    done = lab.sysmut("refind", "--volume", "root")
    assert done.returncode == 65
    assert "slot 0 cannot be in the boot menu" in done.stderr


# Onto the system partition


def test_it_is_installed_with_one_line_and_a_second_time_changes_nothing(system: Lab, esp: Path) -> None:
    dry = install(system, esp, "--dry-run")
    assert "+include sysmut.conf" in dry.stdout
    assert "+menuentry" in dry.stdout
    folder = esp / "EFI/refind"
    assert sorted(os.listdir(folder)) == ["refind.conf", "refind_x64.efi"]
    install(system, esp)
    assert (folder / "refind.conf").read_text() == MAIN + "include sysmut.conf\n"
    assert (folder / "refind.conf.before-sysmut").read_text() == MAIN
    assert boots(system, (folder / "sysmut.conf").read_bytes())["Linux"] == NEW
    assert sorted(os.listdir(folder)) == ["refind.conf", "refind.conf.before-sysmut", "refind_x64.efi", "sysmut.conf"]
    before = {path: written(path) for path in folder.iterdir()}
    done = install(system, esp)
    assert "as it should be" in done.stderr
    assert {path: written(path) for path in folder.iterdir()} == before
    told = json.loads(install(system, esp, "--json").stdout)
    assert told == {"version": 1, "changed": False, "dry_run": False, "changes": []}


def test_its_icons_are_those_of_the_folder_that_refind_is_in(system: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "esp/EFI/BOOT"
    folder.mkdir(parents=True)
    (folder / "bootx64.efi").write_bytes(b"MZ")
    (folder / "refind.conf").write_text(MAIN)
    install(system, tmp_path / "esp")
    (entry,) = parse((folder / "sysmut.conf").read_bytes(), "x").config.entries
    assert entry.icon == "/EFI/BOOT/icons/os_linux.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"timeout 5\nscanfor internal,external\n", "scanfor"),
        (b"\xff\xfe", "add the line yourself"),
    ],
)
def test_a_refind_conf_with_which_it_would_not_show_is_refused(
    system: Lab, esp: Path, content: bytes, said: str
) -> None:
    path = esp / "EFI/refind/refind.conf"
    path.write_bytes(content)
    assert said in install(system, esp, status=65).stderr
    assert path.read_bytes() == content
    assert sorted(os.listdir(path.parent)) == ["refind.conf", "refind_x64.efi"]


def test_a_stanza_that_is_never_closed_does_not_swallow_it(system: Lab, esp: Path) -> None:
    path = esp / "EFI/refind/refind.conf"
    path.write_text(MAIN + 'menuentry "Other" {\n    loader /EFI/other.efi\n')
    install(system, esp)
    folder = esp / "EFI/refind"
    document = parse(path.read_bytes(), "refind.conf", lambda name: (folder / name).read_bytes())
    assert [entry.title for entry in document.config.entries] == ["Linux", "Other"]


def test_a_menu_of_another_filesystem_is_not_overwritten(system: Lab, esp: Path) -> None:
    install(system, esp)
    path = esp / "EFI/refind/sysmut.conf"
    other = path.read_text().replace(system.uuid, "01234567-89ab-cdef-0123-456789abcdef")
    path.write_text(other)
    assert "boots another filesystem" in install(system, esp, status=65).stderr
    assert "could not be looked at" in publish(system, esp, ":").stderr
    assert path.read_text() == other


def test_the_settings_of_the_running_system_are_not_meant_for_another(system: Lab, esp: Path) -> None:
    """A session on an image, with the host's /etc/sysmut.toml, must leave the host's boot menu alone."""
    install(system, esp)
    before = (esp / "EFI/refind/sysmut.conf").read_bytes()
    settings = system.image.parent / "sysmut.toml"
    settings.write_text(f'volume = "root"\nesp = "{esp}"\n')
    done = system.session(UPGRADE, "--config", str(settings))
    assert "before you reboot: sysmut refind --install" in done.stderr
    assert (esp / "EFI/refind/sysmut.conf").read_bytes() == before


def test_every_refind_on_the_partition_gets_it_and_keeps_it(system: Lab, esp: Path) -> None:
    """Which one the firmware starts cannot be told; one without the menu would boot nothing."""
    other = esp / "EFI/BOOT"
    other.mkdir()
    (other / "bootx64.efi").write_bytes(b"MZ")
    (other / "refind.conf").write_text(MAIN)
    install(system, esp)
    publish(system, esp, UPGRADE)
    for folder in (esp / "EFI/refind", other):
        assert b"/current/0/@/boot/vmlinuz-edge" in (folder / "sysmut.conf").read_bytes()
        assert "include sysmut.conf" in (folder / "refind.conf").read_text()
    (other / "refind.conf").write_text("scanfor internal\n")
    assert "not written to EFI/BOOT" in install(system, esp).stderr
    (esp / "EFI/refind/refind.conf").write_text("scanfor internal\n")
    install(system, esp, status=65)


def test_a_partition_without_refind_is_told_what_to_do(system: Lab, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "sysmut refind --setup" in install(system, tmp_path / "empty", status=69).stderr


# Kept right


def publish(lab: Lab, esp: Path | None, script: str, *arguments: str, status: int = 0) -> Finished:
    return lab.session(script, *arguments, status=status, environment=named(esp) if esp else {})


def named(esp: Path) -> dict[str, str]:
    """The settings, as the environment has them."""
    return {"SYSMUT_ESP": str(esp), "SYSMUT_VOLUME": "root"}


UPGRADE = "cd /boot; mv vmlinuz-lts vmlinuz-edge; mv initramfs-lts initramfs-edge"


def test_with_unchanged_names_nothing_is_touched(system: Lab, esp: Path) -> None:
    install(system, esp)
    folder = esp / "EFI/refind"
    before = {path: written(path) for path in (*folder.iterdir(), folder)}
    done = publish(system, esp, "touch /etc/new")
    assert {path: written(path) for path in before} == before
    assert "menu" not in done.stderr
    assert "menu" not in publish(system, None, "touch /etc/newer").stderr


def test_a_new_kernels_name_is_written_into_the_menu(system: Lab, esp: Path) -> None:
    install(system, esp)
    done = publish(system, esp, UPGRADE)
    assert "the boot menu was brought up to date" in done.stderr
    text = (esp / "EFI/refind/sysmut.conf").read_bytes()
    assert boots(system, text)["Linux"] == system.slots[0]
    assert b"/current/0/@/boot/vmlinuz-edge" in text
    assert b"/current/1/@/boot/vmlinuz-lts" in text
    done = system.sysmut("activate", "1", environment=named(esp))
    assert "the boot menu was brought up to date" in done.stderr
    assert boots(system, (esp / "EFI/refind/sysmut.conf").read_bytes())["Linux"] == NEW


def test_where_no_system_partition_is_named_the_command_is_told(system: Lab, esp: Path) -> None:
    install(system, esp)
    before = (esp / "EFI/refind/sysmut.conf").read_bytes()
    done = publish(system, None, UPGRADE)
    assert "before you reboot: sysmut refind --install" in done.stderr
    assert (esp / "EFI/refind/sysmut.conf").read_bytes() == before
    done = system.sysmut("rollback", "1")
    assert "before you reboot: sysmut refind --install" in done.stderr


def test_the_number_of_slots_makes_it_stale(system: Lab, esp: Path) -> None:
    install(system, esp)
    assert "up to date" in publish(system, esp, ":", "--slots", "2").stderr
    assert b"Fallback 2" not in (esp / "EFI/refind/sysmut.conf").read_bytes()


def test_a_pin_is_in_the_menu_at_once_and_gone_with_it(system: Lab, esp: Path) -> None:
    install(system, esp)
    menu = esp / "EFI/refind/sysmut.conf"
    done = system.sysmut("pin", "1", "good", environment=named(esp))
    assert "the boot menu was brought up to date" in done.stderr
    assert b"/pins/good/@" in menu.read_bytes()
    done = system.sysmut("unpin", "good", environment=named(esp))
    assert "the boot menu was brought up to date" in done.stderr
    assert b"/pins/good/@" not in menu.read_bytes()
    assert "sysmut refind --install" in system.sysmut("pin", "1", "good").stderr


def test_a_menu_that_cannot_be_written_keeps_the_generation_and_changes_nothing(system: Lab, esp: Path) -> None:
    install(system, esp)
    (esp / "EFI").rename(esp / "gone")
    before = system.slots
    done = publish(system, esp, UPGRADE, status=71)
    assert "the boot menu must change with the kernels, and cannot" in done.stderr
    assert "sealed and kept, not in a slot: sysmut activate" in done.stderr
    assert system.slots == before
    (kept,) = system.generations - {FIRST, MIDDLE, NEW}
    assert system.is_sealed(kept)
    done = publish(system, esp, "touch /etc/new")
    assert "out of reach" in done.stderr
    assert "could not be looked at" in done.stderr
    (esp / "gone").rename(esp / "EFI")
    assert system.sysmut("activate", kept, environment=named(esp)).returncode == 0
    assert boots(system, (esp / "EFI/refind/sysmut.conf").read_bytes())["Linux"] == kept


def test_a_menu_that_was_never_installed_is_only_spoken_of(system: Lab, esp: Path) -> None:
    done = publish(system, esp, UPGRADE)
    assert "sysmut's menu is not on the system partition; before you reboot: sysmut refind --install" in done.stderr
    assert not (esp / "EFI/refind/sysmut.conf").exists()


def test_what_must_be_done_before_the_reboot_is_said_even_to_those_who_want_to_hear_nothing(system: Lab) -> None:
    done = publish(system, None, UPGRADE, "-q")
    assert done.stderr.splitlines() == [
        "the boot menu no longer fits the kernels; before you reboot: sysmut refind --install"
    ]
    done = system.sysmut("rollback", "1", "--json")
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "before you reboot" in warning


def test_a_menu_that_a_cut_off_run_has_left_is_found_and_brought_up_to_date(system: Lab, esp: Path) -> None:
    install(system, esp)
    path = esp / "EFI/refind/sysmut.conf"
    wanted = path.read_bytes()
    stale = wanted.replace(b"/current/0/", f"/snapshots/{FIRST}/".encode())
    for command in (["activate", "0"], ["run", "--drop-if-unchanged", "--", "true"]):
        path.write_bytes(stale)
        (line,) = system.sysmut("check", environment=named(esp)).stdout.splitlines()
        assert line.startswith("warning: the boot menu is not the one for these slots")
        done = system.sysmut(*command, environment=named(esp))
        assert "was stale, and was brought up to date" in done.stderr
        assert path.read_bytes() == wanted
    path.write_bytes(stale)
    assert "brought up to date" in system.syscln(environment=named(esp)).stderr
    assert path.read_bytes() == wanted
    assert system.sysmut("check", environment=named(esp)).stdout == ""
    assert system.syscln(environment=named(esp)).stderr == ""


def test_a_check_says_that_it_cannot_look_at_the_menu(system: Lab, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = system.sysmut("check", environment=named(tmp_path / "empty"))
    assert done.stdout.startswith("warning: the boot menu could not be looked at: there is no rEFInd in ")


@pytest.mark.parametrize("name", ["é", "a b", "x\ny"])
def test_a_pin_with_an_odd_name_is_left_out_and_stops_nothing(system: Lab, esp: Path, name: str) -> None:
    (system.top / "pins").mkdir()
    (system.top / "pins" / name).symlink_to(f"../snapshots/{FIRST}")
    install(system, esp)
    publish(system, esp, UPGRADE)
    assert boots(system, (esp / "EFI/refind/sysmut.conf").read_bytes())["Linux"] == system.slots[0]


def test_a_pin_is_offered_only_if_it_names_a_generation_itself(system: Lab) -> None:
    (system.top / "pins").mkdir()
    (system.top / "pins/moving").symlink_to("../current/0")
    (system.top / "pins/inside").symlink_to(f"../snapshots/{FIRST}/@")
    done = system.sysmut("refind", "--volume", "root")
    assert "Pin " not in done.stdout
    assert done.stderr.count("leads to no generation itself") == 2


def test_a_pin_or_fallback_with_too_long_a_command_line_is_left_out(system: Lab) -> None:
    with system.unsealed(FIRST) as root:
        text = (root / "etc/fstab").read_text()
        (root / "etc/fstab").write_text(text.replace(",ro,", f",ro,{'x' * 1990},"))
    done = system.sysmut("refind", "--volume", "root")
    assert set(boots(system, done.stdout.encode()).values()) == {NEW, MIDDLE}
    assert "fallback 2 is not in the boot menu: its kernel's command line has" in done.stderr


@pytest.mark.parametrize("name", ["9.9 x", "9.9'x", "9.9é"])
def test_a_kernel_whose_name_no_menu_can_have_is_not_published(system: Lab, esp: Path, name: str) -> None:
    install(system, esp)
    move = f'cd /boot; mv vmlinuz-lts "vmlinuz-{name}"; mv initramfs-lts "initramfs-{name}"'
    assert "cannot stand in a boot menu" in publish(system, esp, move, status=65).stderr
    publish(system, esp, f'cd /boot; cp vmlinuz-lts "vmlinuz-{name}"; cp initramfs-lts "initramfs-{name}"')
    assert menu_of(system).loader == "/current/0/@/boot/vmlinuz-lts"


def test_a_tilde_may_be_in_a_kernels_name(system: Lab, esp: Path) -> None:
    install(system, esp)
    publish(system, esp, UPGRADE.replace("edge", "9.9~rc1"))
    assert boots(system, (esp / "EFI/refind/sysmut.conf").read_bytes())["Linux"] == system.slots[0]


def test_what_was_given_by_option_and_is_in_no_setting_is_said(system: Lab, esp: Path) -> None:
    said = install(system, esp, "--kernel-options", "quiet", "--panic", "0").stderr
    assert "what was given here: kernel_options, panic, volume, esp" in said


def test_a_blank_title_is_none_and_a_long_one_is_cut(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / "etc/os-release").write_text("NAME='  '\n")
    assert menu_of(system).title == "Linux"
    with system.unsealed(NEW) as root:
        (root / "etc/os-release").write_text(f"NAME={'x' * 100000}\n")
    assert menu_of(system).title == "x" * 64


RENAMES = "rename,renameat,renameat2"


def cut_off(lab: Lab, esp: Path, fault: str, *options: str) -> int:
    """A session in which strace ends, or fails, the system call."""
    strace = ["strace", "-qq", "-e", f"trace={RENAMES}", "-e", f"inject={RENAMES}:{fault}", "-o", os.devnull]
    return subprocess.run(
        [*strace, *lab.command("sysmut", "run", *options, "--", "sh", "-ec", UPGRADE)],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(**named(esp)),
    ).returncode


@pytest.mark.parametrize("options", [[], ["--kernel", "edge"]])
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_wherever_it_is_cut_off_the_menu_boots_whole_generations(
    system: Lab, esp: Path, fault: str, options: list[str]
) -> None:
    """Each rename in turn: of the fstab, the record, the lasting menu, `current`, and the new menu. With the
    kernel named, slot 0 does not have it yet."""
    install(system, esp)
    path = esp / "EFI/refind/sysmut.conf"
    states = set()
    for number in range(1, 20):
        slot = system.slots[0]
        status = cut_off(system, esp, f"{fault}:when={number}", *options)
        found = boots(system, path.read_bytes())
        states.add((status == 0, system.slots[0] == slot, b"snapshots" in path.read_bytes()))
        if status == 0:
            assert found["Linux"] == system.slots[0] != slot
            break
        assert found["Linux"] == slot
        if system.slots[0] != slot:  # the rename took place, the menu still boots the one before
            assert number > 3
            assert system.sysmut("activate", slot, environment=named(esp)).returncode == 0
            assert boots(system, path.read_bytes())["Linux"] == slot
    assert (True, False, False) in states
    assert (False, True, False) in states
    assert (False, False, True) in states
