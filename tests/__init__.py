"""sysmut's tests. Those that need root and btrfs work on loop devices of their own."""
