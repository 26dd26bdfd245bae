"""A difference: `diff.py DEVICE TOP OLD NEW` reads the stream that tells two generations apart, and both package
databases, and says how long they are."""

import ctypes
import fcntl
import os
import struct
import sys
import threading

import btrfsutil

device, top, old, new = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(top, exist_ok=True)
libc.unshare(0x20000)
libc.mount(b"", b"/", b"", ctypes.c_ulong(0x80000 | 0x4000), b"")
if libc.mount(device.encode(), top.encode(), b"btrfs", ctypes.c_ulong(0x400), b"subvolid=5") != 0:
    sys.exit("not mounted")
read, write = os.pipe()
parts: list[bytes] = []


def drain() -> None:
    """Read the stream to its end."""
    while part := os.read(read, 65536):
        parts.append(part)


reader = threading.Thread(target=drain)
reader.start()
fd = os.open(f"{top}/snapshots/{new}/@", os.O_RDONLY)
parent = btrfsutil.subvolume_id(f"{top}/snapshots/{old}/@")
arguments = struct.pack("qQPQQI28x", write, 0, 0, parent, 1, 0)
fcntl.ioctl(fd, 0x40009426 | len(arguments) << 16, arguments)
os.close(write)
reader.join()
packages = []
for name in (old, new):
    path = f"{top}/snapshots/{name}/@/var/lib/dpkg/status"
    if os.path.exists(path):
        with open(path, "rb") as file:
            packages.append(file.read().count(b"\nPackage:"))
print(sum(map(len, parts)), packages)
