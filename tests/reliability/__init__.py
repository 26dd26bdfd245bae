"""The promises, shown by search and not by example: every crash point, every failing call, every crowd.

Each part is a search over points (a block write, a system call, a random operation, an input), and
ends in rows of one table. The quick forms are part of the normal check; the long forms write that
table into docs/reliability.md.
"""
