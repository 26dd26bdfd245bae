"""From the paths at which two roots may differ to how they do."""

import errno
import os
import re
from collections import defaultdict
from typing import Literal

from sysmut import compare, fstab, inroot, layout
from sysmut.changes.candidates import Candidates
from sysmut.changes.model import FileChange, difference
from sysmut.errors import BadData
from sysmut.values import replace

_FSTAB = "/etc/fstab"

_Found = dict[str, os.stat_result]


def judged(candidates: Candidates) -> list[FileChange]:
    """The changes at these paths, in no order."""
    changes: list[FileChange] = []
    gone: _Found = {}
    come: _Found = {}
    for path in candidates.paths:
        try:
            was, now = candidates.old.status(path), candidates.new.status(path)
            if was is not None and now is not None:
                kind = _difference(candidates, path, path, was, now)
                if kind is not None:
                    changes.append(FileChange(path, kind))
            elif was is not None:
                gone[path] = was
            elif now is not None:
                come[path] = now
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            changes.append(FileChange(path, "modified"))
    changes += _renamed(candidates, gone, come)
    changes += [FileChange(path, "removed") for path in gone]
    return changes + [FileChange(path, "added") for path in come]


def _difference(
    candidates: Candidates, before: str, after: str, was: os.stat_result, now: os.stat_result
) -> Literal["modified", "attributes"] | None:
    old, new = candidates.old.at(before), candidates.new.at(after)
    return difference(old, new, was, now, same_content=candidates.same_content(was, now))


def _renamed(candidates: Candidates, gone: _Found, come: _Found) -> list[FileChange]:
    """What is gone under one name, and has come, quite the same, under another: taken out of both."""
    by_inode: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted(gone, reverse=True):
        by_inode[gone[path].st_ino].append(path)
    changes = []
    for path in sorted(come):
        now = come[path]
        before = next((old for old in by_inode[now.st_ino][::-1] if candidates.same_inode(gone[old], now)), None)
        if before is not None and _difference(candidates, before, path, gone[before], now) is None:
            by_inode[now.st_ino].remove(before)
            changes.append(FileChange(path, "renamed", before))
    for change in changes:
        del come[change.path], gone[change.before or ""]
    return changes


def without_own_path(changes: list[FileChange], old: str, new: str, old_id: str, new_id: str) -> list[FileChange]:
    """The changes between the roots of two generations with these ids, without that of etc/fstab, which sysmut
    writes anew in every generation, if it is but that each one's names its own path. An empty id is of none."""
    change = FileChange(_FSTAB, "modified")
    if change not in changes or not (old_id and new_id):
        return changes
    path = _FSTAB.lstrip("/")
    try:
        texts = [_general(inroot.read_text(root, path), name) for root, name in ((old, old_id), (new, new_id))]
        if texts[0] != texts[1]:
            return changes
        same = compare.same_attributes(f"{old}{_FSTAB}", f"{new}{_FSTAB}")
    except (OSError, BadData):
        return changes
    instead = [] if same else [replace(change, kind="attributes")]
    return [other for found in changes for other in (instead if found == change else [found])]


def _general(text: str, generation: str) -> str:
    own = fstab.encode(f"/{layout.generation(generation)}")
    return re.sub(re.escape(own) + r"(?=[/,\s]|\Z)", lambda _: layout.PLACEHOLDER, text)
