"""sysmut: a read-only btrfs root that changes only as a whole."""

__version__ = "0.1.0"
