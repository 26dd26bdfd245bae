"""What must be true of a top level, asked of the disk without a line of sysmut's."""

import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import btrfsutil

from tests.lab import PLACEHOLDER

Manifest = Mapping[str, tuple[int, int, int]]
"""Path in a generation -> mode, size, and a checksum of content or link target."""

_LARGE = 2**20
"""Files from this size on are not read: there is one, which every session runs."""


def manifest(root: str | Path) -> Manifest:
    """All that a generation's root holds."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = f"{directory}/{name}"
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode) and status.st_size < _LARGE:
                content = Path(path).read_bytes()
            found[path[len(str(root)) :]] = (status.st_mode, status.st_size, zlib.crc32(content))
    return found


@dataclass(frozen=True)
class Claim:
    """What has been reported as done, last, and what is being done."""

    slots: Sequence[str]
    coming: Sequence[str]
    """The slots when what is going on now has been done; the same where they do not change."""
    gone: frozenset[str] = frozenset()
    """What was reported as deleted."""
    pins: Mapping[str, str] | None = None


@dataclass
class Verdict:
    """What is wrong with a disk."""

    broken: list[str]
    """Promises that do not hold."""
    lost: list[str]
    """What was reported as done and is not there."""


def slots_of(top: str) -> list[str]:
    """The generation in each slot, by following the links as the boot loader does."""
    current = f"{top}/current"
    return [Path(os.path.realpath(f"{current}/{name}")).name for name in sorted(os.listdir(current), key=int)]


def judge(top: str, claim: Claim, manifests: Mapping[str, Manifest]) -> Verdict:
    """Hold what is mounted at `top` against the claim: whole slots, and the old or the new."""
    verdict = Verdict([], [])
    try:
        slots = slots_of(top)
    except OSError as error:
        return Verdict([f"current: {error.strerror}"], [])
    if slots not in (list(claim.slots), list(claim.coming)):
        verdict.lost.append(f"slots {slots}, reported {list(claim.slots)}")
    for name in dict.fromkeys(slots):
        verdict.broken += flaws(top, name, manifests.get(name))
    for pin, name in (claim.pins or {}).items():
        if not os.path.isdir(f"{top}/pins/{pin}/@"):
            verdict.lost.append(f"pin {pin} -> {name}")
    verdict.lost += [f"{name} was deleted" for name in claim.gone if os.path.exists(f"{top}/snapshots/{name}/@")]
    return verdict


def flaws(top: str, generation: str, expected: Manifest | None) -> list[str]:
    """What is not as it was when the generation was sealed."""
    root = f"{top}/snapshots/{generation}/@"
    try:
        if not btrfsutil.get_subvolume_read_only(root):
            return [f"{generation} is not sealed"]
        template = Path(f"{top}/fstab").read_text()
        found = []
        if Path(f"{root}/etc/fstab").read_text() != template.replace(PLACEHOLDER, f"/snapshots/{generation}"):
            found.append(f"{generation}: fstab")
        if expected is None:
            return [*found, f"{generation}: nobody knows it"]
        seen = manifest(root)
    except OSError as error:
        return [f"{generation}: {error}"]
    differing = sorted(path for path in {*seen, *expected} if seen.get(path) != expected.get(path))
    return found + [f"{generation}: {', '.join(differing[:3])}"] * bool(differing)
