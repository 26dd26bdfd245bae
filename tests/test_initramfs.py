"""Is an initramfs whole, and what is in it? Made with cpio and the programs that compress."""

import contextlib
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmut import zstd
from sysmut.boot import archive, initramfs
from sysmut.errors import BadData
from tests.bootable import cpio

COMPRESS = {
    "gzip": ("gzip", "-1"),
    "bzip2": ("bzip2", "-1"),
    "lzma": ("xz", "-1", "--format=lzma"),
    "xz": ("xz", "-1", "--check=crc32"),
    "zstd": ("zstd", "-1", "-q"),
}
INIT = {"init": "#!/bin/sh\n"}
MODULES = "lib/modules/6.1-lts"
NOISE = bytes(range(256)) * 40


def compressed(content: bytes, method: str) -> bytes:
    return subprocess.run(COMPRESS[method], input=content, check=True, capture_output=True).stdout


@cache
def example(method: str) -> bytes:
    """A small initramfs with modules for 6.1-lts and btrfs, compressed so."""
    bare = cpio({**INIT, f"{MODULES}/kernel/fs/btrfs/btrfs.ko.zst": "x", "bin/noise": "".join(map(chr, NOISE))})
    return compressed(bare, method) if method else bare.rstrip(b"\0") + b"\0"


def look(image: bytes) -> initramfs.Contents:
    return initramfs.look(io.BytesIO(image), len(image))


WHOLE = initramfs.Contents(frozenset({"6.1-lts"}), frozenset({"6.1-lts"}), False, "")

# -- what is in it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["", *COMPRESS])
def test_an_initramfs_is_looked_into_however_it_is_compressed(method: str) -> None:
    assert look(example(method)) == WHOLE


@pytest.mark.parametrize("method", ["", *COMPRESS])
def test_microcode_and_filling_before_it_and_filling_behind_it_do_no_harm(method: str) -> None:
    early = cpio({"kernel/x86/microcode/GenuineIntel.bin": "x" * 5000})
    assert look(early + bytes(2**20) + example(method) + bytes(700_001)) == WHOLE


@pytest.mark.parametrize("before", range(2**18 - 8, 2**18 + 8, 4))
def test_it_does_not_matter_in_which_pieces_it_is_read(before: int) -> None:
    early = cpio({"kernel/x86/microcode/GenuineIntel.bin": "x" * 5000})
    for image in (example(""), example("zstd")):
        assert look(early + bytes(before - len(early)) + image) == WHOLE


class Dribbling(io.BytesIO):
    """A file that gives a byte at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size else 0)


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("method", COMPRESS)
def test_a_piece_that_fills_the_room_for_it_is_not_taken_for_the_end(
    method: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_CHUNK", chunk)
    image = example(method)
    assert initramfs.look(Dribbling(image), len(image)) == WHOLE


@pytest.mark.parametrize("method", COMPRESS)
def test_several_archives_count_whether_in_one_compressed_stream_or_in_a_row_of_them(method: str) -> None:
    parts = [cpio({f"usr/lib/modules/{number}/kernel/btrfs.ko": ""}) for number in range(3)]
    together = look(
        compressed(parts[0] + bytes(4096) + parts[1], method) + compressed(parts[2], method) + example("gzip")
    )
    assert together.releases == together.btrfs == {"0", "1", "2", "6.1-lts"}


@pytest.mark.parametrize(
    ("files", "releases", "btrfs"),
    [
        ({f"{MODULES}/modules.dep": ""}, {"6.1-lts"}, set()),
        ({f"{MODULES}/": ""}, {"6.1-lts"}, set()),
        ({"lib/modules/README": ""}, set(), set()),
        ({"lib/firmware/x": "", "home/lib/modules/6/btrfs.ko": ""}, set(), set()),
        ({f"usr/{MODULES}/extra/btrfs.ko.xz": ""}, {"6.1-lts"}, {"6.1-lts"}),
        (
            {f"{MODULES}/kernel/btrfs.ko.gz": "", "lib/modules/6.2/kernel/btrfs.ko.old": ""},
            {"6.1-lts", "6.2"},
            {"6.1-lts"},
        ),
        ({f"{MODULES}/kernel/btrfs.ko/": ""}, {"6.1-lts"}, set()),
        ({f"{MODULES}/modules.builtin": "kernel/x.ko\nkernel/fs/btrfs/btrfs.ko\n"}, {"6.1-lts"}, {"6.1-lts"}),
        ({f"{MODULES}/modules.builtin": "kernel/fs/btrfs/btrfs.ko.old\n"}, {"6.1-lts"}, set()),
        ({f"{MODULES}/modules.dep": "kernel/fs/btrfs/btrfs.ko\n"}, {"6.1-lts"}, set()),
    ],
)
def test_kernels_with_modules_and_those_with_btrfs_are_told(
    files: dict[str, str], releases: set[str], btrfs: set[str]
) -> None:
    found = look(cpio({**INIT, **files}))
    assert (set(found.releases), set(found.btrfs)) == (releases, btrfs)


@pytest.mark.parametrize(
    ("files", "known"),
    [
        ({"init": "case $option in overlaytmpfs) ;; esac"}, True),
        ({"scripts/init-bottom/overlay": "overlaytmpfs"}, True),
        ({"usr/lib/dracut/hooks/mount/10.sh": "overlaytmpfs"}, True),
        ({"bin/overlaytmpfs": "overlaytmpfs"}, False),
        ({"scripts/link": "-> overlaytmpfs"}, False),
        ({"init": "overlaytmpfs", "scripts/last": "something else"}, True),
    ],
)
def test_overlaytmpfs_is_known_where_a_script_of_its_init_says_so(files: dict[str, str], known: bool) -> None:
    assert look(cpio({**INIT, **files})).overlaytmpfs is known


def test_a_very_large_init_is_not_searched() -> None:
    assert not look(cpio({"init": "overlaytmpfs" + " " * 2**22})).overlaytmpfs


def test_an_init_that_is_a_link_is_one() -> None:
    assert look(cpio({"init": "-> usr/lib/systemd/systemd"})).releases == set()


# -- what cannot be looked into --------------------------------------------------------------------


@pytest.mark.parametrize(("magic", "name"), [(b"\x02!L\x18", "lz4"), (b"\x89LZO\0\r\n\x1a\n", "lzop")])
def test_what_no_library_is_there_for_is_unknown_and_what_is_before_it_counts(magic: bytes, name: str) -> None:
    found = look(cpio({f"{MODULES}/modules.dep": ""}) + magic + NOISE)
    assert found.unknown == f"compressed with {name}, which cannot be looked into"
    assert found.releases == {"6.1-lts"}


def test_without_libzstd_zstd_is_unknown(monkeypatch: pytest.MonkeyPatch, without_library: None) -> None:
    monkeypatch.setattr(zstd, "_LIBRARY", "libzstd.so.none")
    found = look(example("zstd")).unknown
    assert found == "compressed with zstd, which cannot be looked into: libzstd.so.none is not on this system"


@pytest.fixture
def without_library() -> Iterator[None]:
    """libzstd is looked for anew, in the test and after it."""
    zstd._library.cache_clear()
    yield
    zstd._library.cache_clear()


@pytest.mark.parametrize("method", ["bz2", "lzma"])
def test_what_this_python_comes_without_is_unknown(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setitem(sys.modules, method, None)
    name = {"bz2": "bzip2"}.get(method, method)
    assert look(example(name)).unknown.endswith(f": this Python comes without {name}")


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "is empty"),
        (bytes(5000), "is no whole initramfs"),
        (b"# a script\n", "is no initramfs"),
        (b"0", "is no initramfs"),
        (cpio(INIT, "odc"), "is no initramfs"),
        (cpio({"sbin/init": ""}), "is no whole initramfs: there is no init in it"),
        (cpio({"init/": ""}), "is no whole initramfs: there is no init in it"),
        (cpio(INIT) + b"rubbish", "has at byte 512 neither"),
        (cpio(INIT) + bytes(1) + cpio(INIT), "has at byte 513 a cpio archive that does not begin"),
        (cpio(INIT).replace(b"TRAILER!!!", b"TRAILER???"), "is (damaged|cut off)"),
        (cpio(INIT).replace(b"070701", b"07070x"), "is no initramfs"),
        (cpio(INIT).replace(b"init\0", b"init\0" + bytes(4)), "is damaged"),
        (b"070703".join(cpio(INIT).rsplit(b"070701", 1)), "is damaged"),
        (b"070701" + b"0" * 200, "is damaged"),
        (b"070701" + b" " * 200, "is damaged"),
        (b"070701" + b"f" * 200, "is damaged"),
    ],
)
def test_what_is_no_whole_initramfs_is_refused_in_plain_words(image: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        look(image)


@pytest.mark.parametrize("method", COMPRESS)
def test_what_is_compressed_must_be_an_archive(method: str) -> None:
    with pytest.raises(ValueError, match=f"compressed in it with {method} is no cpio archive"):
        look(compressed(b"rubbish", method))
    with pytest.raises(ValueError, match=f"compressed in it with {method} is no cpio archive"):
        look(compressed(cpio(INIT) + compressed(cpio(INIT), "gzip"), method))


@pytest.mark.parametrize("method", ["", *COMPRESS])
def test_an_initramfs_that_is_cut_off_anywhere_is_refused(method: str) -> None:
    image = example(method)
    for length in [*range(0, len(image), 41), *range(len(image) - 40, len(image))]:
        with pytest.raises(ValueError, match=r"^is "):
            look(image[:length])


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz", "zstd"])
def test_a_bit_that_is_wrong_in_what_is_compressed_is_noticed(method: str) -> None:
    image = bytearray(example(method))
    image[len(image) // 2] ^= 0x10
    with pytest.raises(ValueError, match=r"^is damaged|^is cut off"):
        look(bytes(image))


@given(st.sampled_from([b"", b"070701", b"\x1f\x8b", b"BZ", b"\x5d\0", b"\xfd7", b"\x28\xb5"]), st.binary(max_size=500))
def test_any_bytes_are_refused(magic: bytes, content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert look(magic + content).unknown


@given(st.sampled_from(["", *COMPRESS]), st.integers(0, 12_000), st.binary(min_size=1, max_size=8))
def test_any_change_is_looked_at_or_refused(method: str, place: int, to: bytes) -> None:
    image = example(method)
    place %= len(image)
    with contextlib.suppress(ValueError):
        look(image[:place] + to + image[place + len(to) :])


# -- bounds ----------------------------------------------------------------------------------------


def test_a_file_that_is_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LIMIT", 2**26)
    with open(tmp_path / "hole", "w+b") as file:
        file.write(cpio(INIT))
        file.truncate(2**42)
        file.seek(0)
        with pytest.raises(ValueError, match="has too many bytes in it"):
            initramfs.look(file, 2**42)


def head(size: int, name: bytes) -> bytes:
    """The head of a regular file in an archive; the name must fill it up to a multiple of four."""
    fields = (1, 0o100644, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0)
    return b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"


def test_what_unpacks_to_too_much_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = compressed(head(0xFFFFFF00, b"x") + bytes(2**24), "zstd")
    assert len(zeros) < 10_000
    with pytest.raises(ValueError, match="is cut off"):
        look(zeros)
    monkeypatch.setattr(archive, "_LIMIT", 2**24)
    with pytest.raises(ValueError, match="has too many bytes in it"):
        look(zeros)


def test_what_needs_too_much_memory_to_unpack_is_given_up() -> None:
    image = example("lzma")
    with pytest.raises(ValueError, match="lzma says: Memory usage limit exceeded"):
        look(image[:1] + (2**30).to_bytes(4, "little") + image[5:])


def test_too_many_files_streams_and_kernels_are_given_up() -> None:
    with pytest.raises(ValueError, match="has too many files in it"):
        look(head(0, b"x") * (2**18 + 1))
    with pytest.raises(ValueError, match="has too many compressed parts in it"):
        look(compressed(b"", "gzip") * 300)
    with pytest.raises(ValueError, match="too many kernels"):
        look(b"".join(head(0, b"lib/modules/%03d/x" % number) for number in range(300)))


def test_only_a_small_piece_is_in_memory_at_a_time() -> None:
    image = compressed(cpio({**INIT, "large": "x" * 2**26}), "zstd")
    tracemalloc.start()
    try:
        look(image)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


# -- the list of what is built in ------------------------------------------------------------------


def test_btrfs_is_built_in_where_the_roots_list_says_so(tmp_path: Path) -> None:
    for release, text in (("6.1", "kernel/fs/btrfs/btrfs.ko\n"), ("6.2", "kernel/fs/ext4/ext4.ko\n")):
        (tmp_path / "lib/modules" / release).mkdir(parents=True)
        (tmp_path / "lib/modules" / release / "modules.builtin").write_text(text)
    (tmp_path / "lib/modules/6.4/modules.builtin").mkdir(parents=True)
    assert initramfs.builtin(str(tmp_path), "6.1")
    assert not initramfs.builtin(str(tmp_path), "6.2")
    assert not initramfs.builtin(str(tmp_path), "6.3")
    with pytest.raises(BadData, match="not a regular file"):
        initramfs.builtin(str(tmp_path), "6.4")


# -- zstd ------------------------------------------------------------------------------------------


def frames(data: bytes, max_length: int = 2**16) -> Iterator[bytes]:
    """The content of frame after frame."""
    while data:
        one = zstd.Decompressor()
        content = one.decompress(data, max_length)
        while not one.eof:
            assert not one.needs_input
            assert one.unused_data == b""
            content += one.decompress(b"", max_length)
        yield content
        data = one.unused_data


@pytest.mark.parametrize("max_length", [1, 1000, 2**20])
def test_frames_of_zstd_are_taken_one_by_one_and_a_skippable_one_is_empty(max_length: int) -> None:
    skippable = b"\x50\x2a\x4d\x18\x05\0\0\0hello"
    unchecked = subprocess.run(["zstd", "-q", "--no-check"], input=NOISE, check=True, capture_output=True).stdout
    data = compressed(NOISE, "zstd") + skippable + compressed(b"more", "zstd") + unchecked
    assert list(frames(data, max_length)) == [NOISE, b"", b"more", NOISE]


def test_zstd_is_fed_in_pieces() -> None:
    one = zstd.Decompressor()
    content = b""
    for byte in compressed(NOISE, "zstd"):
        assert one.needs_input
        assert one.unused_data == b""
        content += one.decompress(bytes([byte]), 2**20)
    assert one.eof
    assert not one.needs_input
    assert content == NOISE


def test_damaged_zstd_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown frame descriptor"):
        zstd.Decompressor().decompress(b"no zstd at all", 100)
    with pytest.raises(ValueError, match="checksum"):
        list(frames(compressed(NOISE, "zstd")[:-1] + b"?"))


def test_zstd_that_needs_too_much_memory_is_refused() -> None:
    wide = subprocess.run(["zstd", "-q", "--ultra", "--long=30"], input=NOISE, check=True, capture_output=True).stdout
    with pytest.raises(ValueError, match="too much memory"):
        list(frames(wide))
