"""The boot menu can be seen: what tests/boot/picture.py shows of it is a picture of something."""

import struct
import zlib
from pathlib import Path

from tests.boot.picture import HEIGHT, WIDTH, take


def test_the_menu_and_its_submenu_come_out_as_small_pictures(refind_files: Path, tmp_path: Path) -> None:
    pictures = take(tmp_path, refind_files)
    assert pictures[0] != pictures[1]
    for picture in pictures:
        data = picture.png()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack_from(">II", data, 16) == (WIDTH, HEIGHT)
        length = struct.unpack_from(">I", data, 33)[0]
        assert len(zlib.decompress(data[41 : 41 + length])) == HEIGHT * (1 + 3 * WIDTH)
        assert picture.colours > 100
        assert 10_000 < len(data) < 200_000
