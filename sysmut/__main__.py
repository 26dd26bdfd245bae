"""`python3 -m sysmut`."""

from sysmut.cli import main

main()
