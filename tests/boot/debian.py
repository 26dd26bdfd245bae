"""A real Debian with sysmut in it, for a machine without a network.

It is a Debian as mmdebstrap makes it, with systemd, initramfs-tools and apt. Emulated, every process
that starts takes a tenth of a second; so what a machine with one disk and a serial line has no use for
is left out: services by masking them, modules by naming those that the initramfs needs.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab import sh

PACKAGES = "/mnt/packages"
"""Where the disk with the packages belongs in the guest."""

_LIBRARY = "usr/local/lib/python3.11/dist-packages"
_INCLUDED = (
    *("systemd-sysv", "udev", "kmod", "zstd", "initramfs-tools"),
    *("python3", "python3-click", "python3-btrfsutil", "btrfs-progs", "efibootmgr"),
)
_EXCLUDED = (
    *("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"),
    *("/lib/modules/*/kernel/net/*", "/lib/modules/*/kernel/drivers/[!bv]*"),
)
"""What dpkg leaves out, here and in the guest: half of the kernel's modules, for hardware that is not there."""
_MASKED = (
    *("getty.target", "getty-static.service", "serial-getty@.service", "timers.target", "e2scrub_reap.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-pstore.service"),
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "modprobe@.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount", "dev-mqueue.mount"),
)

SETTINGS = """\
esp = "/boot/efi"
kernel_options = "console=ttyS0 quiet"
panic = 5
"""

_FSTAB = """\
PARTLABEL=ESP /boot/efi vfat umask=0077 0 0
tmpfs /tmp tmpfs mode=1777,nosuid,nodev 0 0
"""

_SERVICE = """\
[Unit]
Description=Commands over the serial line
After=local-fs.target
[Service]
ExecStart=/usr/local/sbin/serial-commands
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""

_COMMANDS = """\
#!/bin/sh
# Tells what was booted, and then runs what it is sent, as tests.boot.guest expects it.
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
stty -echo -onlcr
cat <<REPORT
BOOTED-BEGIN
release $(uname -r)
name $(hostname)
cmdline $(cat /proc/cmdline)
$(sed 's/^/mount /' /proc/self/mountinfo)
BOOTED-END
REPORT
while read -r line; do
    sh -c "$line"
    echo "RAN $?"
done
"""

_UDEV = """\
[Service]
ExecStart=
ExecStart=udevadm trigger --action=add --subsystem-match=block --subsystem-match=tty
"""

_INITRAMFS = """\
MODULES=list
COMPRESS=zstd
COMPRESSLEVEL=1
FSTYPE=btrfs
KEYMAP=n
RESUME=none
"""

_UPGRADE = """\
#!/bin/sh -e
export DEBIAN_FRONTEND=noninteractive
echo 'deb [trusted=yes] file:{packages} ./' >/etc/apt/sources.list
apt-get update -q
apt-get install -y -q --no-install-recommends hello linux-image-{new}
apt-get purge -y -q linux-image-{old}
"""

_BREAK = """\
#!/bin/sh -e
rm /sbin/init
printf '#!/bin/none\\n' >/sbin/init
chmod 755 /sbin/init
"""


@dataclass(frozen=True)
class Kernels:
    """The releases of two kernels for virtual machines, an older and a newer, as apt offers them."""

    old: str
    new: str


def offered_kernels() -> Kernels:
    """The kernel that is the newest now, and the one before it. apt must know packages of both."""
    shown = sh("apt-cache", "show", "--no-all-versions", "linux-image-cloud-amd64")
    newest = re.search(r"^Depends: linux-image-((\S+-)(\d+)(-cloud-amd64))", shown, re.MULTILINE)
    assert newest, shown
    release, start, number, end = newest[1], newest[2], newest[3], newest[4]
    names = sh("apt-cache", "pkgnames", f"linux-image-{start}").split()
    found = re.findall(rf"^linux-image-{re.escape(start)}(\d+){re.escape(end)}$", "\n".join(names), re.MULTILINE)
    older = sorted((int(other) for other in found if int(other) < int(number)), reverse=True)
    assert older, f"there is no older kernel than {release}"
    return Kernels(f"{start}{older[0]}{end}", release)


def make_archive(directory: Path, kernel: str, refind: Path) -> Path:
    """An archive of the Debian with this kernel, sysmut, and rEFInd's files (`refind` is their directory,
    and they are not installed: their package's scripts would look for the system partition)."""
    overlay = directory / "overlay"
    _write_overlay(overlay, refind)
    archive = directory / "debian.tar"
    packages = ",".join([*_INCLUDED, f"linux-image-{kernel}"])
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    # Before the kernel is installed: its initramfs is to have what it says.
    options += [f"--essential-hook=sync-in {overlay} /"]
    options += [f'--customize-hook=chroot "$1" python3 -m compileall -q /{_LIBRARY}']
    sh("mmdebstrap", "--quiet", "--variant=minbase", *options, f"--include={packages}", "bookworm", archive)
    shutil.rmtree(overlay)
    return archive


def _write_overlay(overlay: Path, refind: Path) -> None:
    """What is put into the root besides Debian's packages."""
    checkout = Path(__file__).parents[2]
    for package in ("sysmut", "refind"):
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(checkout / package, overlay / _LIBRARY / package, ignore=leave)
    shutil.copytree(refind, overlay / "usr/share/refind/refind")
    for place in ("boot/efi", PACKAGES.lstrip("/"), "etc/systemd/system/multi-user.target.wants"):
        (overlay / place).mkdir(parents=True)
    units = overlay / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")
    (units / "multi-user.target.wants/serial-commands.service").symlink_to("../serial-commands.service")
    texts = {
        "etc/fstab": _FSTAB,
        "etc/hostname": "debian\n",
        "etc/initramfs-tools/conf.d/small": _INITRAMFS,
        "etc/sysmut.toml": SETTINGS,
        "etc/systemd/system.conf.d/quiet.conf": "[Manager]\nShowStatus=no\n",
        "etc/systemd/system/serial-commands.service": _SERVICE,
        "etc/systemd/system/systemd-udev-trigger.service.d/few.conf": _UDEV,
        "usr/share/initramfs-tools/modules.d/machine": "virtio_pci\nvirtio_blk\nbtrfs\n",
    }
    for path, text in texts.items():
        (overlay / path).parent.mkdir(parents=True, exist_ok=True)
        (overlay / path).write_text(text)
    programs = {
        "sysmut": "#!/usr/bin/python3\nfrom sysmut.cli import main\n\nmain()\n",
        "syscln": "#!/usr/bin/python3\nfrom sysmut.cli.syscln import main\n\nmain()\n",
        "serial-commands": _COMMANDS,
    }
    (overlay / "usr/local/sbin").mkdir(parents=True)
    for name, text in programs.items():
        (overlay / "usr/local/sbin" / name).write_text(text)
        (overlay / "usr/local/sbin" / name).chmod(0o755)


def make_package_disk(directory: Path, kernels: Kernels) -> Path:
    """The image of a disk with an archive of packages, and two scripts: one that upgrades with them, and
    one that breaks the system."""
    content = directory / "packages"
    content.mkdir()
    names = ("hello", f"linux-image-{kernels.new}")
    sh("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *names, cwd=content)
    (content / "Packages").write_text("\n".join(map(_listed, content.glob("*.deb"))))
    (content / "upgrade.sh").write_text(_UPGRADE.format(packages=PACKAGES, new=kernels.new, old=kernels.old))
    (content / "break.sh").write_text(_BREAK)
    image = directory / "packages.img"
    with open(image, "wb") as file:
        file.truncate(128 * 2**20)
    sh("mkfs.ext4", "-q", "-L", "packages", "-d", content, image)
    shutil.rmtree(content)
    return image


def _listed(package: Path) -> str:
    """A package's paragraph in the list of an archive."""
    data = package.read_bytes()
    where = f"Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    return sh("dpkg-deb", "-f", package) + where
