"""Pictures of the boot menu as a user sees it: `python3 -m tests.boot.picture docs/boot-menu.png`, as root.

Beside the picture of the menu comes that of what F2 opens, docs/boot-submenu.png.
"""

import struct
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from tests.boot.conftest import unpacked
from tests.boot.disk import MIB, DiskLab
from tests.boot.machine import PATIENCE, Machine
from tests.boot.menu import DETAILS
from tests.bootable import bootable_root
from tests.lab import FIRST, busybox_root

WIDTH, HEIGHT = 1024, 768
"""Other than what the firmware takes by itself, so that it shows when rEFInd has begun."""
_OLDER = ("20251203081500AbCdEfGh", "20251119193000AbCdEfGh", "20251101120000AbCdEfGh")
_DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n'


@dataclass(frozen=True)
class Picture:
    """What is on a screen: its size in pixels, and three bytes (red, green, blue) for each, by line."""

    width: int
    height: int
    pixels: bytes

    @property
    def colours(self) -> int:
        """How many different ones there are."""
        return len({self.pixels[at : at + 3] for at in range(0, len(self.pixels), 3)})

    def png(self) -> bytes:
        """The picture as a PNG file (RFC 2083), as small as it gets without choosing filters."""
        step = self.width * 3
        lines = b"".join(b"\0" + self.pixels[at : at + step] for at in range(0, len(self.pixels), step))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = {b"IHDR": header, b"IDAT": zlib.compress(lines, 9), b"IEND": b""}
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def take(directory: Path, refind_files: Path) -> tuple[Picture, Picture]:
    """The menu of a Debian with four generations and a pin, and its submenu. The disk is made in the
    directory; `refind_files` is where rEFInd's program, driver and icons are."""
    disk = DiskLab(directory, 256 * MIB)
    try:
        _lay_out(disk, directory)
        disk.set_up_menu(refind_files, timeout=0)
        main = "EFI/BOOT/refind.conf"
        disk.esp_write({main: f"resolution {WIDTH} {HEIGHT}\n".encode() + disk.esp_read(main)})
        with disk.started(screen=True) as machine:
            menu = _settled(machine, directory / "screen.ppm")
            machine.send(DETAILS)
            return menu, _settled(machine, directory / "screen.ppm", before=menu)
    finally:
        disk.close()
        disk.image.unlink()


def _lay_out(disk: DiskLab, directory: Path) -> None:
    root = busybox_root(directory / "busybox")
    (root / "etc/os-release").write_text(_DEBIAN)
    disk.lay_out(bootable_root(root, directory, overlay=True))
    for generation in _OLDER:
        disk.add_generation(generation)
    disk.link([FIRST, *_OLDER], "20260101000002AbCdEfGh")
    (disk.top / "pins").mkdir()
    (disk.top / "pins/installed").symlink_to(f"../snapshots/{_OLDER[-1]}")


def _settled(machine: Machine, file: Path, before: Picture | None = None) -> Picture:
    """What rEFInd shows, once it has drawn it: twice the same, of its size, with icons, and not `before`."""
    deadline = time.monotonic() + PATIENCE
    last = None
    while time.monotonic() < deadline:
        machine.qmp("screendump", filename=str(file))
        now = _read(file)
        if now == last and now != before and (now.width, now.height) == (WIDTH, HEIGHT) and now.colours > 100:
            return now
        last = now
        time.sleep(1)
    raise AssertionError(f"rEFInd showed no menu within {PATIENCE:.0f} s")


def _read(file: Path) -> Picture:
    """A picture in QEMU's own format, the netpbm one that begins with P6."""
    kind, size, _, pixels = file.read_bytes().split(b"\n", 3)
    assert kind == b"P6"
    width, height = map(int, size.split())
    return Picture(width, height, pixels)


def main(target: str) -> None:
    """Write both pictures."""
    menu_file = Path(target)
    submenu_file = menu_file.with_name(menu_file.name.replace("menu", "submenu"))
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "package"
        package.mkdir()
        files = unpacked(lambda: "refind", package) / "usr/share/refind/refind"
        menu, submenu = take(Path(directory), files)
    menu_file.write_bytes(menu.png())
    submenu_file.write_bytes(submenu.png())


if __name__ == "__main__":
    main(sys.argv[1])
