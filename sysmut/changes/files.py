"""The files that differ between two generations."""

from sysmut import generations, layout
from sysmut.changes import judging, walk
from sysmut.changes.model import FileChange, below, in_order
from sysmut.changes.roots import kept, of_roots
from sysmut.changes.running import of_running
from sysmut.changes.tree import Tree
from sysmut.toplevel import TopLevel

__all__ = ["FileChange", "of_etc", "of_generations", "of_running"]

_ETC = "/etc"


def of_generations(top: TopLevel, before: str, after: str) -> list[FileChange]:
    """What differs between two sealed generations, by their ids, in all their subvolumes; sorted by path.

    Every path counts: all that was in a directory that is gone or has another name, all that is in a new
    one. Times do not count, nor that etc/fstab names the generation itself. What lies deeper than a path can be
    long counts as modified. Root is needed. Raises BadData for a generation that is not sealed, Busy for one that
    is removed meanwhile.
    """
    if before == after:
        return []
    for generation in (before, after):
        generations.require_sealed(top, generation)
    old, new = (top.at(layout.generation(generation)) for generation in (before, after))
    with kept(f"{old}/{layout.ROOT}"), kept(f"{new}/{layout.ROOT}"):
        names = set(generations.subvolumes(top, before)), set(generations.subvolumes(top, after))
        found = of_roots(f"{old}/{layout.ROOT}", f"{new}/{layout.ROOT}", before, after)
        for name in names[0] & names[1] - {layout.ROOT}:
            found += below(name, of_roots(f"{old}/{name}", f"{new}/{name}"))
        for name in names[0] - names[1]:
            found += below(name, [FileChange(path, "removed") for path in _all(f"{old}/{name}")])
        for name in names[1] - names[0]:
            found += below(name, [FileChange(path, "added") for path in _all(f"{new}/{name}")])
    return in_order(found)


def _all(root: str) -> list[str]:
    return ["/", *Tree(root).below("/")]


def of_etc(top: TopLevel, before: str, after: str) -> list[FileChange]:
    """What differs in /etc between two generations, sealed or not, by walking through both; else as of_directories
    and of_generations have it. Takes time that grows with /etc, and does not ask what else has changed."""
    old, new = top.at(layout.root(before)), top.at(layout.root(after))
    return judging.without_own_path(walk.of_directories(old, new, _ETC), old, new, before, after)
