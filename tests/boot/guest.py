"""What runs inside the machine: an initramfs and an init, both of busybox, and what they tell.

The initramfs obeys the kernel's command line as Alpine's does, from which the mounts of
`overlaytmpfs` are taken (mkinitfs, initramfs-init.in). If something loaded beside it has put a file
/early there, the guest finds that as /dev/early. The init tells over the serial line what was
booted, and then runs what it is sent.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.boot.machine import Machine
from tests.lab import busybox_root, sh

MODULES = ("virtio_pci", "virtio_blk", "btrfs", "xxhash_generic", "overlay")
MORE_MODULES = ("efivarfs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "loop")
"""What the small guest can load besides, by modprobe."""
_APPLETS = ("sh", "cat", "findfs", "insmod", "mkdir", "mount", "sleep", "switch_root")

_INITRAMFS_INIT = r"""#!/bin/sh
export PATH=/bin
mkdir -p /dev /proc /sys /sysroot
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
rootflags= init=/sbin/init overlay= rootfstype=btrfs root=
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;;
    rootfstype=*) rootfstype=${word#*=} ;;
    rootflags=*) rootflags=${word#*=} ;;
    init=*) init=${word#*=} ;;
    overlaytmpfs|overlaytmpfs=yes) overlay=yes ;;
    esac
done
if [ -e /early ]; then cat /early > /dev/early; fi
while read -r module; do insmod "$module"; done < /modules.order
device=
tries=0
until device=$(findfs "$root"); do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "initramfs: no device is $root"; exit 1; }
    sleep 0.1
done
where=/sysroot
if [ "$overlay" ]; then where=/media/root-ro; mkdir -p $where; fi
mount -t "$rootfstype" -o "${rootflags:-ro}" "$device" $where || { echo "initramfs: cannot mount $root"; exit 1; }
if [ "$overlay" ]; then
    mkdir -p /media/root-rw
    mount -t tmpfs root-tmpfs /media/root-rw
    mkdir -p /media/root-rw/root /media/root-rw/work
    layers=lowerdir=/media/root-ro,upperdir=/media/root-rw/root,workdir=/media/root-rw/work
    mount -t overlay -o $layers overlayfs /sysroot || exit 1
fi
while read -r _ directory _; do
    case $directory in /|/sysroot) continue ;; esac
    mkdir -p "/sysroot$directory" && mount -o move "$directory" "/sysroot$directory"
done < /proc/mounts
exec switch_root /sysroot "$init"
"""

_INIT = r"""#!/bin/sh
export PATH=/bin:/sbin
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
stty -echo -onlcr
cat <<REPORT
BOOTED-BEGIN
release $(uname -r)
name $(cat /etc/generation-name)
cmdline $(cat /proc/cmdline)
$(sed 's/^/mount /' /proc/self/mountinfo)
BOOTED-END
REPORT
while read -r line; do
    sh -c "$line"
    echo "RAN $?"
done
"""


@dataclass(frozen=True)
class Booted:
    """What a guest tells of itself: the kernel's release and command line, what its
    /etc/generation-name says, and the lines of its mountinfo."""

    release: str
    name: str
    cmdline: str
    mounts: tuple[str, ...]

    def mounted(self, point: str) -> tuple[str, str, set[str]]:
        """What is mounted on a directory last: the path inside its filesystem (`/snapshots/ID/@` for a
        generation), the filesystem's type, and the flags."""
        fields = [line.split() for line in self.mounts if line.split()[4] == point][-1]
        rest = fields[fields.index("-") + 1 :]
        return fields[3], rest[0], {*fields[5].split(","), *rest[2].split(",")}


def report(machine: Machine) -> Booted:
    """Wait for the guest's init to tell what was booted. Then it takes commands."""
    text = machine.expect(r"BOOTED-BEGIN\s(.*?)BOOTED-END")[1].decode()
    told = [line.strip().split(" ", 1) for line in text.splitlines() if line.strip()]
    one = {key: value for key, value in told if key != "mount"}
    return Booted(**one, mounts=tuple(value for key, value in told if key == "mount"))


def run(machine: Machine, command: str) -> tuple[int, str]:
    """Run a line of shell in the guest; its exit status and what it printed."""
    machine.send(command + "\n")
    done = machine.expect(r"(.*?)RAN (\d+)\s")
    return int(done[2]), done[1].decode().strip()


def switch_off(machine: Machine) -> None:
    """Let the guest sync and switch off, and wait for it."""
    machine.send("sync; poweroff -f\n")
    machine.wait_off()


def small_guest(directory: Path, kernel: "Kernel", initramfs: Path) -> Path:
    """A root directory of busybox that boots with this kernel and tells what it is."""
    root = busybox_root(directory)
    (root / "sbin/init").unlink()
    (root / "sbin/init").write_text(_INIT)
    (root / "sbin/init").chmod(0o755)
    (root / "sbin/modprobe").symlink_to("../bin/busybox")  # where the kernel looks
    (root / "etc/generation-name").write_text("first\n")
    shutil.copyfile(kernel.image, root / "boot" / f"vmlinuz-{kernel.release}")
    shutil.copyfile(initramfs, root / "boot" / f"initrd.img-{kernel.release}")
    _copy_modules(root, kernel, MODULES + MORE_MODULES)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(kernel.modules / name, root / kernel.modules.relative_to(kernel.base) / name)
    sh("depmod", "-b", root, kernel.release)
    return root


@dataclass(frozen=True)
class Kernel:
    """A kernel: its image, its release, and the directory that has its lib/modules."""

    image: Path
    release: str
    base: Path

    @property
    def modules(self) -> Path:
        return self.base / "lib/modules" / self.release


def make_initramfs(directory: Path, kernel: Kernel, modules: Sequence[str] = MODULES) -> Path:
    """An initramfs for the kernel, of busybox, in a file of the directory. It loads these modules."""
    tree = directory / "initramfs"
    (tree / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    shutil.copy2(busybox, tree / "bin/busybox")
    for name in _APPLETS:
        (tree / "bin" / name).symlink_to("busybox")
    order = _copy_modules(tree, kernel, modules)
    (tree / "modules.order").write_text("".join(f"/{module}\n" for module in order))
    (tree / "init").write_text(_INITRAMFS_INIT)
    (tree / "init").chmod(0o755)
    return _archive(tree, directory / "initramfs.img")


def _copy_modules(root: Path, kernel: Kernel, modules: Sequence[str]) -> list[Path]:
    """Copy modules and what they need into a root; their paths in it, in an order that loads."""
    found: dict[Path, None] = {}
    for module in modules:
        lines = sh("modprobe", "-d", kernel.base, "-S", kernel.release, "--show-depends", module).splitlines()
        found.update(dict.fromkeys(Path(line.split()[1]) for line in lines if line.startswith("insmod ")))
    paths = [file.relative_to(kernel.base) for file in found]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kernel.base / path, root / path)
    return paths


def _archive(tree: Path, target: Path) -> Path:
    names = b"\0".join(os.fsencode(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with open(target, "wb") as file:
        command = ["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"]
        subprocess.run(command, cwd=tree, input=names, stdout=file, check=True)
    return target
