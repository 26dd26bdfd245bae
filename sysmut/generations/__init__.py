"""Generations and link sets: read from disk, named, made, sealed, verified, published, removed.

State on disk is the truth: it is read anew under the lock (toplevel.locked), and nothing is kept
beside it.
"""

from sysmut.generations.model import State, booted, find, read, unresolved_pins
from sysmut.generations.pins import pin, unpin
from sysmut.generations.publish import (
    Around,
    Hindered,
    NotDurable,
    activate,
    nothing_around,
    preview,
    publish,
    rollback_target,
)
from sysmut.generations.slots import slot_lines
from sysmut.generations.store import Draft, Record, describe, read_record, remove, subvolumes
from sysmut.generations.use import Use, in_use
from sysmut.generations.verify import require_commons, require_sealed, require_whole

__all__ = [
    "Around",
    "Draft",
    "Hindered",
    "NotDurable",
    "Record",
    "State",
    "Use",
    "activate",
    "booted",
    "describe",
    "find",
    "in_use",
    "nothing_around",
    "pin",
    "preview",
    "publish",
    "read",
    "read_record",
    "remove",
    "require_commons",
    "require_sealed",
    "require_whole",
    "rollback_target",
    "slot_lines",
    "subvolumes",
    "unpin",
    "unresolved_pins",
]
