"""How the boot loader is to find the btrfs partition: by a name that no other partition has."""

import os

from sysmut import disks
from sysmut.config import Config
from sysmut.errors import NotSysmut
from sysmut.gpt import Partition
from sysmut.toplevel import TopLevel


def volume_of(top: TopLevel, config: Config) -> str:
    """What `volume` says in the menu: what the settings say, else the partition's PARTLABEL where no
    other partition has it, else its PARTUUID. Raises NotSysmut where the filesystem is not on a GPT
    partition."""
    if config.volume:
        return config.volume
    found, others = _partition(top)
    if found is None:
        raise NotSysmut(
            "the filesystem is not on a GPT partition, so the boot loader has no name for it",
            hint="give the filesystem's label, if it has one: --volume LABEL",
        )
    label = found.label
    # rEFInd looks at labels of filesystems, too, and takes the first that fits.
    same = [other for other in others if other.uuid != found.uuid and other.label.lower() == label.lower()]
    plain = label.isascii() and label.isprintable() and label.strip() == label
    taken = os.path.lexists(f"/dev/disk/by-label/{label}") if label else True
    return label if plain and label and not same and not taken else found.uuid


def _partition(top: TopLevel) -> tuple[Partition | None, tuple[Partition, ...]]:
    """The partition that the filesystem is on, its first where it has several; and all that there are."""
    for name in sorted(os.listdir(f"/sys/fs/btrfs/{top.filesystem}/devices")):
        device = f"/dev/{name.replace('!', '/')}"
        backing = disks.backing_of(device)
        if backing is not None:
            found, others = disks.in_image(*backing), disks.every_in_image(backing[0])
        else:
            found, others = disks.partition(device), tuple(partition for _, partition in disks.every())
        if found is not None:
            return found, others
    return None, ()
