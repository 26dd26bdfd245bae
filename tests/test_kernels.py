"""What is in /boot: which kernels, with which initramfs, in which order, and would firmware start them?"""

import contextlib
import gzip
import io
import os
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmut.boot import header, kernels
from tests.bootable import bzimage

X86, ARM = 0x8664, 0xAA64


def unified(
    release: bytes = b"6.12.1-arch1-1\n", *, machine: int = ARM, magic: int = 0x20B, directories: int = 5
) -> bytes:
    """A unified kernel image: an EFI program with sections, and a signature if it has 5 directories."""
    image = bytearray(1024 + 64)
    image[0:2] = b"MZ"
    table = 112 if magic == 0x20B else 96
    struct.pack_into("<I", image, 0x3C, 0x80)
    struct.pack_into("<4sHH12xHH", image, 0x80, b"PE\0\0", machine, 2, table + 40, 0x206)
    struct.pack_into("<H66xH", image, 0x98, magic, 10)
    struct.pack_into("<I32xII", image, 0x98 + table - 4, directories, 1024, 64)
    sections = 0x98 + table + 40
    struct.pack_into("<8sIIII16x", image, sections, b".uname", len(release), 0, len(release), 0x200)
    struct.pack_into("<8sIIII16x", image, sections + 40, b".linux", 0x100, 0, 0x100, 0x300)
    image[0x200 : 0x200 + len(release)] = release
    return bytes(image)


def read(image: bytes) -> header.Header:
    return header.read(io.BytesIO(image), len(image))


def changed(image: bytes, place: int, to: bytes) -> bytes:
    return image[:place] + to + image[place + len(to) :]


# -- the header ------------------------------------------------------------------------------------


def test_a_kernel_tells_its_machine_and_release() -> None:
    assert read(bzimage()) == header.Header("x86_64", "6.1.0-18-amd64")
    assert read(bzimage("6.6.9-0-lts", machine=0x14C)) == header.Header("i386", "6.6.9-0-lts")


def test_a_unified_kernel_image_tells_them_too() -> None:
    assert read(unified()) == header.Header("aarch64", "6.12.1-arch1-1")
    assert read(unified(magic=0x10B)) == header.Header("aarch64", "6.12.1-arch1-1")
    assert read(unified().replace(b".uname", b".other")) == header.Header("aarch64", None)


def test_a_signature_that_is_not_there_is_not_missed() -> None:
    assert read(unified(directories=4)[:1024]).machine == "aarch64"


def test_a_machine_that_is_not_known_is_named_by_its_number() -> None:
    assert read(unified(machine=0x1234)).machine == "unknown machine 0x1234"


@pytest.mark.parametrize("release", ["../../etc", "", ".hidden", "a/b", "ä", "x" * 200])
def test_a_release_that_could_be_no_directory_of_modules_counts_as_none(release: str) -> None:
    assert read(bzimage(release)).release is None
    assert read(unified(release.encode())).release is None


def test_a_release_outside_the_file_counts_as_none() -> None:
    assert read(changed(bzimage(), 0x20E, b"\xff\xff")).release is None
    assert read(changed(bzimage(), 0x20E, b"\0\0")).release is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "is empty"),
        (b"MZ", "is no EFI program"),
        (b"\x7fELF" + bytes(1000), "is no EFI program"),
        (b"MZ" + bytes(1000), "is no EFI program"),
        (changed(bzimage(), 0, b"\xea\x05"), "is no EFI program"),
        (changed(bzimage(), 0x40, b"NE"), "is no EFI program"),
        (changed(bzimage(), 0x58, b"\0\0"), "is no EFI program: its header is damaged"),
        (changed(bzimage(), 0x54, b"\x45\0"), "is no EFI program: its header is damaged"),
        (bzimage(subsystem=3), "is a program for another system than EFI"),
        (changed(bzimage(), 0x1FE, b"\0\0"), "is damaged"),
        (gzip.compress(bzimage()), "is compressed with gzip: firmware starts it only uncompressed"),
        (bzimage()[:-1], "is cut off: its header promises 2048 bytes, it has 2047"),
        (changed(bzimage(), 0x1F4, b"\x41"), "is cut off: its header promises 2064 bytes, it has 2048"),
        (changed(bzimage(), 0x1F1, b"\0"), "is cut off: its header promises 3584 bytes, it has 2048"),
        (changed(bzimage(), 0x3C, b"\0\0\0\x80"), "is cut off: its header promises 2147483672 bytes, it has 2048"),
    ],
)
def test_what_firmware_could_not_start_is_refused_in_plain_words(image: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        read(image)


@pytest.mark.parametrize("image", [bzimage(), unified(), unified(magic=0x10B)])
def test_a_kernel_that_is_cut_off_anywhere_is_refused(image: bytes) -> None:
    for length in range(len(image)):
        with pytest.raises(ValueError, match=r"^is (cut off|empty|no EFI program)"):
            read(image[:length])


def test_a_file_that_becomes_shorter_while_it_is_read_is_cut_off() -> None:
    with pytest.raises(ValueError, match="is cut off"):
        header.read(io.BytesIO(bzimage()[:0x50]), 2048)


@given(st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for image in (content, b"MZ" + content):
        with pytest.raises(ValueError, match=r"^is "):
            read(image)


@given(st.sampled_from([bzimage(), unified()]), st.integers(0, 0x290), st.binary(min_size=1, max_size=8))
def test_any_change_of_a_kernel_is_read_or_refused(image: bytes, place: int, to: bytes) -> None:
    with contextlib.suppress(ValueError):
        release = read(changed(image, place, to)).release
        assert release is None or header.is_release(release)


def test_a_programs_machine_is_told_in_the_same_words() -> None:
    own = Path("/proc/self/exe").read_bytes()[:20]
    assert header.machine_of_elf(own) == os.uname().machine
    words = {}
    for number, bits in ((3, 1), (62, 2), (62, 1), (40, 1), (183, 2), (243, 2), (258, 2), (8, 2)):
        words[number, bits] = header.machine_of_elf(
            b"\x7fELF" + bytes([bits, 1]) + bytes(12) + bytes([number % 256, number // 256])
        )
    assert list(words.values()) == ["i386", "x86_64", "x86_64", "arm", "aarch64", "riscv64", "loongarch64", None]


@pytest.mark.parametrize("start", [b"", b"\x7fELF", b"#!/bin/sh\n# a script", b"\x7fELF\2\2" + bytes(12) + b"\0\x08"])
def test_what_is_no_program_of_a_machine_with_uefi_has_none(start: bytes) -> None:
    assert header.machine_of_elf(start) is None


# -- what is in /boot ------------------------------------------------------------------------------


def make(root: Path, *names: str) -> str:
    """A root directory with these files: `name`, or `link -> target`, or `name = text`."""
    for name in names:
        path, _, target = name.partition(" -> ")
        path, _, text = path.partition(" = ")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if target:
            (root / path).symlink_to(target)
        else:
            (root / path).write_text(text)
    return str(root)


def found(root: str) -> list[tuple[str, str | None]]:
    return [(kernel.path.removeprefix("boot/"), kernel.initramfs) for kernel in kernels.find(root)]


@pytest.mark.parametrize(
    ("files", "kernel"),
    [
        (["vmlinuz-lts", "initramfs-lts", "config-lts", "System.map-lts"], ("vmlinuz-lts", "lts", "initramfs-lts")),
        (
            ["vmlinuz-6.1.0-18-amd64", "initrd.img-6.1.0-18-amd64", "config-6.1.0-18-amd64"],
            ("vmlinuz-6.1.0-18-amd64", "6.1.0-18-amd64", "initrd.img-6.1.0-18-amd64"),
        ),
        (
            ["vmlinuz-linux-lts", "initramfs-linux-lts-fallback.img", "initramfs-linux-lts.img"],
            ("vmlinuz-linux-lts", "linux-lts", "initramfs-linux-lts.img"),
        ),
        (["vmlinuz-6.8.fc40", "initramfs-6.8.fc40.img"], ("vmlinuz-6.8.fc40", "6.8.fc40", "initramfs-6.8.fc40.img")),
        (["vmlinuz-6.4-default", "initrd-6.4-default"], ("vmlinuz-6.4-default", "6.4-default", "initrd-6.4-default")),
        (["vmlinuz", "initrd.img"], ("vmlinuz", "", "initrd.img")),
        (["vmlinuz", "initramfs.img"], ("vmlinuz", "", "initramfs.img")),
    ],
)
def test_each_distributions_names_are_known(tmp_path: Path, files: list[str], kernel: tuple[str, str, str]) -> None:
    (one,) = kernels.find(make(tmp_path, *(f"boot/{name}" for name in files)))
    assert one == kernels.Kernel(f"boot/{kernel[0]}", kernel[1], f"boot/{kernel[2]}", ())


def test_a_fallback_image_is_not_taken_for_the_initramfs(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz-linux", "boot/initramfs-linux-fallback.img", "boot/initramfs-lts")
    assert found(root) == [("vmlinuz-linux", None)]


def test_microcode_is_told_with_every_kernel_in_one_order(tmp_path: Path) -> None:
    (tmp_path / "boot/ucode.img").mkdir(parents=True)
    root = make(tmp_path, "boot/vmlinuz-lts", "boot/vmlinuz-virt", "boot/intel-ucode.img", "boot/amd-ucode.img")
    both = ("boot/amd-ucode.img", "boot/intel-ucode.img")
    assert [kernel.microcode for kernel in kernels.find(root)] == [both, both]


def test_copies_leftovers_and_what_lies_beside_a_kernel_are_none(tmp_path: Path) -> None:
    wrong = ["old", "bak", "dpkg-new", "dpkg-tmp", "apk-new", "hmac", "rpmsave", "pacnew", "old.1", "sig", "sysmut-new"]
    names = [f"boot/vmlinuz-6.1.{suffix}" for suffix in wrong]
    others = [
        "boot/vmlinuz-6.1~",
        "boot/.vmlinuz-6.1.hmac",
        "boot/System.map-6.1",
        "boot/vmlinuzes",
        "boot/sub/vmlinuz-6.1",
    ]
    (tmp_path / "boot/vmlinuz-6.9").mkdir(parents=True)
    os.mkfifo(tmp_path / "boot/vmlinuz-6.8")
    assert found(make(tmp_path, *names, *others)) == []
    assert found(make(tmp_path, "boot/vmlinuz-6.1.older")) == [("vmlinuz-6.1.older", None)]


def test_the_rescue_kernel_counts_only_where_there_is_no_other(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz-0-rescue-abc", "boot/initramfs-0-rescue-abc.img")
    assert found(root) == [("vmlinuz-0-rescue-abc", "boot/initramfs-0-rescue-abc.img")]
    assert found(make(tmp_path, "boot/vmlinuz-6.8")) == [("vmlinuz-6.8", None)]


def test_a_link_to_a_kernel_that_is_there_by_its_own_name_is_not_another(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz -> vmlinuz-6.1", "boot/vmlinuz-6.1", "boot/vmlinuz.old -> vmlinuz-6.1")
    assert found(make(tmp_path, "boot/vmlinuz-6 -> vmlinuz-6.1")) == found(root) == [("vmlinuz-6.1", None)]


def test_of_links_alone_the_one_that_tells_a_release_counts(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz -> vmlinuz-6.4", "boot/vmlinuz-6.4 -> ../usr/lib/modules/6.4/vmlinuz")
    assert found(root) == []
    make(tmp_path, "usr/lib/modules/6.4/vmlinuz", "boot/vmlinuz-6.5 -> /usr/lib/modules/6.5/vmlinuz")
    assert found(root) == [("vmlinuz-6.4", None)]
    make(tmp_path, "usr/lib/modules/6.5/vmlinuz")
    assert found(root) == [("vmlinuz-6.5", None), ("vmlinuz-6.4", None)]


def test_links_never_lead_out_of_the_root(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "vmlinuz-6.1", "initramfs-6.1")
    root = make(
        tmp_path / "root",
        f"boot/vmlinuz-6.1 -> {outside}/vmlinuz-6.1",
        "boot/vmlinuz-6.2 -> ../../outside/vmlinuz-6.1",
        "boot/vmlinuz-6.3",
        f"boot/initramfs-6.3 -> {outside}/initramfs-6.1",
        "boot/vmlinuz-6.4 -> vmlinuz-6.4",
    )
    assert found(root) == [("vmlinuz-6.3", None)]
    assert found(make(tmp_path / "other", f"boot -> {outside}")) == []


@pytest.mark.parametrize("name", ["boot = a file", "boot -> boot", "boot -> nowhere", "etc/fstab"])
def test_a_root_without_a_directory_boot_has_no_kernels(tmp_path: Path, name: str) -> None:
    assert kernels.find(make(tmp_path, name)) == ()


def test_a_boot_that_cannot_be_looked_into_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernels.find(2**20)


def test_newer_comes_before_older_and_numbers_are_compared_as_such(tmp_path: Path) -> None:
    order = [
        "6.10.0",
        "6.2",
        "6.1.1",
        "6.1.0-18-amd64",
        "6.1.0-9-amd64",
        "6.1.0-rc2",
        "6.1",
        "6.1-rc2",
        "6.1~b",
        "5.10",
    ]
    order += ["hardened-4.9", "a", "linux", "linux-lts"]
    root = make(tmp_path, *(f"boot/vmlinuz-{name}" for name in sorted(order)))
    assert [kernel.name for kernel in kernels.find(root)] == order


def test_a_flavor_is_as_new_as_its_release_that_is_written_down(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        *(f"boot/vmlinuz-{flavor}" for flavor in ("edge", "lts", "virt")),
        "usr/share/kernel/lts/kernel.release = 6.6.9-0-lts\n",
        "usr/share/kernel/virt/kernel.release = 6.6.10-0-virt\n",
    )
    assert [kernel.name for kernel in kernels.find(root)] == ["virt", "lts", "edge"]


def test_a_kernel_with_an_initramfs_comes_before_a_newer_one_without(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz-6.9", "boot/vmlinuz-6.1", "boot/initrd.img-6.1")
    assert [kernel.name for kernel in kernels.find(root)] == ["6.1", "6.9"]


def test_no_more_than_so_many_names_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_MOST_NAMES", 10)
    assert len(kernels.find(make(tmp_path, *(f"boot/vmlinuz-6.{number}" for number in range(20))))) == 10


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda name: not set(b"/\0") & set(name)), max_size=4))
def test_any_names_do(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(f"{root}/boot")
        for name in names:
            for prefix in (b"vmlinuz-", b"initramfs-", b"vmlinuz"):
                Path(os.fsdecode(root.encode() + b"/boot/" + prefix + name)).touch()
        for kernel in kernels.find(root):
            assert kernels.choose(kernels.find(root), kernel.path) == kernel
            assert kernels.release_of(root, kernel, None) is None


# -- choosing, and the release ---------------------------------------------------------------------


def test_a_kernel_is_chosen_by_name_path_or_file_name_or_is_the_first(tmp_path: Path) -> None:
    root = make(tmp_path, "boot/vmlinuz-6.9", "boot/vmlinuz-lts", "boot/vmlinuz")
    newest, bare, lts = kernels.find(root)
    assert kernels.choose((newest, bare, lts), None) == newest
    for wanted in ("lts", "vmlinuz-lts", "boot/vmlinuz-lts", "/boot/vmlinuz-lts"):
        assert kernels.choose((newest, bare, lts), wanted) == lts
    assert kernels.choose((newest, bare, lts), "vmlinuz") == bare
    assert kernels.choose((newest, bare, lts), "6.") is None
    assert kernels.choose((), None) is None


def release(root: Path, name: str, told: str | None = None) -> str | None:
    return kernels.release_of(str(root), kernels.Kernel(f"boot/vmlinuz-{name}", name, None, ()), told)


def test_the_release_is_the_headers_or_the_one_written_down_or_the_name_if_it_has_modules(tmp_path: Path) -> None:
    make(
        tmp_path,
        "usr/share/kernel/lts/kernel.release = 6.6.9-0-lts\n",
        "lib/modules/6.1/modules.dep",
        "lib/modules/6.3",
    )
    assert release(tmp_path, "lts", "6.6.10-0-lts") == "6.6.10-0-lts"
    assert release(tmp_path, "lts") == "6.6.9-0-lts"
    assert release(tmp_path, "6.1") == "6.1"
    assert release(tmp_path, "6.2") is None
    assert release(tmp_path, "6.3") is None
    assert release(tmp_path, "..") is None
    make(tmp_path, "usr/share/kernel/kernel.release = 6.6.9-0-lts\n")
    assert release(tmp_path, "") is None


@pytest.mark.parametrize("text", ["../../x", "", "6.6\n6.7", "x" * 200, "6.6" + " " * 5000])
def test_a_written_release_that_can_be_none_is_passed_over(tmp_path: Path, text: str) -> None:
    make(tmp_path, f"usr/share/kernel/lts/kernel.release = {text}")
    assert release(tmp_path, "lts") is None


def test_a_written_release_that_is_no_regular_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "usr/share/kernel/lts").mkdir(parents=True)
    os.mkfifo(tmp_path / "usr/share/kernel/lts/kernel.release")
    assert release(tmp_path, "lts") is None
