"""How much of the disk each generation holds by itself."""

from collections.abc import Callable, Mapping

from sysmut import btrfs
from sysmut.toplevel import TopLevel

_SHARED = -1


def exclusive(
    top: TopLevel,
    subvolumes: Mapping[str, tuple[tuple[str, int], ...]],
    *,
    counted: bool,
    tick: Callable[[str], None] = lambda doing: None,
) -> dict[str, int]:
    """Generation -> bytes that would be free if it alone were deleted. `subvolumes`: the id of each of its subvolumes.

    Where quotas are on, the kernel knows. Else, if it is to be `counted`, every generation's list of extents is read,
    which takes a second for a few gigabytes of small files: data only, and what a common shares with it (a reflink) is
    taken to be its own. `tick` is told how far that is. Empty where neither is so.
    """
    known = btrfs.exclusive_sizes(top.fd, top.path)
    if known:
        return {name: sum(known.get(number, 0) for _, number in inside) for name, inside in subvolumes.items()}
    if not counted:
        return {}
    sizes = dict.fromkeys(subvolumes, 0)
    names = list(subvolumes)
    owner: dict[int, int] = {}
    for index, name in enumerate(names):
        tick(f"counting what each generation holds: {index + 1} of {len(names)}")
        for _, number in subvolumes[name]:
            for place, size in btrfs.extents(top.fd, number, top.path):
                other = owner.get(place)
                if other is None:
                    owner[place] = index
                    sizes[name] += size
                elif other not in (index, _SHARED):
                    owner[place] = _SHARED
                    sizes[names[other]] -= size
    return sizes
