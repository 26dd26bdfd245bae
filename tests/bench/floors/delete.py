"""The bare call: `delete.py TOP` deletes the subvolume of every generation that is in no slot; prints the seconds
that the loop took. Nothing else of them is removed."""

import os
import sys
import time

import btrfsutil

(top,) = sys.argv[1:]
kept = {os.path.basename(os.readlink(f"{top}/current/{number}")) for number in range(4)}
doomed = [f"{top}/snapshots/{name}/@" for name in os.listdir(f"{top}/snapshots") if name not in kept]
began = time.perf_counter()
for path in doomed:
    btrfsutil.delete_subvolume(path)
print(time.perf_counter() - began)
