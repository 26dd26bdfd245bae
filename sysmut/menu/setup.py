"""rEFInd itself put on the system partition: its program, the btrfs driver, icons, a first refind.conf, and
the entry in the firmware's menu."""

from sysmut.errors import UsageError
from sysmut.menu import binaries, firmware
from sysmut.menu.esp import Esp
from sysmut.values import frozen

CONFIGURATION = """\
# rEFInd's configuration, made by `sysmut refind --setup`, and yours from then on: sysmut only adds the
# line that includes its own file. https://www.rodsbooks.com/refind/configfile.html tells what else may
# stand here.

# Seconds until the default is booted.
timeout 5

# The entries that sysmut writes come first; then what is found on the disks, such as Windows.
scanfor manual,internal,external,optical

# Kernels are not searched for: one that is found in passing would be booted without the options that it
# needs, and perhaps with another generation's modules.
scan_all_linux_kernels false

# The first entry is the default, always. Without this line the default is what was booted last, and a
# fallback chosen once by hand would stay in force.
default_selection 1
"""


_ICONS = "/icons/"


@frozen
class Copy:
    """One file to be written. `target` is from the top of the system partition."""

    source: str
    """Where it comes from, for the user to read."""
    target: str
    data: bytes


@frozen
class Plan:
    """What is to be done, in order; `lines` says it, a line each."""

    copies: tuple[Copy, ...]
    kept: tuple[str, ...]
    """Programs on the system partition that are newer than those at hand, and stay."""
    wanted: firmware.Wanted | None
    """The entry in the firmware's menu; None for removable media."""
    calls: tuple[tuple[str, ...], ...]
    """The arguments of each call of efibootmgr."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is to be done, each a clause that begins with a verb; the icons in one."""
        icons = [copy for copy in self.copies if _ICONS in copy.target]
        files = [f"write /{copy.target} (from {copy.source})" for copy in self.copies if copy not in icons]
        if icons:
            where = icons[0].target.rpartition("/")[0]
            files.insert(0, f"write {len(icons)} icons into /{where} (from {icons[0].source.rpartition('/')[0]})")
        return (*files, *(f"run efibootmgr {_shown(call)}" for call in self.calls))


def plan(
    esp: Esp, roots: tuple[str, ...], folder: str | None = None, *, removable: bool, arch: str | None = None
) -> Plan:
    """What it takes to have rEFInd on the system partition; nothing of it is done yet. rEFInd's files are
    taken from `folder`, else from the first of the root directories that has them. With `removable` they
    go where firmware looks by itself (EFI/BOOT), which needs no entry in its menu.

    Files that are there in the same version stay, and so does any refind.conf. Raises UsageError where
    EFI/BOOT has another boot loader, or where the partition of `esp` is not known to the firmware; and
    what binaries.find_files, Files.read_binary and firmware.read raise.
    """
    arch = arch or binaries.firmware_arch()
    files = binaries.find_files(roots, arch, folder)
    home, program = ("EFI/BOOT", f"boot{arch}.efi") if removable else ("EFI/refind", f"refind_{arch}.efi")
    if removable:
        _refuse_other(esp, f"{home}/{program}")
    wanted = None if removable else _wanted(esp, f"{home}/{program}")
    calls = () if wanted is None else firmware.changes(firmware.read(), wanted)
    driver = Copy(
        files.shown(files.driver), f"{home}/drivers_{arch}/btrfs_{arch}.efi", files.read_binary(files.driver, arch)
    )
    loader = Copy(files.shown(files.loader), f"{home}/{program}", files.read_binary(files.loader, arch))
    icons = [
        Copy(files.shown(f"{files.icons}/{name}"), f"{home}{_ICONS}{name}", data) for name, data in files.read_icons()
    ]
    main = Copy("sysmut", f"{home}/refind.conf", CONFIGURATION.encode("ascii"))
    first = [main] if esp.read(main.target) is None else []
    # What is started comes last: once it is there, it has all that it needs.
    missing = [copy for copy in (driver, *icons, *first, loader) if esp.read(copy.target) != copy.data]
    newer = {copy.target for copy in (driver, loader) if _is_newer(esp.read(copy.target), copy.data)}
    copies = tuple(copy for copy in missing if copy.target not in newer)
    return Plan(copies, tuple(sorted(newer)), wanted, calls)


def execute(esp: Esp, planned: Plan) -> None:
    """Do it. Each file is written whole or not at all; a run that was cut off is mended by another."""
    for copy in planned.copies:
        esp.write(copy.target, copy.data, keep=None)
    if planned.wanted is not None:
        firmware.apply(planned.calls, planned.wanted)


def _is_newer(present: bytes | None, ours: bytes) -> bool:
    """Whether what is on the system partition is of a later version of rEFInd than what we have."""
    there, here = binaries.version(present or b""), binaries.version(ours)
    return there is not None and here is not None and there > here


def _refuse_other(esp: Esp, target: str) -> None:
    present = esp.read(target)
    if present is not None and not binaries.is_refind(present):
        raise UsageError(
            f"{esp.path}/{target}: another boot loader",
            hint="rename it if it is not needed, or leave out --removable, which leaves it alone",
        )


def _wanted(esp: Esp, loader: str) -> firmware.Wanted:
    if esp.disk is None or esp.partition is None:
        raise UsageError(
            f"{esp.path}: not a partition that the firmware could have an entry for",
            hint="--removable needs no entry, and is right for an image or a stick",
        )
    path = "\\" + loader.replace("/", "\\")
    return firmware.Wanted(esp.disk, esp.partition.number, esp.partition.uuid, path)


def _shown(arguments: tuple[str, ...]) -> str:
    return " ".join(f"'{word}'" if " " in word or "\\" in word else word for word in arguments)
