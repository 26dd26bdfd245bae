"""Would it boot? Every condition known to keep a generation from it, each asked for."""

import os
import stat
from collections.abc import Callable, Iterable

from sysmut import btrfs, fstab, generations, inroot, layout
from sysmut.boot import kernels
from sysmut.boot.finding import Finding, Findings
from sysmut.config import Config
from sysmut.errors import BadData, SysmutError
from sysmut.generations import State
from sysmut.toplevel import TopLevel

_FSTAB = "etc/fstab"
_NEEDED = ("dev", "proc", "run", "sys")
_UNREADABLE_PROFILES = {"raid1c3": "before 0.14.2 ", "raid1c4": ""}


def has_kernel(top: TopLevel, generation: str) -> bool:
    """Whether there is any kernel in the generation's /boot."""
    return bool(kernels.find(top.at(layout.root(generation))))


def is_to_boot(top: TopLevel, names: Iterable[str | None]) -> bool:
    """Whether any of the generations has a kernel: whether this is a system to boot at all."""
    return any(has_kernel(top, name) for name in set(names) if name is not None)


def leads_to(top: TopLevel, link: str, generation: str) -> bool:
    """Whether the boot loader finds the generation's root by way of the link, a path from the top level."""
    root = top.at(layout.root(generation))
    if not btrfs.is_subvolume(root):
        return True  # which is found elsewhere
    try:
        with inroot.opened(top.fd, f"{link}/{layout.ROOT}") as fd:
            return os.path.samestat(os.fstat(fd), os.stat(root))
    except OSError:
        return False


def filesystem(top: TopLevel, state: State | None) -> tuple[Finding, ...]:
    """What concerns every generation: links, and what the boot loader makes of the filesystem."""
    findings = Findings(None)
    if state is not None:
        for number, name in enumerate(state.slots):
            if name is None:
                advice = "publish or activate a generation: it takes the slot's place"
                findings.error(f"slot {number}", "leads nowhere: its generation is gone", advice)
            elif not leads_to(top, f"{layout.CURRENT}/{number}", name):
                advice = f"activate it: sysmut activate {name}, which makes the links anew"
                findings.error(f"slot {number}", f"does not lead to {layout.generation(name)} itself", advice)
        for pin in generations.unresolved_pins(top, state):
            findings.warning(f"pin {pin}", "leads nowhere, so it keeps nothing", f"remove it: /{layout.PINS}/{pin}")
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
        from sysmut.boot import loading  # late: a root for containers has nothing to load

        loading.look(findings, top, name, config)
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
    bound = {entry.target.strip("/") for entry in entries if {"bind", "rbind"} & set(entry.option_list)}
    optional = {entry.target.strip("/") for entry in entries if {"nofail", "noauto"} & set(entry.option_list)}
    for path in points:
        status = inroot.status(root, path)
        fits = status is not None and (path in bound or stat.S_ISDIR(status.st_mode))  # a file is bound on a file
        if not fits and path not in optional:
            findings.error(
                f"/{layout.root(name)}/{path}",
                "is missing: it is mounted over, and a read-only root cannot make it",
                "make the directory in a new generation",
            )
