"""Which packages a root holds, read from the package managers' own files; none of them is run.

What a database says may have been written by someone hostile: it is resolved inside the root, only regular
files are read, and what is no database of its kind, or holds more than any system does, is BadData.
"""

from sysmut.packages.model import Change, Inventory, Tally, compare, tally
from sysmut.packages.reading import changes, read

__all__ = ["Change", "Inventory", "Tally", "changes", "compare", "read", "tally"]
