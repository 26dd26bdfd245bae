"""rEFInd's own files, as the packages of distributions have them, and what its binaries say of themselves.

Where they are: Debian and the project's own RPM have them in `usr/share/refind` (`-VERSION`) with a `refind`
below it, Arch and Alpine without; drivers are in `drivers_x64`, on Alpine in `drivers_x86_64`. The files
may be a generation's, so they are found and read inside that root, and must be what they claim to be.
"""

import contextlib
import os
import re
import struct

from sysmut import inroot
from sysmut.errors import BadData, NotSysmut, UsageError
from sysmut.values import frozen

_MACHINES = {"x64": 0x8664, "aa64": 0xAA64, "ia32": 0x14C}
"""The firmware's name of each architecture that rEFInd is made for; how a binary says it."""
_OTHER_NAMES = {"x64": "x86_64", "aa64": "aarch64", "ia32": "x86"}
_PLACES = ("usr/share/refind/refind", "usr/share/refind", "usr/lib/refind")
_VERSIONED = "refind-"
_VERSION = re.compile(rb"(?:\d\0){1,4}\.\0(?:\d\0){1,4}\.\0(?:\d\0){1,4}(?:\.\0(?:\d\0){1,4})?")
_NAME = "rEFInd".encode("utf-16-le")
_NEAR = 64
"""Bytes between a version and the name. In the driver it is `rEFInd 0.13.2 btrfs File System Driver`; the
loader has its version just before `rEFInd Version %s`."""
_ICON = re.compile(r"[a-zA-Z0-9_-]{1,60}\.(?:png|icns)")
_MOST_OF_ICONS = 8 * 2**20
"""Bytes. The package's have 0.7 MiB; a system partition may have 100."""
_MOST_VERSIONS = 4


@frozen
class Files:
    """Where they are: paths in the root directory `root`."""

    root: str
    loader: str
    driver: str
    icons: str | None

    def shown(self, path: str) -> str:
        """The path as the user knows it."""
        return os.path.join(self.root, path)

    def read_binary(self, path: str, arch: str) -> bytes:
        """The content of the loader or driver. Raises BadData unless it is an EFI program for `arch`."""
        try:
            data = inroot.read(self.root, path)
        except BadData as error:
            raise BadData(f"{os.path.join(self.root, error.message)}") from None
        if not is_program(data, arch):
            raise BadData(f"{self.shown(path)}: not an EFI program for {arch}", hint="install the package anew")
        return data

    def read_icons(self) -> tuple[tuple[str, bytes], ...]:
        """Name and content of each icon, by name; what is no regular file, or too large, is passed over."""
        found = []
        room = _MOST_OF_ICONS
        for name in _names(self.root, self.icons) if self.icons else ():
            if _ICON.fullmatch(name):
                with contextlib.suppress(BadData, OSError):
                    data = inroot.read(self.root, f"{self.icons}/{name}")
                    room -= len(data)
                    if room < 0:
                        break
                    found.append((name, data))
        return tuple(found)


def find_files(roots: tuple[str, ...], arch: str, folder: str | None = None) -> Files:
    """rEFInd's files for `arch` (x64, aa64, ia32): in the directory `folder` alone if it is given, else in
    the first of the root directories that has them.

    Raises UsageError for a folder, NotSysmut for roots, without them.
    """
    places = [(top, place) for top in roots for place in _places(top)]
    for root, place in places if folder is None else [(os.path.realpath(folder), "")]:
        found = _in_place(root, place, arch)
        if found is not None:
            return found
    wanted = f"refind_{arch}.efi and a folder drivers_{arch} with btrfs_{arch}.efi"
    if folder is not None:
        raise UsageError(f"--from {folder}: rEFInd is not in it ({wanted})")
    hint = "install the package refind (Debian, Alpine, Arch), or name the directory: --from DIR"
    raise NotSysmut(f"rEFInd's files were not found: {wanted}", hint=hint)


def version(data: bytes) -> tuple[int, ...] | None:
    """The version of rEFInd that its loader or one of its drivers states; None where none is found. Drivers
    before 0.14.2 cannot read RAID1C3."""
    for match in _VERSION.finditer(data):
        if _NAME in data[max(0, match.start() - _NEAR) : match.end() + _NEAR]:
            return tuple(int(part) for part in match[0].decode("utf-16-le").split("."))
    return None


def is_refind(data: bytes) -> bool:
    """Whether a program is rEFInd."""
    return _NAME in data


def is_program(data: bytes, arch: str) -> bool:
    """Whether this is an EFI program or driver (a PE file) for the architecture."""
    if len(data) < 64 or data[:2] != b"MZ":
        return False
    at = struct.unpack_from("<I", data, 60)[0]
    return data[at : at + 6] == b"PE\0\0" + struct.pack("<H", _MACHINES[arch])


def firmware_arch() -> str:
    """The architecture of this machine's firmware, as rEFInd's file names have it: x64, aa64 or ia32."""
    return arch_of(os.uname().machine, _firmware_bits())


def arch_of(machine: str, bits: str) -> str:
    """The same for the name of a machine as uname(2) has it, with firmware of so many bits (empty if that is
    not known). Raises NotSysmut for one that rEFInd is not made for."""
    if machine == "aarch64":
        return "aa64"
    if re.fullmatch("x86_64|i[3-6]86", machine):
        return "x64" if bits == "64" or (bits == "" and machine == "x86_64") else "ia32"
    raise NotSysmut(f"rEFInd is not made for {machine}")


def _firmware_bits() -> str:
    try:
        with open("/sys/firmware/efi/fw_platform_size", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _places(root: str) -> list[str]:
    versioned = [name for name in _names(root, "usr/share") if name.startswith(_VERSIONED)]
    newest = sorted(versioned, key=lambda name: [int(part) for part in re.findall(r"\d{1,9}", name)], reverse=True)
    return [*_PLACES, *(f"usr/share/{name}{below}" for name in newest[:_MOST_VERSIONS] for below in ("/refind", ""))]


def _in_place(root: str, place: str, arch: str) -> Files | None:
    names = _names(root, place)
    loader = f"refind_{arch}.efi"
    folders = [f"drivers_{arch}", f"drivers_{_OTHER_NAMES[arch]}", "drivers"]
    drivers = [os.path.join(place, folder, f"btrfs_{arch}.efi") for folder in folders if folder in names]
    there = [path for path in drivers if inroot.status(root, path) is not None]
    if loader not in names or not there:
        return None
    icons = os.path.join(place, "icons") if "icons" in names else None
    return Files(root, os.path.join(place, loader), there[0], icons)


def _names(root: str, path: str) -> list[str]:
    """The names in a directory of the root; none where it is not there, or cannot be read."""
    try:
        with inroot.opened(root, path or ".", os.O_RDONLY | os.O_DIRECTORY) as fd:
            return sorted(os.listdir(fd))
    except OSError:
        return []
