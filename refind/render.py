"""Entries to text that rEFInd reads back as the same entries: parse(render(entries)) has them again.

Every brace has a line of its own or ends one, because rEFInd closes a stanza at no other place; loader
stands before options, which it would reset; options are one quoted string; a submenu entry says all of
loader, initrd and options, so that it never boots a kernel with another one's initramfs."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from refind.model import Boot, Entry, Submenu

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._@%+:~-]+")


def render(entries: Iterable[Entry]) -> str:
    """The stanzas, one blank line between them. ValueError for what rEFInd could not read back."""
    return "\n".join("".join(f"{line}\n" for line in _entry(entry)) for entry in entries)


def _entry(entry: Entry) -> list[str]:
    """A stanza's lines. firmware_bootnum stands before loader, which it would reset."""
    lines = [f"menuentry {_quoted(entry.title)} {{"]
    lines += _said("icon", entry.icon, _path)
    lines += _said("ostype", entry.ostype, _quoted)
    lines += _said("firmware_bootnum", entry.firmware_bootnum, _quoted)
    lines += _common(entry)
    for submenu in entry.submenus:
        lines += ["", *(f"    {line}" for line in _submenu(submenu, entry))]
    return [*lines, "}"]


def _submenu(submenu: Submenu, parent: Entry) -> list[str]:
    """A submenu entry's lines, after all of its parent's. What the parent has said and this one has
    not can be taken back for initrd and options only."""
    for word in ("volume", "loader", "graphics"):
        if getattr(submenu, word) is None and getattr(parent, word) is not None:
            raise ValueError(f"{submenu.title!r}: a submenu entry cannot take back its parent's {word}; give it one")
    back = [
        f"    {word}"
        for word in ("initrd", "options")
        if getattr(submenu, word) is None and getattr(parent, word) is not None
    ]
    # With a volume of its own, even the same, its line in the menu would be `Boot TITLE from VOLUME`.
    own = replace(submenu, volume=None) if submenu.volume == parent.volume else submenu
    return [f"submenuentry {_quoted(submenu.title)} {{", *_common(own), *back, "}"]


def _common(boot: Boot) -> list[str]:
    lines = [
        *_said("volume", boot.volume, _quoted),
        *_said("loader", boot.loader, _path),
        *_said("initrd", boot.initrd, _path),
        *_said("options", boot.options, _quoted),
    ]
    if boot.graphics is not None:
        lines.append("    graphics on" if boot.graphics else "    graphics off")
    if boot.disabled:
        lines.append("    disabled")
    return lines


def _said(word: str, value: str | None, write: Callable[[str], str]) -> list[str]:
    return [] if value is None else [f"    {word} {write(value)}"]


def _quoted(text: str) -> str:
    """In quotes: nothing within changes, and a quote is doubled."""
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"rEFInd reads plain ASCII only, on one line: {text!r}")
    return '"' + text.replace('"', '""') + '"'


def _path(path: str) -> str:
    """A path, given with `/`. Outside quotes rEFInd makes each `/` the `\\` that the firmware wants;
    within quotes, which a path with a blank needs, it does not."""
    if "\\" in path:
        raise ValueError(f"a path is given with / here, not with \\: {path!r}")
    if _PLAIN_PATH.fullmatch(path):
        return path
    return _quoted(path.replace("/", "\\"))
