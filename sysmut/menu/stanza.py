"""The boot menu of a system: what each slot and pin really has, as one stanza of rEFInd's language.

Slot 0 is the entry itself, which boots by default; the other slots and the pins are entries of its
submenu. Each says loader, initrd and options whole, by way of `/current/N/@`, so that the file stays
right when `current` moves, unless the names of the kernels change.
"""

import os
import re
from collections.abc import Iterable

from refind.model import Entry, Submenu
from refind.render import render
from sysmut import fstab, inroot, layout
from sysmut.boot import files
from sysmut.boot.kernels import Kernel, choose, find, is_plain, none_found
from sysmut.config import Config
from sysmut.errors import BadData, SysmutError
from sysmut.generations import State
from sysmut.toplevel import TopLevel
from sysmut.values import frozen, replace

VANISHING = "changes vanish at reboot"

OPTIONS_LIMIT = 2000
"""Characters of a command line that the kernel is sure to take whole."""

_LONGEST_TITLE = 64

_HEADER = """\
# Written by `sysmut refind --install`, which writes it anew: what is changed here is lost.
# Settings for it are in /etc/sysmut.toml.

"""
_ICONS = frozenset(
    (
        *("arch", "centos", "debian", "devuan", "elementary", "fedora", "gentoo", "linuxmint", "mageia", "manjaro"),
        *("opensuse", "slackware", "suse", "ubuntu", "void"),
    )
)
"""The distributions' ids for which rEFInd has an icon."""

_PLAIN_OPTION = re.compile(r"[A-Za-z0-9._+@:%/=-]+")
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/")


@frozen
class Choice:
    """One thing that can be booted, as it stands on disk."""

    title: str
    place: str
    """The path of its root subvolume, by the slot's or pin's link: `/current/1/@`."""
    kernel: Kernel
    flags: tuple[str, ...]
    """The mount options of the root line in its fstab, apart from the subvolume."""
    resume: str | None
    """The first swap device of its fstab."""
    overlay: bool
    """Whether its initramfs knows `overlaytmpfs`."""


@frozen
class Menu:
    """What the menu offers."""

    title: str
    icon: str
    choices: tuple[Choice, ...]
    """Slot 0 first."""
    left_out: tuple[str, ...]
    """Why something is not offered."""


def survey(top: TopLevel, state: State, config: Config, *, by_generation: bool = False) -> Menu:
    """What the menu for this state is to offer.

    `by_generation` names every slot by its generation's own path: a menu that stays right while
    `current` moves. Raises BadData where slot 0 cannot be offered.
    """
    choices, left_out = [], []
    seen: dict[str, Choice | SysmutError] = {}
    for title, link, generation in _offers(top, state):
        if generation is not None and generation not in seen:
            seen[generation] = _look(top, generation, config)
        found = BadData("it leads to no generation itself") if generation is None else seen[generation]
        path = layout.generation(generation) if by_generation and generation else link
        if isinstance(found, Choice):
            found = _placed(replace(found, title=title, place=f"/{path}/{layout.ROOT}"), link, top, config)
        if isinstance(found, Choice):
            choices.append(found)
        elif not choices:
            raise BadData(f"slot 0 cannot be in the boot menu: {found.message}", hint=found.hint)
        else:
            left_out.append(f"{title.lower()} is not in the boot menu: {found.message}")
    title, icon = _appearance(top, state.slots[0] or "", config)
    return Menu(title, icon, tuple(choices), tuple(left_out))


def _placed(choice: Choice, link: str, top: TopLevel, config: Config) -> Choice | BadData:
    """The choice, or why it cannot be offered by its name."""
    if not is_plain(link) or not is_plain(choice.place.lstrip("/")):
        return BadData("its name cannot stand in a command line", hint="take letters, digits and . _ + @ : % ~ -")
    try:
        _submenu(choice, top.filesystem, "", config, "overlaytmpfs" if choice.overlay else "")
    except BadData as error:
        return error
    return choice


def _offers(top: TopLevel, state: State) -> Iterable[tuple[str, str, str | None]]:
    """Each slot and pin: its title, the link (a path from the top level) by which it is named, and the
    generation. A pin counts only if it names the generation itself: one by way of `current` would change
    with that."""
    for number, name in enumerate(state.slots):
        yield f"Fallback {number}" if number else "Slot 0", f"{layout.CURRENT}/{number}", name
    for pin, generation in sorted(state.pins.items()):
        link = f"{layout.PINS}/{pin}"
        direct = layout.target_in(link, layout.SNAPSHOTS, os.readlink(top.at(link))) == generation
        yield f"Pin {pin}", link, generation if direct else None


def _look(top: TopLevel, generation: str, config: Config) -> Choice | SysmutError:
    """What a generation has to boot with, without title and place; or why it has not."""
    path = layout.root(generation)
    root = top.at(path)
    try:
        known = find(root)
        kernel = choose(known, config.kernel)
        if kernel is None:
            return none_found(path, known, config.kernel)
        if not is_plain(kernel.path) or not is_plain(kernel.initramfs or kernel.path):
            return BadData(
                f"/{path}/boot: a kernel's name cannot stand in a boot menu", hint="take one of letters and digits"
            )
        entries = fstab.entries(inroot.read_text(root, "etc/fstab"), f"/{path}/etc/fstab")
        flags = [fstab.kernel_options(entry) for entry in entries if entry.target == "/"]
        swaps = [entry.source for entry in entries if entry.fstype == "swap" and entry.source.startswith(_TAGS)]
        swaps = [source for source in swaps if "zram" not in source and _PLAIN_OPTION.fullmatch(source)]
        overlay = kernel.initramfs is not None and _knows_overlay(top, generation, kernel.initramfs)
    except SysmutError as error:
        return error
    except OSError as error:
        return BadData(f"/{path}: {error.filename}: {error.strerror}")
    return Choice("", "", kernel, flags[-1] if flags else ("ro",), swaps[0] if swaps else None, overlay)


def _knows_overlay(top: TopLevel, generation: str, path: str) -> bool:
    try:
        return files.contents(top, generation, path).overlaytmpfs
    except (ValueError, BadData):  # it is damaged, which is for the check to tell
        return False


def _appearance(top: TopLevel, generation: str, config: Config) -> tuple[str, str]:
    """The entry's title, and the name of its icon: from the settings, else from os-release."""
    values: dict[str, str] = {}
    try:
        text = inroot.read_text(top.at(layout.root(generation)), "etc/os-release")
        for line in text.split("\n"):
            key, separator, value = line.strip().partition("=")
            if separator:
                values[key] = value.strip("\"'")
    except (OSError, BadData):
        pass
    title = (config.title or values.get("NAME", ""))[:_LONGEST_TITLE].strip()
    if not title.isascii() or not title.isprintable() or not title:
        title = "Linux"
    kinds = [kind for kind in (values.get("ID", ""), *values.get("ID_LIKE", "").split()) if kind in _ICONS]
    return title, config.icon or f"os_{(kinds or ['linux'])[0]}.png"


def entry(menu: Menu, filesystem: str, volume: str, config: Config, icons: str) -> Entry:
    """The stanza's value. `filesystem` is the UUID, `icons` the folder of icons on the system partition.

    Raises BadData for a command line that the kernel would cut off.
    """
    first, *others = menu.choices
    icon = menu.icon if "/" in menu.icon else f"{icons}/{menu.icon}"
    submenus = [_submenu(choice, filesystem, volume, config) for choice in others]
    for choice in menu.choices:
        if choice.overlay:
            vanishing = replace(choice, title=f"{choice.title}, {VANISHING}")
            submenus.append(_submenu(vanishing, filesystem, volume, config, "overlaytmpfs"))
    main = _submenu(first, filesystem, volume, config)
    return Entry(menu.title, volume, main.loader, main.initrd, main.options, icon=icon, submenus=tuple(submenus))


def _submenu(choice: Choice, filesystem: str, volume: str, config: Config, *more: str) -> Submenu:
    path = {name: f"{choice.place}/{name}" for name in (choice.kernel.path, *choice.kernel.microcode)}
    initrd = None if choice.kernel.initramfs is None else f"{choice.place}/{choice.kernel.initramfs}"
    words = list(_command_line(choice, filesystem, config, more))
    # initrd counts once; the kernel's own loader takes these in their order, and that one after them.
    words += ["initrd=" + path[name].replace("/", "\\") for name in choice.kernel.microcode]
    submenu = Submenu(choice.title, volume, path[choice.kernel.path], initrd, " ".join(words))
    if len(submenu.command_line) > OPTIONS_LIMIT:
        raise BadData(
            f"its kernel's command line has {len(submenu.command_line)} characters, and a kernel takes {OPTIONS_LIMIT}",
            hint="make kernel_options shorter, or the options of the root line in its fstab",
        )
    return submenu


def _command_line(choice: Choice, filesystem: str, config: Config, more: tuple[str, ...]) -> Iterable[str]:
    plain = [flag for flag in choice.flags if flag not in ("rw", "ro") and _PLAIN_OPTION.fullmatch(flag)]
    yield f"root=UUID={filesystem}"
    yield "rootfstype=btrfs"
    yield "rootflags=" + ",".join([f"subvol={choice.place}", "ro", *plain])  # Alpine's initramfs has no other ro
    yield "ro"
    if choice.resume is not None:
        yield f"resume={choice.resume}"
    if config.panic:
        yield f"panic={config.panic}"
    yield from (word for word in more if word)
    yield from config.kernel_options.split()


def text(found: Entry) -> str:
    """The whole of sysmut's file beside refind.conf."""
    try:
        return _HEADER + render([found])
    except ValueError as error:
        raise BadData(f"the boot menu cannot be written: {error}") from None
