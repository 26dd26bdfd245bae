"""A guest that does nothing but make generations, and what can be told of them when its power is cut.

Every generation tells its id three times: in files of its root, in its initramfs, and in its kernel, where
the id is a part of what the kernel's EFI stub says when it has found the initramfs. A session writes
all of them anew, and every few sessions under other names, so that the menu must change, too.
"""

import _ctypes
import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import btrfsutil
import click

from tests.boot.disk import LABEL, LOADER, DiskLab
from tests.boot.guest import Kernel, small_guest
from tests.lab import FIRST, copy_program, sh

_SAID = b"om command line option"
"""Of what the stub says (`EFI stub: Loaded initrd from command line option`), as many bytes as an id has."""
MENU = f"{LOADER}/sysmut.conf"

SETTINGS = f"""\
esp = "PARTLABEL=ESP"
volume = "{LABEL}"
kernel_options = "console=ttyS0 loglevel=1 rdinit=/begin"
panic = 0
"""
"""Without panic=0 a generation that does not boot could be taken for one that does at the second try.
With `quiet` the stub would say nothing."""

_REFIND = "timeout -1\nuse_nvram false\nscanfor manual\ndefault_selection 1\n"

_HERE = "usr/share/loop"
_COMMON = "/var/log"
_EVERY = 3
"""After so many sessions the kernel's file has another name. With two slots, the menu changes in two of them."""
_LEFT_OUT = (
    *("config-*", "test", "lib2to3", "pydoc_data", "distutils", "asyncio", "email", "xml", "multiprocessing"),
    *("ensurepip", "idlelib", "tkinter", "unittest", "sqlite3", "concurrent", "sitecustomize.py"),
)
"""What of Python's library sysmut does not need."""

_BEGIN = """\
#!/bin/sh
export PATH=/bin
mkdir -p /run
mount -t tmpfs tmpfs /run
cat /generation > /run/initramfs-generation
exec /init
"""

_CHANGE = f"""\
#!/bin/sh -e
id=$SYSMUT_GENERATION
echo "STARTED $id"
echo "$id" > /etc/generation-name
yes "$id" | head -c 100000 > /etc/payload
count=$(($(cat /etc/count) + 1))
echo $count > /etc/count
name=$((count / {_EVERY} % 2))
cd /boot
rm -f vmlinuz-* initrd.img-*
cp /{_HERE}/vmlinuz vmlinuz-$name
printf %s "$id" | dd of=vmlinuz-$name bs=1 seek=$(cat /{_HERE}/offset) conv=notrunc 2>/dev/null
mkdir /tmp/mark
echo "$id" > /tmp/mark/generation
(cd /tmp/mark && echo generation | cpio -o -H newc 2>/dev/null) > /tmp/mark.cpio
cat /{_HERE}/initramfs /tmp/mark.cpio > initrd.img-$name
rm -r /tmp/mark /tmp/mark.cpio
echo "CHANGED $id"
"""

_INIT = f"""\
#!/bin/sh
export PATH=/usr/bin:/sbin:/bin HOME=/root
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
echo "MARKED $(cat /run/initramfs-generation)"
mount -t tmpfs tmpfs /tmp
mount -t btrfs -o subvol=/commons/{_COMMON.replace("/", "@")} /dev/vda2 {_COMMON}
while :; do
    date >> {_COMMON}/messages
    sync {_COMMON}/messages
    sleep 1
done &
n=0
while :; do
    if ! said=$(sysmut run --json -- /{_HERE}/change); then
        echo "FAILED sysmut $said"
        exec sleep 10000
    fi
    echo "PUBLISHED $(echo "$said" | sed -n 's/.*"generation": "\\([^"]*\\)".*/\\1/p')"
    n=$((n + 1))
    if [ $((n % 2)) = 0 ]; then
        syscln || {{ echo "FAILED syscln"; exec sleep 10000; }}
        echo "CLEANED $n"
    fi
done
"""

_PROGRAMS = {
    "usr/bin/sysmut": "#!/usr/bin/python3 -I\nfrom sysmut.cli import main\n\nmain()\n",
    "usr/bin/syscln": "#!/usr/bin/python3 -I\nfrom sysmut.cli.syscln import main\n\nmain()\n",
    f"{_HERE}/change": _CHANGE,
    "sbin/init": _INIT,
}

# -- the guest --------------------------------------------------------------------------------------------


def looping_guest(directory: Path, kernel: Kernel, initramfs: Path) -> Path:
    """A root directory that boots, and then makes one generation after the other. It has the marks of a
    lab's first generation."""
    root = small_guest(directory, kernel, initramfs)
    (root / _HERE).mkdir(parents=True)
    (root / f"boot/vmlinuz-{kernel.release}").rename(root / _HERE / "vmlinuz")
    (root / f"boot/initrd.img-{kernel.release}").rename(root / _HERE / "initramfs")
    with open(root / _HERE / "initramfs", "ab") as file:
        file.write(_archive_of("begin", _BEGIN))
    (root / _HERE / "offset").write_text(str(_mark_offset((root / _HERE / "vmlinuz").read_bytes())))
    _copy_python(root)
    for path, text in _PROGRAMS.items():
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    (root / "etc/sysmut.toml").write_text(SETTINGS)
    (root / "etc/count").write_text("0\n")
    sh("chroot", root, f"/{_HERE}/change", env={"PATH": "/usr/sbin:/bin", "SYSMUT_GENERATION": FIRST})
    return root


def _mark_offset(kernel: bytes) -> int:
    assert kernel.count(_SAID) == 1, "this kernel's EFI stub says something else"
    return kernel.index(_SAID)


def _archive_of(name: str, text: str) -> bytes:
    """An archive with one program, to follow on another in an initramfs."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / name).write_text(text)
        (Path(directory) / name).chmod(0o755)
        command = ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"]
        return subprocess.run(command, cwd=directory, input=name.encode(), capture_output=True, check=True).stdout


def _copy_python(root: Path) -> None:
    """Copy the distribution's Python, and of its library what sysmut needs, with sysmut and refind."""
    copy_program(root, "/usr/bin/python3")
    library = Path(sysconfig.get_path("stdlib"))
    leave = shutil.ignore_patterns(*_LEFT_OUT)
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=leave, symlinks=True)
    packages = root / "usr/lib/python3/dist-packages"
    packages.mkdir(parents=True)
    assert click.__file__
    shutil.copytree(Path(click.__file__).parent, packages / "click")
    shutil.copy2(btrfsutil.__file__, packages)
    for module in (btrfsutil.__file__, _ctypes.__file__):
        for file in [word for word in sh("ldd", module).split() if word.startswith("/")]:
            (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.realpath(file), root / file.lstrip("/"))
    for name in ("sysmut", "refind"):
        source = Path(__file__).parents[2] / name
        shutil.copytree(source, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    sh(sys.executable, "-m", "compileall", "-q", "-s", root, packages / "sysmut", packages / "refind")


# -- the disk ---------------------------------------------------------------------------------------------


def write_menu(disk: DiskLab, directory: Path) -> None:
    """Have sysmut write the boot menu, in a directory, and put it on the system partition."""
    folder = directory / LOADER.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "refind.conf").write_text(_REFIND)
    settings = directory / "sysmut.toml"
    settings.write_text(SETTINGS)
    done = disk.sysmut("refind", "--install", "--esp", directory, "--config", settings)
    assert done.returncode == 0, done.stderr
    disk.esp_write({f"{LOADER}/{path.name}": path for path in folder.iterdir()})


@dataclass(frozen=True)
class OnDisk:
    """What the boot loader finds: the generations in the slots, and the one that the menu boots by default."""

    slots: tuple[str, ...]
    default: str


def look(disk: DiskLab, pristine: Path) -> OnDisk:
    """Look at a disk whose power was cut, and leave it as it is. Every generation in a slot, and every
    kernel and initramfs in the menu, must be there and whole."""
    menu = disk.esp_read(MENU).decode("ascii")
    with _as_the_boot_loader_sees_it(disk) as top:
        current = top / "current"
        slots = tuple((current / number).resolve(strict=True).name for number in sorted(os.listdir(current)))
        for name in set(slots):
            _require_whole(top / "snapshots" / name / "@", name, pristine)
        named = re.findall(r"^\s*(?:loader|initrd) /(\S+)$", menu, re.MULTILINE)
        assert named, menu
        for path in named:
            assert (top / path).is_file(), f"{path} is in the menu and not on the disk:\n{menu}"
        return OnDisk(slots, (top / named[0].partition("/@/")[0]).resolve().name)


@contextlib.contextmanager
def _as_the_boot_loader_sees_it(disk: DiskLab) -> Iterator[Path]:
    """The filesystem, without what is in its log alone: the boot loader's driver does not read that. A
    usual mount would write it to where the driver reads, and the next boot would prove nothing."""
    options = f"ro,rescue=nologreplay,{disk.mount_options}"
    sh("mount", "-o", options, disk.image, disk.top)
    try:
        yield disk.top
    finally:
        disk.close()


def _require_whole(root: Path, name: str, pristine: Path) -> None:
    """Check everything that a session writes in a generation."""
    assert (root / "etc/generation-name").read_text() == f"{name}\n"
    line = f"{name}\n".encode()
    assert (root / "etc/payload").read_bytes() == (line * (100000 // len(line) + 1))[:100000]
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initramfs,) = (root / "boot").glob("initrd.img-*")
    image = (pristine / _HERE / "vmlinuz").read_bytes().replace(_SAID, name.encode())
    assert kernel.read_bytes() == image, f"{kernel} is not whole"
    start = (pristine / _HERE / "initramfs").read_bytes()
    found = initramfs.read_bytes()
    assert found.startswith(start), f"{initramfs} is not whole"
    assert found[len(start) :].count(line) == 1, f"{initramfs} is not whole"
    assert kernel.name.partition("-")[2] == initramfs.name.partition("-")[2]
    assert "ro=true" in sh("btrfs", "property", "get", "-ts", root, "ro")
