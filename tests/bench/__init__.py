"""Figures: sysmut on the clock, beside the least that can be done and beside what others do.

`python3 -m tests.bench` makes its own filesystems on loop devices, measures, and with --write puts the figures into
docs/performance.md. It runs in a mount namespace of its own, and its disk images have no name: whatever ends it,
nothing is left.
"""
