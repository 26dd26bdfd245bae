"""A look: `look.py DEVICE TOP [records]` prints the slots and every generation, with its record if wanted.

What is in use is asked for as well: the mounts of every namespace.
"""

import ctypes
import json
import os
import sys

import btrfsutil

device, top, *more = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(top, exist_ok=True)
libc.unshare(0x20000)
libc.mount(b"", b"/", b"", ctypes.c_ulong(0x80000 | 0x4000), b"")
if libc.mount(device.encode(), top.encode(), b"btrfs", ctypes.c_ulong(0x400), b"subvolid=5") != 0:
    sys.exit("not mounted")
slots = [os.path.basename(os.readlink(f"{top}/current/{number}")) for number in range(4)]
seen: set[int] = set()
used: set[str] = set()
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        space = os.stat(f"/proc/{process}/ns/mnt").st_ino
        if space not in seen:
            seen.add(space)
            with open(f"/proc/{process}/mountinfo") as file:
                used.update(line.split("subvolid=")[1].split(",")[0] for line in file if "subvolid=" in line)
    except OSError:
        continue
free = os.statvfs(top).f_bavail
lines = [f"{number}  {name}" for number, name in enumerate(slots)]
for path, number in btrfsutil.SubvolumeIterator(top, 5):
    if path.startswith("snapshots/"):
        name = path.split("/")[1]
        facts = ""
        if more and os.path.exists(f"{top}/snapshots/{name}/sysmut.json"):
            with open(f"{top}/snapshots/{name}/sysmut.json") as file:
                facts = json.load(file)["generation"]
        lines.append(f"{name}  {'used' if str(number) in used else ''}  {facts}")
print("\n".join(lines), free)
