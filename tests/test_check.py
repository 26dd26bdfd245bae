"""Would it boot? What is asked of a generation by `sysmut check`, and before one is sealed."""

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bootable import RELEASE, add_kernel, bootable_root, bzimage, cpio, initramfs_image
from tests.lab import FIRST, PLACEHOLDER, Lab, sh

NEW = "20260202000000AbCdEfGh"
KERNEL = "boot/vmlinuz-lts"
INITRAMFS = "boot/initramfs-lts"


@pytest.fixture
def system(make_lab: Callable[..., Lab], small_root: Path, tmp_path: Path) -> Lab:
    """A filesystem with two generations that would boot: NEW in slot 0, FIRST in slot 1."""
    lab = make_lab()
    lab.lay_out(bootable_root(small_root, tmp_path), slots=2, commons=("/home",))
    lab.add_generation(NEW)
    lab.link([NEW, FIRST], "20260202000001AbCdEfGh")
    return lab


def check(lab: Lab, *names: str, status: int = 65) -> list[str]:
    """What `sysmut check` says on standard output."""
    done = lab.sysmut("check", *names)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()


def errors(lab: Lab) -> list[str]:
    lines = check(lab)
    assert lines
    return [line for line in lines if line.startswith("error: ")]


def test_nothing_is_found_where_everything_is_as_it_should_be(system: Lab) -> None:
    done = system.sysmut("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "all is well\n")
    value = system.json("check")
    assert value == {"version": 1, "generations": [FIRST, NEW], "kernel": True, "boots": True, "findings": []}


# What a file is


def hole(root: Path) -> None:
    content = (root / KERNEL).read_bytes()
    with open(root / KERNEL, "wb") as file:
        file.write(content)
        file.truncate(len(content) + 65536)


def unwritten(root: Path) -> None:
    with open(root / INITRAMFS, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        os.posix_fallocate(file.fileno(), end, 65536)


def lzo(root: Path) -> None:
    path = root / INITRAMFS
    content = path.read_bytes() + b"\0" * 262144
    path.unlink()
    path.touch()
    sh("btrfs", "property", "set", path, "compression", "lzo")
    path.write_bytes(content)
    os.sync()


def link_from_the_root(root: Path) -> None:
    (root / KERNEL).rename(root / "etc/k")
    (root / KERNEL).symlink_to("/etc/k")


def link_out_of_the_root(root: Path) -> None:
    (root / "sbin/init").unlink()
    (root / "sbin/init").symlink_to("/usr/bin/python3")


def no_permission(root: Path) -> None:
    (root / "sbin/init").unlink()
    (root / "sbin/init").write_text("#!/bin/sh\n")


CONDITIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no kernel": (lambda root: (root / KERNEL).unlink(), "/boot: there is no kernel"),
    "an empty kernel": (lambda root: (root / KERNEL).write_bytes(b""), f"{KERNEL} is empty"),
    "a kernel that is none": (lambda root: (root / KERNEL).write_bytes(b"kernel"), f"{KERNEL} is no EFI program"),
    "a kernel cut off": (lambda root: os.truncate(root / KERNEL, 3000), f"{KERNEL} is cut off"),
    "a kernel for another machine": (
        lambda root: (root / KERNEL).write_bytes(bzimage(machine=0xAA64)),
        f"{KERNEL} is for aarch64",
    ),
    "a kernel with a hole": (hole, f"{KERNEL} has a hole"),
    "a kernel whose link leads elsewhere for the boot loader": (
        link_from_the_root,
        f"{KERNEL} is a link that leads nowhere from the top level",
    ),
    "no initramfs": (lambda root: (root / INITRAMFS).unlink(), f"{KERNEL} has no initramfs"),
    "an empty initramfs": (lambda root: (root / INITRAMFS).write_bytes(b""), f"{INITRAMFS} is empty"),
    "an initramfs cut off": (lambda root: os.truncate(root / INITRAMFS, 150), f"{INITRAMFS} is cut off"),
    "an initramfs with unwritten space": (unwritten, f"{INITRAMFS} has an unwritten"),
    "an initramfs with LZO": (lzo, f"{INITRAMFS} has an LZO-compressed extent"),
    "an initramfs without btrfs": (
        lambda root: (root / INITRAMFS).write_bytes(initramfs_image(btrfs=False)),
        f"{INITRAMFS} has no btrfs in it",
    ),
    "an initramfs of another kernel": (
        lambda root: (root / INITRAMFS).write_bytes(initramfs_image("6.0.0-other")),
        f"{INITRAMFS} has modules for 6.0.0-other, and not for the kernel {RELEASE}",
    ),
    "modules of another kernel": (
        lambda root: (root / "lib/modules" / RELEASE).rename(root / "lib/modules/6.0.0-other"),
        f"has no modules for the kernel {RELEASE}, but for 6.0.0-other",
    ),
    "no init": (lambda root: (root / "sbin/init").unlink(), "sbin/init is missing"),
    "an init that leads out of the root": (
        link_out_of_the_root,
        "sbin/init is missing, or leads to nothing in that root",
    ),
    "an init that cannot be executed": (
        no_permission,
        "sbin/init cannot be executed",
    ),
    "an init that is no program": (lambda root: (root / "bin/busybox").write_bytes(b"data"), "is neither a program"),
    "an init whose interpreter is missing": (
        lambda root: (root / "bin/busybox").write_bytes(b"#!/bin/nothing\n"),
        "sbin/init needs /bin/nothing, which is missing",
    ),
    "an init whose interpreter is a directory": (
        lambda root: (root / "bin/busybox").write_bytes(b"#!/etc\n"),
        "sbin/init needs /etc, which is missing or cannot be executed",
    ),
    "an init with the line end of another system": (
        lambda root: (root / "bin/busybox").write_bytes(b"#!/bin/sh\r\n"),
        "sbin/init needs /bin/sh\\x0d, which is missing",
    ),
    "an init that is cut off": (
        lambda root: (root / "bin/busybox").write_bytes((root / "bin/busybox").read_bytes()[:64]),
        "sbin/init is neither a program nor a script",
    ),
    "no mount point for proc": (lambda root: (root / "proc").rmdir(), "/proc is missing"),
    "no mount point for a common": (lambda root: (root / "home").rmdir(), "/home is missing"),
    "an fstab of another generation": (
        lambda root: (root / "etc/fstab").write_text((root / "etc/fstab").read_text().replace(NEW, "other")),
        "the line for / does not name subvol=",
    ),
    "an fstab that is not one": (
        lambda root: (root / "etc/fstab").write_text("garbage\n"),
        "line 1: not a line of fstab",
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_that_keeps_a_generation_from_booting_is_found(system: Lab, name: str) -> None:
    damage, said = CONDITIONS[name]
    with system.unsealed(NEW) as root:
        damage(root)
    found = errors(system)
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith("error: slot 0: ")
    value = json.loads(system.sysmut("check", "0", "--json").stdout)
    assert value["boots"] is False
    assert [finding["severity"] for finding in value["findings"]] == ["error"]
    assert value["findings"][0]["generation"] == NEW


def test_a_subvolume_that_is_gone_a_missing_seal_and_a_common_that_is_gone_are_found(system: Lab) -> None:
    system.seal(NEW, sealed=False)
    assert "is not sealed" in errors(system)[0]
    system.seal(NEW)
    sh("btrfs", "subvolume", "delete", system.top / "commons/@home")
    assert "there is no subvolume /commons/@home to mount on /home" in errors(system)[0]
    sh("btrfs", "subvolume", "delete", system.root(NEW))
    assert "/@ is not there" in errors(system)[-1]


def test_a_slot_that_leads_nowhere_is_found(system: Lab) -> None:
    link = system.top / "current/1"
    link.unlink()
    link.symlink_to("../../snapshots/gone")
    assert errors(system) == [
        "error: slot 1 leads nowhere: its generation is gone "
        "(publish or activate a generation: it takes the slot's place)"
    ]


def test_a_slot_whose_link_leads_into_its_generation_is_found(system: Lab) -> None:
    link = system.top / "current/0"
    link.unlink()
    link.symlink_to(f"../../snapshots/{NEW}/@")
    assert f"slot 0 does not lead to snapshots/{NEW} itself" in errors(system)[0]
    assert system.sysmut("activate", FIRST).returncode == 0
    assert check(system, status=0) == []


def test_a_pin_that_leads_nowhere_is_a_warning(system: Lab) -> None:
    (system.top / "pins").mkdir()
    (system.top / "pins/old").symlink_to("../snapshots/gone")
    (line,) = check(system, status=0)
    assert line.startswith("warning: pin old leads nowhere")


def test_a_boot_directory_that_is_a_link_with_too_long_a_name_is_found(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / "boot").rename(root / "gone")
        (root / "boot").symlink_to("x" * 300)
    assert "there is no kernel" in errors(system)[0]


def test_a_file_may_be_bound_on_a_file(system: Lab) -> None:
    with system.unsealed(NEW) as root, open(root / "etc/fstab", "a") as file:
        file.write("/etc/passwd /etc/passwd none bind 0 0\n")
    assert check(system, status=0) == []


def test_a_kernel_without_any_module_may_have_btrfs_in_it(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / INITRAMFS).write_bytes(gzip.compress(cpio({"init": "#!/bin/sh\n"})))
        shutil.rmtree(root / "lib/modules")
    assert [line.partition(":")[0] for line in check(system, status=0)] == ["warning", "warning"]


def test_a_default_subvolume_that_is_not_the_top_level_is_found(system: Lab) -> None:
    sh("btrfs", "subvolume", "set-default", system.root(NEW))
    assert "default subvolume" in errors(system)[0]
    sh("btrfs", "subvolume", "set-default", "5", system.top)
    assert check(system, status=0) == []


def test_a_root_line_without_ro_is_a_warning(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        text = (root / "etc/fstab").read_text()
        (root / "etc/fstab").write_text(text.replace("/@,ro,", "/@,"))
    (line,) = check(system, status=0)
    assert line.startswith("warning: slot 0: ")
    assert "does not say ro" in line


def test_microcode_that_is_empty_is_a_warning(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / "boot/intel-ucode.img").touch()
    (line,) = check(system, status=0)
    assert line.startswith("warning: ")
    assert "boot/intel-ucode.img is empty" in line


def test_an_initramfs_that_cannot_be_looked_into_is_said_to_be_one(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / INITRAMFS).write_bytes(b"\x02\x21\x4c\x18" + b"\0" * 100)
    (line,) = check(system, status=0)
    assert line.startswith("note: ")
    assert "lz4" in line


def test_btrfs_in_the_kernel_itself_is_enough(system: Lab) -> None:
    with system.unsealed(NEW) as root:
        (root / INITRAMFS).write_bytes(initramfs_image(btrfs=False))
        (root / "lib/modules" / RELEASE / "modules.builtin").write_text("kernel/fs/btrfs/btrfs.ko\n")
    assert check(system, status=0) == []


def test_a_mount_point_that_may_fail_need_not_be_there(system: Lab) -> None:
    with system.unsealed(NEW) as root, open(root / "etc/fstab", "a") as file:
        file.write("server:/x /mnt/x nfs nofail 0 0\n/dev/sdz1 /mnt/y ext4 noauto 0 0\n")
    assert check(system, status=0) == []


def test_the_kernel_that_the_settings_name_is_what_is_looked_at(system: Lab, tmp_path: Path) -> None:
    with system.unsealed(NEW) as root:
        add_kernel(root, "edge", "7.0.0-edge")
        (root / "boot/vmlinuz-edge").write_bytes(b"")
    assert "vmlinuz-edge is empty" in errors(system)[0]
    settings = tmp_path / "sysmut.toml"
    settings.write_text('kernel = "lts"\n')
    assert check(system, "--config", str(settings), status=0) == []
    settings.write_text('kernel = "virt"\n')
    assert "there is no kernel 'virt' (there are: edge, lts)" in check(system, "0", "--config", str(settings))[0]


def test_generations_are_named_and_pins_are_looked_at_too(system: Lab) -> None:
    other = "20260303000000AbCdEfGh"
    root = system.add_generation(other, sealed=False)
    (root / KERNEL).write_bytes(b"")
    system.seal(other)
    assert check(system, status=0) == []
    assert "is empty" in check(system, other)[0]
    (system.top / "pins").mkdir()
    (system.top / "pins/old").symlink_to(f"../snapshots/{other}")
    assert check(system)[0].startswith("error: pin old: ")
    assert check(system, "0", status=0) == []


def test_a_root_that_has_no_kernel_anywhere_is_only_checked_for_the_rest(lab: Lab) -> None:
    done = lab.sysmut("check")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "no generation has a kernel" in done.stderr
    assert lab.json("check")["kernel"] is False


# Profiles of several devices


@pytest.fixture
def several(root_user: None, tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Makes a filesystem with a profile over so many devices, and mounts it."""
    loops: list[str] = []
    top = tmp_path / "several"
    top.mkdir()

    def make(profile: str, devices: int) -> Path:
        for number in range(devices):
            image = tmp_path / f"device{number}.img"
            with open(image, "wb") as file:
                file.truncate(200 * 2**20)
            loops.append(sh("losetup", "-f", "--show", image).strip())
        sh("mkfs.btrfs", "-q", "-d", profile, "-m", profile, *loops)
        sh("mount", loops[0], top)
        return top

    yield make
    subprocess.run(["umount", top], check=False, capture_output=True)
    for loop in loops:
        subprocess.run(["losetup", "-d", loop], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("profile", "devices", "readable"), [("raid1c3", 3, False), ("raid1c4", 4, False), ("raid1", 2, True)]
)
def test_profiles_that_the_boot_loader_cannot_read_are_found(
    several: Callable[[str, int], Path], small_root: Path, tmp_path: Path, profile: str, devices: int, readable: bool
) -> None:
    top = several(profile, devices)
    lab = Lab.__new__(Lab)
    lab.top = top
    lab.uuid = sh("findmnt", "-n", "-o", "UUID", top).strip()
    lab.lay_out(bootable_root(small_root, tmp_path))
    if readable:
        assert check(lab, status=0) == []
    else:
        assert f"block groups of {profile.upper()}" in errors(lab)[0]


# Before a generation is sealed


SCRIPTS = {
    f"rm /{KERNEL}": "/boot: there is no kernel",
    f": >/{INITRAMFS}": "is empty",
    "rm /sbin/init": "sbin/init is missing",
    f"rm -r /lib/modules/{RELEASE}; mkdir /lib/modules/other": "has no modules for the kernel",
    "rm /etc/fstab": "etc/fstab",
    "sed -i s/2026/2025/ /etc/fstab": "does not name subvol=",
    "echo garbage >>/etc/fstab": "line 5",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_generation_that_would_not_boot_is_not_published(system: Lab, script: str) -> None:
    before = system.picture()
    done = system.session(script, status=65)
    assert SCRIPTS[script] in done.stderr
    assert system.picture() == before


@pytest.mark.parametrize("damage", [hole, unwritten, lzo])
def test_what_the_boot_loader_cannot_read_is_written_anew_before_it_is_sealed(
    system: Lab, damage: Callable[[Path], object]
) -> None:
    process = system.start_waiting()
    (new,) = system.generations - {FIRST, NEW}
    damage(system.root(new))
    content = {name: (system.root(new) / name).read_bytes() for name in (KERNEL, INITRAMFS)}
    status, stderr = system.finish(process)
    assert status == 0, stderr
    assert "written anew" in stderr
    assert check(system, status=0) == []
    assert {name: (system.root(new) / name).read_bytes() for name in content} == content


def test_what_would_not_boot_is_published_by_force_and_that_is_said(system: Lab) -> None:
    done = system.session(f"rm /{KERNEL}", status=65)
    assert "--force" in done.stderr
    assert system.slots[0] == NEW
    done = system.session(f"rm /{KERNEL}", "--force")
    assert "error: " in done.stderr
    assert system.slots[0] != NEW
    assert not (system.root(system.slots[0]) / KERNEL).exists()


def test_activating_what_would_not_boot_is_refused_unless_forced(system: Lab) -> None:
    with system.unsealed(FIRST) as root:
        (root / KERNEL).unlink()
    for command in (["activate", FIRST], ["rollback"], ["activate", FIRST, "-n"]):
        done = system.sysmut(*command)
        assert done.returncode == 65, done.stderr
        assert "there is no kernel" in done.stderr
        assert system.slots == [NEW, FIRST]
    assert system.sysmut("activate", NEW).returncode == 0
    assert system.sysmut("activate", FIRST, "--force").returncode == 0
    assert system.slots == [FIRST, NEW]
    assert system.sysmut("rollback", "1").returncode == 0


def test_mending_keeps_owner_mode_and_content(system: Lab) -> None:
    content = (system.root(NEW) / KERNEL).read_bytes()
    done = system.session(f"truncate -s 73728 /{KERNEL}; chmod 600 /{KERNEL}; chown 1:2 /{KERNEL}")
    assert f"/{KERNEL} was written anew" in done.stderr
    status = (system.root(system.slots[0]) / KERNEL).stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, 1, 2)
    assert (system.root(system.slots[0]) / KERNEL).read_bytes() == content + b"\0" * 65536


def test_a_root_without_any_kernel_is_published_and_that_is_said(lab: Lab) -> None:
    assert "whether it boots was not looked at" in lab.session("touch /etc/new").stderr
    assert "its init is gone" not in lab.session("rm /sbin/init", status=65).stderr


def test_a_lost_placeholder_does_not_pass_for_a_root_without_kernel(system: Lab) -> None:
    assert PLACEHOLDER in system.template
    assert "there is no kernel" in system.session("rm -r /boot", status=65).stderr
