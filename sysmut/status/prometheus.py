"""Figures for Prometheus, in the text format that the node exporter's textfile collector reads.

See https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md.
"""

import contextlib
import os
from collections.abc import Mapping

from sysmut import layout
from sysmut.status.model import Status
from sysmut.status.monitoring import Health

_Samples = list[tuple[Mapping[str, str], float]]


def render(status: Status, health: Health, now: float) -> str:
    """The figures of a system, ready to be read."""
    state = status.state
    slots: _Samples = [({"slot": str(n), "generation": name or ""}, 1) for n, name in enumerate(state.slots)]
    boots: _Samples = [({"slot": str(n)}, bool(holds)) for n, holds in enumerate(health.boots)]
    made = layout.made(state.slots[0] or "")
    families: list[tuple[str, str, _Samples]] = [
        ("health", "0 all is well, 1 a warning, 2 critical.", [({}, health.level)]),
        ("slot_info", "Which generation a slot holds.", slots),
        ("slot_boots", "Whether a slot would boot.", boots),
        ("slots_different", "How many different generations the slots hold.", [({}, len(set(state.slots)))]),
        ("reboot_needed", "Whether slot 0 waits for a reboot.", [({}, status.booted not in (None, state.slots[0]))]),
        ("generations", "How many generations there are.", [({}, status.number)]),
        ("generations_waiting", "How many of them syscln would delete.", [({}, len(status.waiting))]),
        ("free_bytes", "Free space on the filesystem.", [({}, status.free)]),
        ("size_bytes", "Size of the filesystem.", [({}, status.total)]),
        (
            "slot0_made_timestamp_seconds",
            "When slot 0's generation was made.",
            [({}, made)] if made is not None else [],
        ),
        ("last_run_timestamp_seconds", "When these figures were taken.", [({}, int(now))]),
    ]
    return "".join(_family(*family, filesystem=status.filesystem) for family in families)


def _family(name: str, said: str, samples: _Samples, *, filesystem: str) -> str:
    lines = [f"# HELP sysmut_{name} {said}", f"# TYPE sysmut_{name} gauge"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"filesystem": filesystem, **labels}.items())
        lines.append(f"sysmut_{name}{{{shown}}} {int(value)}")
    return "\n".join(lines) + "\n" if samples else ""


def _escaped(text: str) -> str:
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(path: str, text: str) -> None:
    """Put the figures into a file by a rename, so that nobody ever reads half of them; world-readable, for the
    exporter is not root."""
    temporary = f"{path}.{os.getpid()}"  # which does not end in .prom: the collector passes it over
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(fd, 0o644)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
