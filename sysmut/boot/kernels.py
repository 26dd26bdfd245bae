"""The kernels in a generation's /boot, and what is to be loaded with each.

Names are those of Alpine (`vmlinuz-lts`, `initramfs-lts`), Debian (`vmlinuz-6.1.0-18-amd64`,
`initrd.img-6.1.0-18-amd64`), Arch (`vmlinuz-linux`, `initramfs-linux.img`), Fedora and openSUSE.
"""

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Collection

from sysmut import inroot
from sysmut.boot.header import is_release
from sysmut.errors import BadData
from sysmut.values import frozen

_MOST_NAMES = 4096
# Compiled where they are used: most roots without a kernel never come there.
_PLAIN = r"[A-Za-z0-9._+@:%~-]+"
_MICROCODE = ("amd-ucode.img", "intel-ucode.img", "early_ucode.cpio", "ucode.img")
_INITRAMFS = ("initramfs-{}.img", "initramfs-{}", "initrd.img-{}", "initrd-{}", "initrd-{}.img")
_BARE_INITRAMFS = ("initramfs.img", "initrd.img", "initramfs", "initrd")
_KERNEL = r"(?s)vmlinuz(?:-(.+))?"
_NOT_ONE = (
    r"(?s).*(~|\.(old|bak|orig|new|tmp|part|hmac|sig|sign|asc|sha\d+(sum|hmac)?|dpkg-[a-z]+|ucf-[a-z]+"
    r"|apk-[a-z]+|rpm[a-z]+|pac[a-z]+)(\.[0-9]+)?)"
)
"""Copies and temporary files of package managers, editors and people, and signatures."""


@frozen
class Kernel:
    """A kernel with what the boot loader loads beside it; paths are from the generation's root."""

    path: str
    """`boot/vmlinuz-lts`"""
    name: str
    """The flavor or release that its file name tells: `lts`, `6.1.0-18-amd64`, `linux-lts`; "" where none."""
    initramfs: str | None
    """`boot/initramfs-lts`"""
    microcode: tuple[str, ...]
    """`boot/amd-ucode.img`, `boot/intel-ucode.img`"""


def find(root: int | str) -> tuple[Kernel, ...]:
    """The kernels in /boot of the root directory: those that a menu can name and those with an initramfs
    first, then the newest first.

    Fedora's rescue kernel counts only where there is no other, and of several links to one file only one.
    An empty file counts.
    """
    try:
        with contextlib.ExitStack() as stack:
            fd = stack.enter_context(inroot.opened_root(root)) if isinstance(root, str) else root
            return _find(fd)
    except OSError as error:
        if error.errno not in inroot.LEADS_NOWHERE:
            raise
        return ()


def _find(root: int) -> tuple[Kernel, ...]:
    with inroot.opened(root, "boot", os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as listing:
        found = {entry.name: entry.is_symlink() for entry in itertools.islice(listing, _MOST_NAMES)}
    names = [name for name in _distinct(root, found) if "-rescue-" not in name] or _distinct(root, found)
    microcode = tuple(f"boot/{name}" for name in _MICROCODE if name in found and _file(root, name))
    kernels = [_kernel(root, name, found, microcode) for name in sorted(names)]
    kernels.sort(key=lambda kernel: _version(root, kernel.name), reverse=True)  # stable: ties stay by name
    return tuple(sorted(kernels, key=lambda kernel: (not is_plain(kernel.path), kernel.initramfs is None)))


def choose(kernels: tuple[Kernel, ...], wanted: str | None) -> Kernel | None:
    """The kernel with this name, path or file name; the first where `wanted` is None. None if there is none."""
    for kernel in kernels:
        file_name = os.path.basename(kernel.path)
        if wanted is None or wanted.lstrip("/") in (kernel.name, kernel.path, file_name):
            return kernel
    return None


def label(root: int | str, wanted: str | None) -> str | None:
    """What the kernel that a root boots is called: its release where that is told without reading the kernel, else
    its name; None where there is none."""
    kernel = choose(find(root), wanted)
    return None if kernel is None else release_of(root, kernel, None) or kernel.name or os.path.basename(kernel.path)


def is_plain(path: str) -> bool:
    """Whether a path can stand in a boot menu, in a kernel's command line, and among the options of a mount."""
    return all(re.fullmatch(_PLAIN, part) for part in path.split("/"))


def none_found(path: str, known: tuple[Kernel, ...], wanted: str | None) -> BadData:
    """The error for a root, at `path` from the top level, in which `choose` chose none of the known."""
    if known and wanted is not None:
        names = ", ".join(kernel.name for kernel in known)
        return BadData(f"/{path}/boot: there is no kernel {wanted!r}", hint=f"there are: {names}")
    return BadData(f"/{path}/boot: there is no kernel", hint="install one in a new generation")


def release_of(root: int | str, kernel: Kernel, header_release: str | None) -> str | None:
    """The kernel's release, as `uname -r` would tell it: what its header says (header.read), else what
    Alpine has written down, else its name if there are modules by that name. None where nothing tells."""
    written = header_release or _written_release(root, kernel.name)
    if written or not is_release(kernel.name):
        return written
    modules = inroot.status(root, f"lib/modules/{kernel.name}")
    return kernel.name if modules is not None and stat.S_ISDIR(modules.st_mode) else None


def _distinct(root: int | str, found: dict[str, bool]) -> list[str]:
    """The names of kernels, each file once: by its own name rather than a link's, by a link that tells a
    flavor or release rather than by one that does not. `found` says of each name whether it is a link."""
    kept: dict[tuple[int, int], str] = {}
    names = [name for name in found if re.fullmatch(_KERNEL, name) and not _is_copy(name)]
    for name in sorted(names, key=lambda name: (found[name], name == "vmlinuz", name)):
        status = _file(root, name)
        if status is not None:
            kept.setdefault((status.st_dev, status.st_ino), name)
    return list(kept.values())


def _is_copy(name: str) -> bool:
    return re.fullmatch(_NOT_ONE, name) is not None or inroot.is_temporary(name)


def _file(root: int | str, name: str) -> os.stat_result | None:
    """The regular file by this name in /boot, links followed."""
    status = inroot.status(root, f"boot/{name}")
    return status if status is not None and stat.S_ISREG(status.st_mode) else None


def _kernel(root: int | str, file_name: str, names: Collection[str], microcode: tuple[str, ...]) -> Kernel:
    name = file_name.removeprefix("vmlinuz").removeprefix("-")
    patterns = [pattern.format(name) for pattern in _INITRAMFS] if name else _BARE_INITRAMFS
    beside = [f"boot/{each}" for each in patterns if each in names and _file(root, each)]
    return Kernel(f"boot/{file_name}", name, beside[0] if beside else None, microcode)


def _version(root: int | str, name: str) -> list[tuple[int, int, str]]:
    """A key that sorts releases by age, numbers as such: 6.1-rc1, 6.1, 6.1.0-9, 6.1.0-18, 6.10. A name
    in which there is no release, and of which none is written down, comes before them all."""
    release = re.search(r"[0-9]+\.[0-9].*", _written_release(root, name) or name, re.DOTALL)
    key: list[tuple[int, int, str]] = []
    for digits, letters in re.findall(r"([0-9]+)|([A-Za-z]+|~)", release[0] if release else ""):
        key.append((2, int(digits), "") if digits else ({"~": -2, "rc": -1}.get(letters, 1), 0, letters))
    return [*key, (0, 0, "")]  # the end: behind ~ and rc, before anything else


def _written_release(root: int | str, flavor: str) -> str | None:
    """What Alpine's packages write down of a flavor: the release of its kernel."""
    path = f"usr/share/kernel/{flavor}/kernel.release"
    status = inroot.status(root, path) if is_release(flavor) else None
    if status is None or status.st_size > 4096:
        return None
    try:
        text = inroot.read(root, path)
    except (OSError, BadData):  # it is only asked where to look
        return None
    release = text.decode(errors="replace").strip()
    return release if is_release(release) else None
