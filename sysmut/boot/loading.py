"""What is loaded to boot a generation: kernel, microcode, initramfs, modules, and init, each looked at."""

import os
import stat

from sysmut import inroot, layout
from sysmut.boot import files, header, initramfs, kernels, programs, readable
from sysmut.boot.finding import Findings
from sysmut.config import Config
from sysmut.errors import BadData
from sysmut.toplevel import TopLevel

_INIT = "sbin/init"
_ALSO_RUNS = {"x86_64": "i386", "aarch64": "arm"}
"""Kernel -> what it runs besides its own programs."""

_NEW_SESSION = "make a new generation: a session writes it anew"
_AGAIN = "install the kernel's package again in a new generation"
_ANEW = "make it anew with the distribution's tool (mkinitfs, update-initramfs, mkinitcpio, dracut)"


def look(findings: Findings, top: TopLevel, name: str, config: Config) -> None:
    """Find what keeps a generation from booting in what is loaded for that."""
    _init(findings, top, name)
    _kernel(findings, top, name, config)


def _init(findings: Findings, top: TopLevel, name: str) -> None:
    """Is there something to start, and what starts that?"""
    root = top.at(layout.root(name))
    where = f"/{layout.root(name)}/{_INIT}"
    status = inroot.status(root, _INIT)
    advice = "put it back in a new generation"
    if status is None or not stat.S_ISREG(status.st_mode):
        findings.error(where, "is missing, or leads to nothing in that root", advice)
        return
    if status.st_size == 0 or not status.st_mode & 0o111:
        findings.error(where, "is empty" if status.st_size == 0 else "cannot be executed", advice)
        return
    with inroot.opened(root, _INIT) as fd, open(f"/proc/self/fd/{fd}", "rb") as file:
        interpreter = programs.interpreter(file)
    if interpreter is None:
        findings.error(where, "is neither a program nor a script", advice)
    elif interpreter and not _can_be_started(root, interpreter):
        findings.error(where, f"needs {interpreter}, which is missing or cannot be executed", advice)


def _can_be_started(root: str, path: str) -> bool:
    status = inroot.status(root, path)
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 != 0


def _kernel(findings: Findings, top: TopLevel, name: str, config: Config) -> None:
    root = top.at(layout.root(name))
    known = kernels.find(root)
    kernel = kernels.choose(known, config.kernel)
    if kernel is None:
        error = kernels.none_found(layout.root(name), known, config.kernel)
        findings.error(error.message, "", error.hint)
        return
    if not kernels.is_plain(kernel.path):
        advice = "rename it with its initramfs, to letters, digits and . _ + @ : % ~ -"
        findings.error(f"/{layout.root(name)}/{kernel.path}", "has a name that cannot stand in a boot menu", advice)
        return
    release = _image(findings, top, name, kernel)
    if release is not None:
        _modules(findings, root, name, release)
    for path in kernel.microcode:
        _file(findings, top, name, path, may_be_empty=True)
    if kernel.initramfs is None:
        findings.error(f"/{layout.root(name)}/{kernel.path}", "has no initramfs beside it, to mount the root", _ANEW)
    else:
        _initramfs(findings, top, name, kernel.initramfs, release)


def _file(findings: Findings, top: TopLevel, name: str, path: str, *, may_be_empty: bool = False) -> bool:
    """Can the boot loader read this file? False if not, as a finding."""
    where = f"/{layout.root(name)}/{path}"
    try:
        with files.opened(top, name, path) as (_, status):
            if status.st_size == 0:
                find = findings.warning if may_be_empty else findings.error
                find(where, "is empty", "install or make it again in a new generation")
                return False
        flaws = readable.flaws(top.fd, where)
    except BadData as error:
        findings.error(where, error.message, error.hint)
        return False
    for flaw in flaws:
        findings.error(where, f"has {flaw}, which the boot loader cannot read", _NEW_SESSION)
    return True


def _image(findings: Findings, top: TopLevel, name: str, kernel: kernels.Kernel) -> str | None:
    """Is it a kernel for this machine? Its release, if it can be told."""
    where = f"/{layout.root(name)}/{kernel.path}"
    if not _file(findings, top, name, kernel.path):
        return None
    try:
        with files.opened(top, name, kernel.path) as (file, status):
            found = header.read(file, status.st_size)
    except (ValueError, OSError) as error:
        findings.error(where, _told(error), _AGAIN)
        return None
    root = top.at(layout.root(name))
    machine = _machine(root)
    if machine is not None and machine not in (found.machine, _ALSO_RUNS.get(found.machine)):
        findings.error(where, f"is for {found.machine}, and the programs beside it are for {machine}", "")
    return kernels.release_of(root, kernel, found.release)


def _told(error: ValueError | OSError) -> str:
    """What a finding says of a file that is damaged, or lies on a damaged place of the disk."""
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _machine(root: str) -> str | None:
    """The machine that the root's init is made for; None where it is a script."""
    status = inroot.status(root, _INIT)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    with inroot.opened(root, _INIT) as fd, open(f"/proc/self/fd/{fd}", "rb") as file:
        return header.machine_of_elf(file.read(64))


def _modules(findings: Findings, root: str, name: str, release: str) -> None:
    for place in ("lib/modules", "usr/lib/modules"):
        try:
            with inroot.opened(root, place, os.O_RDONLY | os.O_DIRECTORY) as fd:
                others = os.listdir(fd)
        except OSError:
            continue
        if release in others:
            return
        if others:
            findings.error(
                f"/{layout.root(name)}/{place}",
                f"has no modules for the kernel {release}, but for {', '.join(sorted(others)[:3])}",
                "install the kernel and its modules together",
            )
            return
    findings.warning(f"/{layout.root(name)}/lib/modules", f"has no modules for the kernel {release}")


def _initramfs(findings: Findings, top: TopLevel, name: str, path: str, release: str | None) -> None:
    where = f"/{layout.root(name)}/{path}"
    if not _file(findings, top, name, path):
        return
    try:
        contents = files.contents(top, name, path)
    except (ValueError, OSError) as error:
        findings.error(where, _told(error), _ANEW)
        return
    if contents.unknown:
        findings.note(where, f"is {contents.unknown}")
        return
    if release is None:
        if not contents.btrfs:
            findings.warning(where, "has no btrfs in it, and the kernel does not say whether it has", _ANEW)
        return
    if contents.releases and release not in contents.releases:
        others = ", ".join(sorted(contents.releases)[:3])
        findings.error(where, f"has modules for {others}, and not for the kernel {release}", _ANEW)
    elif release not in contents.btrfs and not contents.releases and not _has_modules(top, name, release):
        findings.warning(where, "has no modules in it: btrfs must be built into the kernel, which nothing tells")
    elif release not in contents.btrfs and not _is_built_in(top.at(layout.root(name)), release):
        findings.error(where, "has no btrfs in it, so the root could not be mounted", _ANEW)


def _has_modules(top: TopLevel, name: str, release: str) -> bool:
    return inroot.status(top.at(layout.root(name)), f"lib/modules/{release}") is not None


def _is_built_in(root: str, release: str) -> bool:
    try:
        return initramfs.builtin(root, release)
    except BadData:  # the list is no file
        return False
