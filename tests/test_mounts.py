"""mountinfo, as the kernel writes it."""

import os
from pathlib import Path

from sysmut import mounts

TEXT = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
43 27 0:39 /snapshots/a\\040b\\134\\011\\012/@ /mnt/x\\040y rw - btrfs /dev/loop0 rw,subvolid=258,subvol=/snapshots/x/@
44 27 0:39 /snapshots/G/@//deleted /gone//deleted rw - btrfs /dev/loop0 rw,subvolid=259
45 27 0:39 / /top rw - btrfs /dev/loop0 rw,subvolid=x
broken line
46 27 0:40 / /short rw -
"""


def test_every_line_is_read_and_what_is_none_is_passed_over() -> None:
    found = list(mounts.parse(TEXT))
    assert [mount.point for mount in found] == ["/proc", "/", "/mnt/x y", "/gone", "/top"]
    assert [mount.subvolume for mount in found] == [None, None, 258, 259, None]
    assert found[2].root == "/snapshots/a b\\\t\n/@"
    assert found[3].root == "/snapshots/G/@"
    assert (found[1].device, found[1].fstype, found[1].source) == ("254:0", "ext4", "/dev/vda")


def test_what_this_process_sees_is_among_what_everyone_sees() -> None:
    mine = {(mount.device, mount.point) for mount in mounts.of_self()}
    assert mine <= {(mount.device, mount.point) for mount in mounts.of_everyone()}


def test_the_last_mount_at_a_point_is_the_one_that_is_seen() -> None:
    root = mounts.mounted_at("/")
    assert root is not None
    assert os.stat("/").st_dev == os.makedev(*map(int, root.device.split(":"))) or root.fstype == "btrfs"
    assert mounts.mounted_at("/nothing is here") is None
    assert Path("/proc/self/mountinfo").exists()
