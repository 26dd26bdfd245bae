"""rEFInd's configuration language: read as rEFInd reads it, written as it reads it back, and looked
through for what it does not mean as its author does. `python3 -m refind FILE...` does the last.

Knows nothing of any filesystem or program; the standard library is all that it needs."""
