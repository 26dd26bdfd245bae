"""Would it boot? Every condition known to keep a generation from it, each asked for."""

import os
import stat
from collections.abc import Callable

from sysmut import btrfs, fstab, generations, inroot, layout
from sysmut.boot import files, header, initramfs, kernels, programs, readable
from sysmut.boot.finding import Finding, Findings
from sysmut.boot.menu import no_kernel
from sysmut.config import Config
from sysmut.errors import BadData, SysmutError
from sysmut.generations import State
from sysmut.toplevel import TopLevel

_INIT = "sbin/init"
_FSTAB = "etc/fstab"
_NEEDED = ("dev", "proc", "run", "sys")
_UNREADABLE_PROFILES = {"raid1c3": "before 0.14.2 ", "raid1c4": ""}
_ALSO_RUNS = {"x86_64": "i386", "aarch64": "arm"}
"""Kernel -> what it runs besides its own programs."""

_NEW_SESSION = "make a new generation: a session writes it anew"


def has_kernel(top: TopLevel, generation: str) -> bool:
    """Whether there is any kernel in the generation's /boot."""
    return bool(kernels.find(top.at(layout.root(generation))))


def filesystem(top: TopLevel, state: State | None) -> tuple[Finding, ...]:
    """What concerns every generation: links, and what the boot loader makes of the filesystem."""
    findings = Findings(None)
    if state is not None:
        for number, name in enumerate(state.slots):
            if name is None:
                advice = "publish or activate a generation: it takes the slot's place"
                findings.error(f"slot {number}", "leads nowhere: its generation is gone", advice)
    default = btrfs.default_subvolume(top.fd)
    if default != btrfs.FS_TREE:
        findings.error(
            "the filesystem's default subvolume",
            f"is {default} and not {btrfs.FS_TREE}: the boot loader would begin there",
            "set it back: btrfs subvolume set-default 5 DIRECTORY",
        )
    for profile in sorted(btrfs.profiles(top.fd, top.path) & set(_UNREADABLE_PROFILES)):
        findings.error(
            "the filesystem",
            f"has block groups of {profile.upper()}, which rEFInd's driver {_UNREADABLE_PROFILES[profile]}cannot read",
            "convert them: btrfs balance start -dconvert=raid1 -mconvert=raid1 DIRECTORY",
        )
    return tuple(findings.found)


def generation(top: TopLevel, name: str, config: Config, *, kernel: bool, sealed: bool = True) -> tuple[Finding, ...]:
    """What keeps one generation from booting. `kernel`: whether it should have one, so that what it
    boots with is looked at too; `sealed`: whether it should be."""
    findings = Findings(name)
    root = layout.root(name)
    if not btrfs.is_subvolume(top.at(root)):
        findings.error(f"/{root}", "is not there", "take another generation: sysmut status shows the slots")
        return tuple(findings.found)
    if sealed:
        _attempt(findings, lambda: generations.require_sealed(top, name))
    _attempt(findings, lambda: generations.require_whole(top, name))
    _fstab(findings, top, name)
    if kernel:
        _init(findings, top, name)
        _kernel(findings, top, name, config)
    return tuple(findings.found)


def _attempt(findings: Findings, check: Callable[[], None]) -> None:
    """Make a finding of what a requirement of the generations room says."""
    try:
        check()
    except SysmutError as error:
        findings.error(error.message, "", error.hint)


def _fstab(findings: Findings, top: TopLevel, name: str) -> None:
    root = top.at(layout.root(name))
    where = f"/{layout.root(name)}/{_FSTAB}"
    try:
        entries = fstab.entries(inroot.read_text(root, _FSTAB), where)
    except (OSError, BadData):
        entries = ()  # already a finding of require_whole
    for entry in entries:
        if entry.target == "/" and "ro" not in entry.option_list:
            findings.warning(
                f"{where}, line {entry.line}:",
                "the line for / does not say ro, so the system would try to make a sealed root writable",
                "put ro into its options in the template, /fstab at the top level",
            )
    points = fstab.mount_points(entries, _NEEDED)
    optional = {entry.target.strip("/") for entry in entries if {"nofail", "noauto"} & set(entry.option_list)}
    for path in points:
        status = inroot.status(root, path)
        if (status is None or not stat.S_ISDIR(status.st_mode)) and path not in optional:
            findings.error(
                f"/{layout.root(name)}/{path}",
                "is missing: it is mounted over, and a read-only root cannot make it",
                "make the directory in a new generation",
            )


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
    elif interpreter and inroot.status(root, interpreter) is None:
        findings.error(where, f"needs {interpreter}, which is missing", advice)


def _kernel(findings: Findings, top: TopLevel, name: str, config: Config) -> None:
    root = top.at(layout.root(name))
    known = kernels.find(root)
    kernel = kernels.choose(known, config.kernel)
    if kernel is None:
        error = no_kernel(layout.root(name), known, config)
        findings.error(error.message, "", error.hint)
        return
    release = _image(findings, top, name, kernel)
    if release is not None:
        _modules(findings, root, name, release)
    for path in kernel.microcode:
        _file(findings, top, name, path)
    if kernel.initramfs is None:
        advice = "make one with the distribution's tool (mkinitfs, update-initramfs, mkinitcpio, dracut)"
        findings.error(f"/{layout.root(name)}/{kernel.path}", "has no initramfs beside it, to mount the root", advice)
    else:
        _initramfs(findings, top, name, kernel.initramfs, release)


def _file(findings: Findings, top: TopLevel, name: str, path: str) -> bool:
    """Can the boot loader read this file? False if not, as a finding."""
    where = f"/{layout.root(name)}/{path}"
    try:
        with files.opened(top, name, path) as (_, status):
            if status.st_size == 0:
                findings.error(where, "is empty", "install its package again in a new generation")
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
    except ValueError as error:
        findings.error(where, str(error), "install the kernel's package again in a new generation")
        return None
    root = top.at(layout.root(name))
    machine = _machine(root)
    if machine is not None and machine not in (found.machine, _ALSO_RUNS.get(found.machine)):
        findings.error(where, f"is for {found.machine}, and the programs beside it are for {machine}", "")
    return kernels.release_of(root, kernel, found.release)


def _machine(root: str) -> str | None:
    """The machine that the root's init is made for; None where it is a script."""
    if inroot.status(root, _INIT) is None:
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
    advice = "make it anew with the distribution's tool (mkinitfs, update-initramfs, mkinitcpio, dracut)"
    try:
        contents = files.contents(top, name, path)
    except ValueError as error:
        findings.error(where, str(error), advice)
        return
    if contents.unknown:
        findings.note(where, f"is {contents.unknown}")
        return
    if release is None:
        if not contents.btrfs:
            findings.warning(where, "has no btrfs in it, and the kernel does not say whether it has", advice)
        return
    if contents.releases and release not in contents.releases:
        others = ", ".join(sorted(contents.releases)[:3])
        findings.error(where, f"has modules for {others}, and not for the kernel {release}", advice)
    elif release not in contents.btrfs and not initramfs.builtin(top.at(layout.root(name)), release):
        findings.error(where, "has no btrfs in it, so the root could not be mounted", advice)
