"""rEFInd put on the system partition, and into the firmware's menu.

efibootmgr is a script here that keeps a firmware's state in a file and prints it as the real one does;
with the firmware itself it is tried in virtual machines.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmut.errors import BadConfiguration, BadData, NotSysmut, SysmutError, SystemFailure, UsageError
from sysmut.gpt import Partition
from sysmut.menu import binaries, firmware, setup
from sysmut.menu.esp import ESP_TYPE, Esp
from sysmut.menu.firmware import Boot, Entry, Wanted

UUID = "11111111-2222-3333-4444-55555555aaaa"
OTHER = "99999999-2222-3333-4444-55555555aaaa"
LOADER = "\\EFI\\refind\\refind_x64.efi"
MACHINES = {"x64": 0x8664, "aa64": 0xAA64, "ia32": 0x14C}


def program(arch: str = "x64", text: str = "rEFInd 0.13.2 btrfs File System Driver", filler: bytes = b"") -> bytes:
    """An EFI program with a text in it, as compilers make it."""
    return (
        b"MZ".ljust(60, b"\0")
        + struct.pack("<I", 64)
        + struct.pack("<4sH", b"PE\0\0", MACHINES[arch])
        + (bytes(99) + text.encode("utf-16-le") + b"\0\0" + filler)
    )


def package(place: Path, *, arch: str = "x64", folder: str | None = None, release: str = "0.13.2") -> Path:
    """rEFInd's files as a distribution's package has them."""
    drivers = place / (folder or f"drivers_{arch}")
    drivers.mkdir(parents=True)
    (drivers / f"btrfs_{arch}.efi").write_bytes(program(arch, f"rEFInd {release} btrfs File System Driver"))
    (drivers / f"ext4_{arch}.efi").write_bytes(program(arch))
    (place / f"refind_{arch}.efi").write_bytes(program(arch, f"{release}\0rEFInd Version %s"))
    (place / "refind.conf-sample").write_text("# sample\n")
    (place / "icons").mkdir()
    for name in ("os_linux.png", "boot_win.png", "README"):
        (place / "icons" / name).write_bytes(name.encode())
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the package as Debian has it."""
    package(tmp_path / "root/usr/share/refind/refind")
    return tmp_path / "root"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """An empty system partition."""
    (tmp_path / "esp").mkdir()
    return tmp_path / "esp"


def below(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


# -- rEFInd's files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("usr/share/refind/refind", "drivers_x64"),
        ("usr/share/refind", "drivers_x64"),
        ("usr/share/refind", "drivers_x86_64"),
        ("usr/share/refind", "drivers"),
        ("usr/lib/refind", "drivers_x64"),
        ("usr/share/refind-0.14.2/refind", "drivers_x64"),
        ("usr/share/refind-0.14.2", "drivers_x64"),
    ],
)
def test_the_files_are_found_where_distributions_have_them(tmp_path: Path, place: str, folder: str) -> None:
    package(tmp_path / "root" / place, folder=folder)
    (tmp_path / "empty").mkdir()
    found = binaries.find_files((str(tmp_path / "empty"), str(tmp_path / "root")), "x64")
    assert found == binaries.Files(
        str(tmp_path / "root"), f"{place}/refind_x64.efi", f"{place}/{folder}/btrfs_x64.efi", f"{place}/icons"
    )
    assert found.read_icons() == (("boot_win.png", b"boot_win.png"), ("os_linux.png", b"os_linux.png"))


def test_the_newest_of_several_versions_is_taken(tmp_path: Path) -> None:
    for release in ("0.9.2", "0.14.2", "0.13.3.1"):
        package(tmp_path / f"usr/share/refind-{release}/refind")
    assert "0.14.2" in binaries.find_files((str(tmp_path),), "x64").loader


def test_a_directory_that_is_given_is_the_only_one_looked_at(tmp_path: Path, root: Path) -> None:
    own = package(tmp_path / "own")
    (tmp_path / "link").symlink_to(own)
    found = binaries.find_files((str(root),), "x64", str(tmp_path / "link"))
    assert (found.root, found.loader) == (str(own), "refind_x64.efi")
    for wrong in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match=f"--from {wrong}: "):
            binaries.find_files((str(root),), "x64", str(wrong))


def test_without_all_that_is_needed_the_package_to_install_is_named(root: Path) -> None:
    with pytest.raises(NotSysmut, match=r"refind_aa64\.efi") as caught:
        binaries.find_files((str(root),), "aa64")
    assert "package refind" in caught.value.hint
    assert "--from" in caught.value.hint
    (root / "usr/share/refind/refind/drivers_x64/btrfs_x64.efi").unlink()
    with pytest.raises(NotSysmut, match=r"btrfs_x64\.efi"):
        binaries.find_files((str(root),), "x64")


def test_a_generations_links_do_not_lead_to_the_host(tmp_path: Path) -> None:
    outside = package(tmp_path / "outside")
    share = tmp_path / "root/usr/share"
    share.mkdir(parents=True)
    (share / "refind").symlink_to(outside)
    with pytest.raises(NotSysmut):
        binaries.find_files((str(tmp_path / "root"),), "x64")
    (share / "refind").unlink()
    package(share / "refind")
    (share / "refind/icons/secret.png").symlink_to(outside / "icons/os_linux.png")
    os.mkfifo(share / "refind/icons/fifo.png")
    (share / "refind/icons/a:b.png").touch()
    (share / "refind/refind_x64.efi").unlink()
    (share / "refind/refind_x64.efi").symlink_to(outside / "refind_x64.efi")
    found = binaries.find_files((str(tmp_path / "root"),), "x64")
    with pytest.raises(FileNotFoundError):
        found.read_binary(found.loader, "x64")
    assert "secret.png" not in dict(found.read_icons())


def test_icons_that_are_none_are_passed_over_and_their_size_is_bounded(root: Path) -> None:
    icons = root / "usr/share/refind/refind/icons"
    os.mkfifo(icons / "fifo.png")
    (icons / "a:b.png").touch()
    for number in range(4):
        (icons / f"z{number}.png").write_bytes(bytes(3 * 2**20))
    files = binaries.find_files((str(root),), "x64")
    assert [name for name, _ in files.read_icons()] == ["boot_win.png", "os_linux.png", "z0.png", "z1.png"]


@pytest.mark.parametrize(
    "data", [b"", b"MZ", b"x" * 200, program("aa64"), program()[:68], b"MZ".ljust(60, b"\0") + b"\xff" * 4 + bytes(99)]
)
def test_what_is_no_program_for_this_firmware_is_refused(root: Path, data: bytes) -> None:
    (root / "usr/share/refind/refind/refind_x64.efi").write_bytes(data)
    files = binaries.find_files((str(root),), "x64")
    with pytest.raises(BadData, match=f"{root}/usr/share/refind/refind/refind_x64.efi: not an EFI program for x64"):
        files.read_binary(files.loader, "x64")


def test_a_loader_that_is_no_file_is_refused_with_its_path(root: Path) -> None:
    loader = root / "usr/share/refind/refind/refind_x64.efi"
    loader.unlink()
    os.mkfifo(loader)
    files = binaries.find_files((str(root),), "x64")
    with pytest.raises(BadData, match=f"{loader}: not a regular file"):
        files.read_binary(files.loader, "x64")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("rEFInd 0.13.2 btrfs File System Driver", (0, 13, 2)),
        ("rEFInd 0.13.3.1 btrfs File System Driver", (0, 13, 3, 1)),
        ("0.14.2\0rEFInd Version %s", (0, 14, 2)),
        ("1.2.3" + " " * 80 + "rEFInd 0.14.2 btrfs", (0, 14, 2)),
        ("rEFInd", None),
        ("rEFInd 14", None),
        ("GRUB 2.0.6", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("shift", [b"", b"\0"])
def test_the_version_is_what_the_program_says_of_itself(
    text: str, version: tuple[int, ...] | None, shift: bytes
) -> None:
    assert binaries.version(shift + program(text=text)) == version


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_can_be_asked_what_they_are(data: bytes) -> None:
    assert not binaries.is_program(b"x" + data, "x64")
    assert isinstance(binaries.is_program(b"MZ" + data, "x64"), bool)
    assert binaries.version(data) is None or binaries.is_refind(data)


@pytest.mark.parametrize(
    ("machine", "bits", "arch"),
    [
        ("x86_64", "64", "x64"),
        ("x86_64", "32", "ia32"),
        ("x86_64", "", "x64"),
        ("i686", "", "ia32"),
        ("i686", "64", "x64"),
        ("aarch64", "64", "aa64"),
    ],
)
def test_the_firmwares_architecture_counts_and_not_the_kernels(machine: str, bits: str, arch: str) -> None:
    assert binaries.arch_of(machine, bits) == arch


def test_an_architecture_without_refind_is_told() -> None:
    with pytest.raises(NotSysmut, match="riscv64"):
        binaries.arch_of("riscv64", "64")
    assert binaries.firmware_arch() in MACHINES


# -- the plan, and doing it --------------------------------------------------------------------------


def do(esp: Esp, root: Path, *, removable: bool = True, arch: str = "x64") -> tuple[str, ...]:
    """Plan and execute; the lines of the plan."""
    planned = setup.plan(esp, (str(root),), removable=removable, arch=arch)
    setup.execute(esp, planned)
    return planned.lines


@pytest.mark.parametrize(("arch", "name"), [("x64", "bootx64"), ("aa64", "bootaa64"), ("ia32", "bootia32")])
def test_removable_media_get_what_firmware_starts_by_itself(tmp_path: Path, top: Path, arch: str, name: str) -> None:
    place = package(tmp_path / "own/usr/share/refind", arch=arch)
    lines = do(Esp(str(top)), tmp_path / "own", arch=arch)
    assert below(top) == {
        f"EFI/BOOT/{name}.efi": (place / f"refind_{arch}.efi").read_bytes(),
        f"EFI/BOOT/drivers_{arch}/btrfs_{arch}.efi": (place / f"drivers_{arch}/btrfs_{arch}.efi").read_bytes(),
        "EFI/BOOT/icons/boot_win.png": b"boot_win.png",
        "EFI/BOOT/icons/os_linux.png": b"os_linux.png",
        "EFI/BOOT/refind.conf": setup.CONFIGURATION.encode(),
    }
    assert lines == (
        f"write 2 icons into /EFI/BOOT/icons (from {place}/icons)",
        f"write /EFI/BOOT/drivers_{arch}/btrfs_{arch}.efi (from {place}/drivers_{arch}/btrfs_{arch}.efi)",
        "write /EFI/BOOT/refind.conf (from sysmut)",
        f"write /EFI/BOOT/{name}.efi (from {place}/refind_{arch}.efi)",
    )
    assert Esp(str(top)).refind_directories() == ("EFI/BOOT",)


def test_nothing_is_written_by_planning(top: Path, root: Path) -> None:
    setup.plan(Esp(str(top)), (str(root),), removable=True, arch="x64")
    assert os.listdir(top) == []


def test_a_second_run_finds_nothing_to_do(top: Path, root: Path) -> None:
    esp = Esp(str(top))
    assert len(do(esp, root)) == 4
    before = {path: os.stat(path).st_ino for path in top.rglob("*")}
    assert do(esp, root) == ()
    assert {path: os.stat(path).st_ino for path in top.rglob("*")} == before


def test_what_is_started_comes_last_and_a_run_that_was_cut_off_is_mended(top: Path, root: Path) -> None:
    esp = Esp(str(top))
    planned = setup.plan(esp, (str(root),), removable=True, arch="x64")
    order = [copy.target.rpartition("/")[2] for copy in planned.copies]
    assert order == ["btrfs_x64.efi", "boot_win.png", "os_linux.png", "refind.conf", "bootx64.efi"]
    for copy in planned.copies[:3]:
        esp.write(copy.target, copy.data, keep=None)
    assert len(do(esp, root)) == 2
    assert do(esp, root) == ()


def test_a_refind_conf_that_is_there_is_never_replaced(top: Path, root: Path) -> None:
    (top / "efi/boot").mkdir(parents=True)
    (top / "efi/boot/REFIND.CONF").write_text("# mine\n")
    do(Esp(str(top)), root)
    assert (top / "efi/boot/REFIND.CONF").read_text() == "# mine\n"
    assert [name for name in below(top) if name.lower().endswith(".conf")] == ["efi/boot/REFIND.CONF"]


def test_another_boot_loader_in_the_fallbacks_place_is_left_alone(top: Path, root: Path) -> None:
    (top / "EFI/Boot").mkdir(parents=True)
    (top / "EFI/Boot/BOOTX64.EFI").write_bytes(program(text="GRUB"))
    with pytest.raises(UsageError, match="another boot loader") as caught:
        setup.plan(Esp(str(top)), (str(root),), removable=True, arch="x64")
    assert "--removable" in caught.value.hint
    assert below(top) == {"EFI/Boot/BOOTX64.EFI": program(text="GRUB")}
    (top / "EFI/Boot/BOOTX64.EFI").write_bytes(program(text="0.12.0\0rEFInd Version %s"))
    do(Esp(str(top)), root)
    assert b"0\x00.\x001\x003" in (top / "EFI/Boot/BOOTX64.EFI").read_bytes()


def test_a_newer_refind_is_not_replaced_by_an_older_one(top: Path, root: Path) -> None:
    newer = program(text="0.14.2\0rEFInd Version %s")
    (top / "EFI/BOOT/drivers_x64").mkdir(parents=True)
    (top / "EFI/BOOT/bootx64.efi").write_bytes(newer)
    (top / "EFI/BOOT/drivers_x64/btrfs_x64.efi").write_bytes(program(filler=b"built otherwise"))
    planned = setup.plan(Esp(str(top)), (str(root),), removable=True, arch="x64")
    assert planned.kept == ("EFI/BOOT/bootx64.efi",)
    setup.execute(Esp(str(top)), planned)
    assert (top / "EFI/BOOT/bootx64.efi").read_bytes() == newer
    assert (top / "EFI/BOOT/drivers_x64/btrfs_x64.efi").read_bytes() == program()


def test_the_first_configuration_boots_the_first_entry_and_searches_no_kernels() -> None:
    lines = [line for line in setup.CONFIGURATION.splitlines() if line and not line.startswith("#")]
    assert lines == [
        "timeout 5",
        "scanfor manual,internal,external,optical",
        "scan_all_linux_kernels false",
        "default_selection 1",
    ]


# -- the firmware's menu -----------------------------------------------------------------------------

HD = f"HD(1,GPT,{UUID},0x800,0x8000)"
OLD = f"""\
BootNext: 0003
BootCurrent: 0001
Timeout: 1 seconds
BootOrder: 0001,0000,2001
Boot0000* Windows Boot Manager\tHD(1,GPT,{UUID},0x800,0x8000)/File(\\EFI\\Microsoft\\Boot\\bootmgfw.efi)WINDOWS..x.
Boot0001  rEFInd Boot Manager\tHD(1,GPT,{UUID.upper()},0x800,0x8000)/File(\\EFI\\REFIND\\refind_x64.efi)
Boot0002* rEFInd trial\tHD(1,GPT,{UUID},0x800,0x8000)/File(\\EFI\\refind\\refind_x64.efi) .-.c. .t.r.i.a.l...
Boot0003* rEFInd Boot Manager\tHD(1,GPT,{OTHER},0x800,0x8000)/File(\\EFI\\refind\\refind_x64.efi)
Boot0004* stick\tPciRoot(0x0)/Pci(0x1,0x1)/HD(1,GPT,{OTHER},0x800,0x8000)/File(\\EFI\\stick.efi)
Boot2001* EFI USB Device\tRC
Boot0005* EFI Network\tPciRoot(0x0)/Pci(0x3,0x0)/MAC(525400123456,1)/IPv4(0.0.0.00.0.0.0,0,0)RC
Boot0006* MBR\tHD(1,MBR,0x12345678,0x800,0x8000)/File(\\EFI\\refind\\refind_x64.efi)
"""
NEW = f"""\
BootCurrent: 000A
BootOrder: 000A
Boot000A* rEFInd Boot Manager\tHD(1,GPT,{UUID},0x800,0x8000)/\\EFI\\refind\\refind_x64.efi
      dp: 04 01 2a 00 01 00 00 00 / 04 04 36 00 / 7f ff 04 00
Boot000B* trial\tHD(1,GPT,{UUID},0x800,0x8000)/\\EFI\\refind\\refind_x64.efi20002d006300
    data: 20 00 2d 00 63 00
"""


def test_what_efibootmgr_prints_is_read_in_its_older_and_newer_form() -> None:
    assert firmware.parse(OLD) == Boot(
        ("0001", "0000", "2001"),
        (
            Entry("0000", True, UUID, "\\EFI\\Microsoft\\Boot\\bootmgfw.efiWINDOWS..x."),
            Entry("0001", False, UUID, "\\EFI\\REFIND\\refind_x64.efi"),
            Entry("0002", True, UUID, "\\EFI\\refind\\refind_x64.efi .-.c. .t.r.i.a.l..."),
            Entry("0003", True, OTHER, "\\EFI\\refind\\refind_x64.efi"),
            Entry("0004", True, OTHER, "\\EFI\\stick.efi"),
        ),
    )
    assert firmware.parse(NEW) == Boot(
        ("000A",),
        (Entry("000A", True, UUID, LOADER), Entry("000B", True, UUID, f"{LOADER}20002d006300")),
    )
    assert firmware.parse("") == firmware.parse("No BootOrder is set; firmware will attempt recovery\n") == Boot((), ())


def test_an_entry_is_the_one_for_the_partition_and_program_without_data() -> None:
    found = firmware.parse(OLD).entry_for(UUID.upper(), LOADER)
    assert found is not None
    assert found.number == "0001"
    found = firmware.parse(OLD).entry_for(OTHER, LOADER)
    assert found is not None
    assert found.number == "0003"
    assert firmware.parse(OLD).entry_for(UUID, "\\EFI\\refind\\refind_aa64.efi") is None


WANTED = Wanted("/dev/sda", 1, UUID, LOADER)
CREATE = ("-c", "-d", "/dev/sda", "-p", "1", "-l", LOADER, "-L", "rEFInd Boot Manager")


@pytest.mark.parametrize(
    ("order", "entries", "calls"),
    [
        ((), (), (CREATE,)),
        (("0001",), (Entry("0001", True, OTHER, LOADER),), (CREATE,)),
        (("0001",), (Entry("0001", True, UUID, LOADER + " -c"),), (CREATE,)),
        (("0001", "0002"), (Entry("0001", True, UUID, LOADER),), ()),
        (("0001", "0002"), (Entry("0001", False, UUID, LOADER),), (("-a", "-b", "0001"),)),
        (("0002", "0001", "0003"), (Entry("0001", True, UUID, LOADER),), (("-o", "0001,0002,0003"),)),
        (("0002",), (Entry("0001", False, UUID, LOADER),), (("-a", "-b", "0001"), ("-o", "0001,0002"))),
        ((), (Entry("0001", True, UUID, LOADER),), (("-o", "0001"),)),
        (("0003", "0001"), (Entry("0001", True, UUID, LOADER), Entry("0003", True, UUID, LOADER)), ()),
        (
            ("0003", "0002"),
            (Entry("0001", True, UUID, LOADER), Entry("0002", True, UUID, LOADER)),
            (("-o", "0002,0003"),),
        ),
    ],
)
def test_the_entry_is_made_only_if_it_is_not_there_and_put_first_only_if_it_is_not(
    order: tuple[str, ...], entries: tuple[Entry, ...], calls: tuple[tuple[str, ...], ...]
) -> None:
    assert firmware.changes(Boot(order, entries), WANTED) == calls


FAKE = r"""
import json, os, sys
state_file = os.environ["FAKE_FIRMWARE"]
with open(state_file) as file:
    state = json.load(file)
arguments = sys.argv[1:]
state["calls"].append(arguments)
if state["fails"] and arguments[0] in state["fails"]:
    print("Could not prepare Boot variable: No space left on device", file=sys.stderr)
    sys.exit(5)
value = dict(zip(arguments, arguments[1:]))
if state["forgets"]:
    pass
elif "-c" in arguments:
    number = next(f"{n:04X}" for n in range(65536) if f"{n:04X}" not in state["entries"])
    path = value["-l"]
    state["entries"][number] = ["*", value["-L"], f"HD({value['-p']},GPT,%s,0x800,0x8000)/File({path})" % state["uuid"]]
    state["order"].insert(0, number)
elif "-a" in arguments:
    state["entries"][value["-b"]][0] = "*"
elif "-o" in arguments:
    state["order"] = value["-o"].split(",")
with open(state_file, "w") as file:
    json.dump(state, file)
print("BootCurrent: 0000\nTimeout: 0 seconds\nBootOrder: " + ",".join(state["order"]))
for number, (active, label, path) in sorted(state["entries"].items()):
    print(f"Boot{number}{active} {label}" + (f"\t{path}" if "-v" in arguments else ""))
"""


class Firmware:
    """A machine with UEFI, as far as efibootmgr shows it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "firmware.json"
        self.state: dict[str, Any] = {
            "uuid": UUID,
            "order": ["0000"],
            "entries": {"0000": ["*", "Windows Boot Manager", f"{HD}/File(\\EFI\\Microsoft\\Boot\\bootmgfw.efi)"]},
            "calls": [],
            "fails": [],
            "forgets": False,
        }

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text()))

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._file.write_text(json.dumps(state))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Firmware:
    """UEFI, with efibootmgr on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "efibootmgr").write_text(f"#!{sys.executable} -S\n{FAKE}")
    (programs / "efibootmgr").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("FAKE_FIRMWARE", str(tmp_path / "firmware.json"))
    monkeypatch.setattr(firmware, "_FIRMWARE", str(tmp_path))
    return Firmware(tmp_path)


@pytest.fixture
def esp(top: Path) -> Esp:
    """A system partition that the firmware knows."""
    return Esp(str(top), "/dev/sda", Partition(1, 2**20, 16 * 2**20, ESP_TYPE, UUID, "ESP"))


def test_refind_gets_its_directory_and_the_first_entry_in_the_firmwares_menu(
    esp: Esp, root: Path, machine: Firmware
) -> None:
    lines = do(esp, root, removable=False)
    assert lines[-1] == (
        "run efibootmgr -c -d /dev/sda -p 1 -l '\\EFI\\refind\\refind_x64.efi' -L 'rEFInd Boot Manager'"
    )
    assert {path for path in below(Path(esp.path)) if path.endswith(".efi")} == {
        "EFI/refind/refind_x64.efi",
        "EFI/refind/drivers_x64/btrfs_x64.efi",
    }
    assert machine.state["order"] == ["0001", "0000"]
    assert machine.state["entries"]["0001"] == ["*", "rEFInd Boot Manager", f"{HD}/File({LOADER})"]
    calls = machine.state["calls"]
    assert do(esp, root, removable=False) == ()
    assert machine.state["calls"] == [*calls, ["-v"]]


def test_an_entry_that_is_there_is_only_put_first_and_switched_on(esp: Esp, root: Path, machine: Firmware) -> None:
    state = machine.state
    state["entries"]["0007"] = [" ", "rEFInd", f"{HD}/File({LOADER})"]
    machine.state = state
    assert do(esp, root, removable=False)[-2:] == ("run efibootmgr -a -b 0007", "run efibootmgr -o 0007,0000")
    assert machine.state["order"] == ["0007", "0000"]
    assert machine.state["entries"]["0007"][0] == "*"


def test_planning_only_reads_the_firmwares_menu(esp: Esp, root: Path, machine: Firmware) -> None:
    setup.plan(esp, (str(root),), removable=False, arch="x64")
    assert machine.state["calls"] == [["-v"]]
    assert os.listdir(esp.path) == []


def test_a_firmware_that_forgets_is_told(esp: Esp, root: Path, machine: Firmware) -> None:
    machine.state = {**machine.state, "forgets": True}
    with pytest.raises(SystemFailure, match="did not keep") as caught:
        do(esp, root, removable=False)
    assert "--removable" in caught.value.hint


@pytest.mark.parametrize("call", ["-v", "-c"])
def test_what_efibootmgr_complains_of_is_passed_on(esp: Esp, root: Path, machine: Firmware, call: str) -> None:
    machine.state = {**machine.state, "fails": [call]}
    with pytest.raises(SystemFailure, match=f"efibootmgr {call}.*: Could not prepare Boot variable: No space left"):
        do(esp, root, removable=False)


def test_without_efibootmgr_it_is_told_what_to_install(
    esp: Esp, root: Path, machine: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BadConfiguration, match="efibootmgr is needed") as caught:
        do(esp, root, removable=False)
    assert "package efibootmgr" in caught.value.hint
    assert os.listdir(esp.path) == []
    assert do(esp, root, removable=True) != ()


def test_without_uefi_or_a_known_partition_removable_is_proposed(
    esp: Esp, root: Path, top: Path, machine: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (Esp(str(top)), Esp(str(top), "/dev/sda"), Esp(str(top), None, esp.partition))
    for other in plain:
        with pytest.raises(UsageError, match="not a partition that the firmware") as caught:
            do(other, root, removable=False)
        assert "--removable" in caught.value.hint
    monkeypatch.setattr(firmware, "_FIRMWARE", "/nonexistent")
    with pytest.raises(SysmutError, match="not booted by UEFI") as caught_too:
        do(esp, root, removable=False)
    assert "--removable" in caught_too.value.hint
    assert machine.state["calls"] == []
    assert os.listdir(top) == []
