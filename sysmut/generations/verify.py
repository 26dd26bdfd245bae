"""Is a generation one that can be slot 0? What is asked of it before it is published."""

from sysmut import btrfs, fstab, inroot, layout
from sysmut.errors import BadData
from sysmut.generations.store import subvolumes
from sysmut.toplevel import TopLevel

_FSTAB = "etc/fstab"


def require_sealed(top: TopLevel, generation: str) -> None:
    """Raise BadData unless every subvolume of the generation, and those in them, are read-only."""
    directory = top.at(layout.generation(generation))
    outer = subvolumes(top, generation)
    inner = [f"{name}/{path}" for name in outer for path, _ in btrfs.subvolumes(f"{directory}/{name}", 0)]
    for name in (*outer, *inner):
        if not btrfs.is_sealed(f"{directory}/{name}"):
            raise BadData(
                f"generation {generation} is not sealed: its {name} can still be written",
                hint="a session that is open, or was killed, leaves such a one; syscln removes it",
            )


def require_whole(top: TopLevel, generation: str) -> None:
    """Raise BadData unless the generation's own fstab parses, names the generation itself as `/`, and
    every common that it mounts is there."""
    name = f"{layout.root(generation)}/{_FSTAB}"
    try:
        text = inroot.read_text(top.at(layout.root(generation)), _FSTAB)
    except OSError as error:
        raise BadData(f"{name}: {error.strerror}") from None
    found = fstab.entries(text, name)
    roots = [entry for entry in found if entry.target == "/"]
    if not roots or not all(_names(top, entry, generation) for entry in roots):
        raise BadData(
            f"{name}: the line for / does not name subvol=/{layout.root(generation)} of this filesystem",
            hint="the session changed it: change the template, /fstab at the top level, instead",
        )
    require_commons(top, found, name)


def _names(top: TopLevel, entry: fstab.Entry, generation: str) -> bool:
    """Whether the line mounts the generation: by its path, with no id of another subvolume, and not
    from a filesystem with another UUID (a device's name may differ from the one it has here)."""
    other = entry.source.startswith("UUID=") and not top.owns(entry.source)
    number = entry.option("subvolid")
    wrong_id = number is not None and number != str(btrfs.subvolume_id(top.at(layout.root(generation))))
    return entry.subvolume == layout.root(generation) and not other and not wrong_id


def require_commons(top: TopLevel, found: tuple[fstab.Entry, ...], name: str) -> None:
    """Raise BadData, with the line, for a subvolume of this filesystem that an fstab mounts and that
    is not there. What stands in a generation's own directory is not asked for."""
    for entry in found:
        subvolume = entry.subvolume
        if not subvolume or entry.target == "/" or not top.owns(entry.source):
            continue
        if subvolume.startswith((layout.PLACEHOLDER, f"{layout.SNAPSHOTS}/")):
            continue
        if not _is_subvolume(top, subvolume):
            raise BadData(
                f"{name}, line {entry.line}: there is no subvolume /{subvolume} to mount on {entry.target}",
                hint="make it with btrfs subvolume create, or take the line out of /fstab at the top level",
            )


def _is_subvolume(top: TopLevel, path: str) -> bool:
    try:
        return btrfs.is_subvolume(top.inside(path))
    except OSError as error:
        if error.errno not in inroot.LEADS_NOWHERE:
            raise
        return False
