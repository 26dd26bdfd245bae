"""fstab: read as mount(8) reads it, and kept byte for byte where it is not changed."""

import pytest

from sysmut import fstab, syscalls
from sysmut.errors import BadData

ROOT = "UUID=u / btrfs subvol=CURRENT_SNAPSHOTS_PATH/@,ro 0 0"


def entry(line: str) -> fstab.Entry:
    (found,) = fstab.entries(line, "fstab")
    return found


def test_fields_are_decoded_and_comments_and_blank_lines_passed_over() -> None:
    text = "# a comment\n\n  # another\nUUID=u\t/a\\040b\\011c\\134\\043 btrfs  subvol=/x\\040y,rw 0 0\r\n"
    found = entry(text)
    assert (found.line, found.target, found.subvolume) == (4, "/a b\tc\\#", "x y")


def test_escapes_of_bytes_make_one_character() -> None:
    assert fstab.decode("\\303\\244") == "ä"
    assert fstab.decode("\\377") == "\udcff"
    assert fstab.encode("a b\\#") == "a\\040b\\134\\043"


@pytest.mark.parametrize("target", ["/a b", "/tab\tand\\slash", "/ä#", "/\udcff"])
def test_what_is_encoded_decodes_to_the_same(target: str) -> None:
    assert fstab.decode(fstab.encode(target)) == target


@pytest.mark.parametrize("line", ["UUID=u /x", "garbage", "UUID=u relative btrfs defaults", "\0\0 \1 \2"])
def test_a_line_that_is_none_of_fstabs_is_named_by_its_number(line: str) -> None:
    with pytest.raises(BadData, match="/fstab, line 2"):
        fstab.entries(f"# first\n{line}\n", "/fstab")


def test_only_spaces_and_tabs_part_fields() -> None:
    assert entry("UUID=u /a\u00a0b\x0bc btrfs").target == "/a\u00a0b\x0bc"


def test_the_last_of_an_option_counts_and_others_have_none() -> None:
    found = entry("UUID=u /x btrfs subvol=a,noatime,subvol=/b/")
    assert (found.subvolume, found.option("compress"), found.option("noatime")) == ("b", None, "")
    assert entry("tmpfs /x tmpfs subvol=a").subvolume is None


def test_swap_is_no_mount() -> None:
    assert not entry("/swap none swap sw").is_mount
    assert not entry("UUID=u swap swap sw").is_mount
    assert entry("tmpfs /tmp tmpfs").is_mount


def test_options_become_flags_and_data() -> None:
    line = "t /x tmpfs ro,nosuid,nodev,suid,mode=1777,size=1G,nofail,x-systemd.automount,defaults,noatime"
    flags, data = fstab.mount_options(entry(line))
    assert flags == syscalls.MS_RDONLY | syscalls.MS_NODEV | syscalls.MS_NOATIME
    assert data == "mode=1777,size=1G"


def test_a_generations_fstab_is_the_template_with_the_placeholder_replaced_everywhere() -> None:
    template = f"# CURRENT_SNAPSHOTS_PATH\r\n{ROOT}\n\n  odd   spacing # kept\n\udcff"
    text = fstab.instantiate(template, "/snapshots/G")
    assert text == template.replace("CURRENT_SNAPSHOTS_PATH", "/snapshots/G")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "no line for /"),
        ("# only a comment\n", "no line for /"),
        ("UUID=u / btrfs subvol=/snapshots/G/@,ro 0 0", "line 1"),
        ("UUID=u / btrfs defaults 0 0", "line 1"),
        (f"{ROOT}\nUUID=u / ext4 defaults 0 0", "line 2"),
        ("UUID=u / btrfs subvol=CURRENT_SNAPSHOTS_PATH/@x 0 0", "line 1"),
    ],
)
def test_a_template_from_which_nothing_right_would_boot_is_refused(template: str, said: str) -> None:
    with pytest.raises(BadData, match=said):
        fstab.check_template(template, "/fstab")


def test_a_template_made_from_a_systems_fstab_keeps_its_lines_and_its_root_options() -> None:
    source = (
        "# /etc/fstab\nUUID=old / btrfs defaults,subvol=@rootfs,compress=zstd 0 0\n\n"
        "UUID=2FE6 /boot/efi vfat umask=0077 0 1\n/dev/sda3 none swap sw 0 0\n\n"
    )
    made = fstab.make_template(source, "new", {"/home": "commons/@home", "/var/log": "commons/@var@log"})
    assert made.splitlines() == [
        "# /etc/fstab",
        "UUID=new / btrfs subvol=CURRENT_SNAPSHOTS_PATH/@,ro,compress=zstd 0 0",
        "",
        "UUID=2FE6 /boot/efi vfat umask=0077 0 1",
        "/dev/sda3 none swap sw 0 0",
        "tmpfs /tmp tmpfs mode=1777,noatime,nosuid,nodev 0 0",
        "UUID=new /home btrfs subvol=/commons/@home,rw,noatime 0 0",
        "UUID=new /var/log btrfs subvol=/commons/@var@log,rw,noatime 0 0",
    ]
    fstab.check_template(made, "made")


def test_a_common_comes_before_what_is_mounted_below_it() -> None:
    made = fstab.make_template("UUID=x /home/big ext4 defaults 0 2\n", "u", {"/home": "commons/@home"})
    targets = [found.target for found in fstab.entries(made, "made")]
    assert targets.index("/home") < targets.index("/home/big")


def test_an_empty_fstab_and_a_tmp_of_its_own_make_a_template_too() -> None:
    assert [found.target for found in fstab.entries(fstab.make_template("", "u", {}), "made")] == ["/", "/tmp"]
    made = fstab.make_template("tmpfs /tmp tmpfs size=1G\nUUID=o / ext4 errors=remount-ro 0 1\n", "u", {})
    assert made.splitlines() == [
        "tmpfs /tmp tmpfs size=1G",
        "UUID=u / btrfs subvol=CURRENT_SNAPSHOTS_PATH/@,ro,noatime 0 0",
    ]
