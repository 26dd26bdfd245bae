"""A session: `session.py DEVICE TOP ID COMMON` runs /bin/true in a new generation and publishes it.

The same system calls as sysmut's, with the same syncs: snapshot, fstab, namespaces, mounts, chroot, seal, links,
syncfs, rename, syncfs.
"""

import ctypes
import os
import sys

import btrfsutil

device, top, name, common = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    words = [text.encode() for text in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def bind(source: str, target: str, flags: int) -> None:
    """A bind mount, with these flags in a second call, as the kernel wants it."""
    mount(source, target, "", 0x1000)
    mount("", target, "", 0x1000 | 0x20 | flags)


os.makedirs(top, exist_ok=True)
libc.unshare(0x20000)
mount("", "/", "", 0x80000 | 0x4000)
mount(device, top, "btrfs", 0x400, "subvolid=5")
fd = os.open(top, os.O_RDONLY)
source = os.path.realpath(f"{top}/current/0")
new = f"{top}/snapshots/{name}"
root = f"{new}/@"
os.mkdir(new)
btrfsutil.create_snapshot(f"{source}/@", root)
with open(f"{top}/fstab") as template, open(f"{root}/etc/fstab", "w") as fstab:
    fstab.write(template.read().replace("CURRENT_SNAPSHOTS_PATH", f"/snapshots/{name}"))
libc.unshare(0x20000000)
keeper = os.fork()
if keeper == 0:
    libc.unshare(0x20000 | 0x8000000 | 0x4000000)
    mount("proc", f"{root}/proc", "proc", 0xE)
    bind("/proc/sys", f"{root}/proc/sys", 0x1)
    if os.path.exists("/proc/sysrq-trigger"):
        bind("/proc/sysrq-trigger", f"{root}/proc/sysrq-trigger", 0x1)
    mount("sysfs", f"{root}/sys", "sysfs", 0xF)
    bind("/dev", f"{root}/dev", 0xB)
    bind("/dev/pts", f"{root}/dev/pts", 0xA)
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", 0x6, "mode=1777")
    mount("tmpfs", f"{root}/run", "tmpfs", 0x6, "mode=755")
    bind(f"{top}/commons/{common}", f"{root}/home", 0x400)
    child = os.fork()
    if child == 0:
        os.chroot(root)
        os.chdir("/")
        os.execv("/bin/true", ["/bin/true"])
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if os.waitpid(keeper, 0)[1] != 0:
    sys.exit("the command failed")
with open(f"{new}/sysmut.json", "w") as record:
    record.write(f'{{"generation": "{name}"}}\n')
btrfsutil.set_subvolume_read_only(root, True)
slots = [f"../../snapshots/{name}", *(os.readlink(f"{top}/current/{number}") for number in range(3))]
os.mkdir(f"{top}/links/{name}")
for number, target in enumerate(slots):
    os.symlink(target, f"{top}/links/{name}/{number}")
os.symlink(f"./links/{name}", f"{top}/next/current")
if libc.syncfs(fd) != 0:
    sys.exit("not written out")
os.rename(f"{top}/next/current", f"{top}/current")
if libc.syncfs(fd) != 0:
    sys.exit("not written out")
