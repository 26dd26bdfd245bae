"""A collection: `syscln.py DEVICE TOP` deletes every generation that is in no slot, and commits once."""

import ctypes
import os
import sys

import btrfsutil

device, top = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(top, exist_ok=True)
libc.unshare(0x20000)
libc.mount(b"", b"/", b"", ctypes.c_ulong(0x80000 | 0x4000), b"")
if libc.mount(device.encode(), top.encode(), b"btrfs", ctypes.c_ulong(0x400), b"subvolid=5") != 0:
    sys.exit("not mounted")
current = os.path.basename(os.readlink(f"{top}/current"))
kept = {os.path.basename(os.readlink(f"{top}/current/{number}")) for number in range(4)}
doomed = [name for name in os.listdir(f"{top}/snapshots") if name not in kept]
for name in doomed:
    path = f"{top}/snapshots/{name}"
    btrfsutil.delete_subvolume(f"{path}/@")
    os.unlink(f"{path}/sysmut.json")
    os.rmdir(path)
old = [name for name in os.listdir(f"{top}/links") if name != current]
for name in old:
    path = f"{top}/links/{name}"
    for link in os.listdir(path):
        os.unlink(f"{path}/{link}")
    os.rmdir(path)
if doomed or old:
    btrfsutil.sync(top)
