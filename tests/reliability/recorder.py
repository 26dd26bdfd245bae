"""A disk that remembers: one file served over /dev/fuse, with every write, flush and discard in a log.

A loop device over that file is a block device whose whole history is known. No device-mapper is needed.
The server is a process of its own (run as a program, this module is it), so that whoever waits for the disk
never waits for itself; when it dies, what waits for it gets an error. The protocol is that of linux/fuse.h.
"""

import errno
import json
import mmap
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from sysmut import syscalls
from tests.reliability.history import DISCARD, FLUSH, MARK, WRITE, Writer

_LARGEST = 2**20
_IN = struct.Struct("=IIQQIIIHH")  # struct fuse_in_header: length, opcode, unique, node, uid, gid, pid, …
_OUT = struct.Struct("=IiQ")  # struct fuse_out_header: length, error, unique
_ATTRIBUTES = struct.Struct("=6Q10I")
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # fallocate(2)
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22  # flags of FUSE_INIT

GETATTR, SETATTR, OPEN, READ, WRITE_TO, STATFS, RELEASE = 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH_FD, INIT, INTERRUPT, DESTROY, FALLOCATE = 20, 25, 26, 36, 38, 43
_UNANSWERED = (2, INTERRUPT, 42)  # FORGET, BATCH_FORGET


class Recorder:
    """The file `place`, which shows `backing`; what happens to it is logged to the file `log`."""

    def __init__(self, backing: Path, place: Path, log: Path) -> None:
        place.touch()
        self.place = place
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.reliability.recorder", str(os.getpid()), str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*command, str(backing), str(place), str(log)],
            cwd=Path(__file__).parents[2], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._socket = ours
        self._socket.settimeout(60)
        self._ask({})

    def _ask(self, request: dict[str, Any]) -> int:
        self._socket.send(json.dumps(request).encode())
        answer = self._socket.recv(64)
        assert answer, "the recorder is gone"
        return int(answer)

    def mark(self, said: dict[str, Any]) -> None:
        """Put this into the log, behind all that has reached the disk."""
        self._ask({"mark": said})

    def fail_after(self, count: int | None, *, once: bool = False) -> None:
        """From now on let so many writes succeed; those after them, and flushes, fail, or with `once` only the
        next write. None: none fails."""
        self._ask({"fail_after": count, "once": once})

    def keep(self) -> None:
        """What has been written so far stays."""
        self._ask({"keep": True})

    def restore(self) -> None:
        """Take back all that was written since the last `keep` or `restore`. Nothing may be attached to the disk,
        and its log does not tell."""
        self._ask({"restore": True})

    @property
    def writes(self) -> int:
        """How many writes and discards have come."""
        return self._ask({})

    def close(self) -> None:
        """Take the file away. Nothing may be attached to it any more."""
        try:
            syscalls.umount(str(self.place), syscalls.MNT_DETACH)
        finally:
            self._process.terminate()
            self._process.wait()
            self._socket.close()


class _Server:
    """The other side."""

    def __init__(self, backing: str, place: str, log: str) -> None:
        self._file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
        self._memory = mmap.mmap(self._file, 0)
        self._log = Writer(log)
        self._count = 0
        self._left: int | None = None
        self._once = False
        self._before: list[tuple[int, bytes]] = []
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={self.device},rootmode={stat.S_IFREG | 0o600:o},user_id=0,group_id=0"
        syscalls.mount("recorder", place, "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, data)

    def control(self, request: dict[str, Any]) -> int:
        """What the other side asks for; how many writes have come."""
        if "mark" in request:
            self._log.add(MARK, 0, json.dumps(request["mark"]).encode())
            self._log.flush()
        if "fail_after" in request:
            self._left, self._once = request["fail_after"], request["once"]
        if "restore" in request:
            for offset, data in reversed(self._before):
                self._memory[offset : offset + len(data)] = data
        if "keep" in request or "restore" in request:
            self._before = []
        return self._count

    def serve_one(self) -> None:
        """Answer one request of the kernel's."""
        request = memoryview(os.read(self.device, _LARGEST + 2**16))
        _, opcode, unique, *_ = _IN.unpack_from(request)
        if opcode in _UNANSWERED:
            return
        try:
            answer, error = self._answer(opcode, request[_IN.size :]), 0
        except OSError as problem:
            answer, error = b"", problem.errno or errno.EIO
        os.write(self.device, _OUT.pack(_OUT.size + len(answer), -error, unique) + answer)

    def _answer(self, opcode: int, body: memoryview) -> bytes:
        if opcode == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            return self._memory[offset : offset + size]
        if opcode == WRITE_TO:
            _, offset, size = struct.unpack_from("=QQI", body)
            return self._write(offset, bytes(body[40 : 40 + size]))
        if opcode == FSYNC:
            if self._left is not None and self._left <= 0 and not self._once:
                raise OSError(errno.EIO, "")
            self._log.add(FLUSH, 0, b"")
        elif opcode == FALLOCATE:
            self._discard(*struct.unpack_from("=QQQI", body))
        elif opcode in (GETATTR, SETATTR):
            size = len(self._memory)
            return struct.pack("=QII", 3600, 0, 0) + _ATTRIBUTES.pack(
                1, size, size // 512, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0
            )
        elif opcode == INIT:
            flags = _BIG_WRITES | _MAX_PAGES
            pages = _LARGEST // 4096
            return struct.pack("=4I2H2I2H2I24x", 7, 31, 2**17, flags, 12, 9, _LARGEST, 1, pages, 0, 0, 0)
        elif opcode == OPEN:
            return struct.pack("=QII", 0, 0, 0)
        elif opcode == STATFS:
            return struct.pack("=5Q10I", 0, 0, 0, 0, 0, 4096, 255, 4096, *(0,) * 7)
        elif opcode not in (FLUSH_FD, RELEASE, DESTROY):
            raise OSError(errno.ENOSYS, "")
        return b""

    def _spend(self, offset: int, length: int) -> None:
        """Count a write, or let it fail."""
        if self._left is not None:
            if self._left <= 0:
                self._left = None if self._once else 0
                raise OSError(errno.EIO, "")
            self._left -= 1
        self._count += 1
        self._before.append((offset, self._memory[offset : offset + length]))

    def _write(self, offset: int, data: bytes) -> bytes:
        self._spend(offset, len(data))
        self._memory[offset : offset + len(data)] = data
        self._log.add(WRITE, offset, data)
        return struct.pack("=II", len(data), 0)

    def _discard(self, _handle: int, offset: int, length: int, mode: int) -> None:
        if not mode & (_PUNCH_HOLE | _ZERO_RANGE):
            raise OSError(errno.EOPNOTSUPP, "")
        self._spend(offset, length)
        self._memory[offset : offset + length] = bytes(length)
        self._log.add(DISCARD, offset, struct.pack("=Q", length))


def _serve(control: socket.socket, server: _Server) -> None:
    poll = select.poll()
    poll.register(server.device, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == server.device:
                try:
                    server.serve_one()
                except OSError as error:
                    if error.errno == errno.ENODEV:  # unmounted
                        return
                    if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # the request was taken back
                        raise
            else:
                request = control.recv(65536)
                if not request:
                    return
                control.send(str(server.control(json.loads(request))).encode())


if __name__ == "__main__":
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() == int(sys.argv[1]):
        _serve(socket.socket(fileno=int(sys.argv[2])), _Server(*sys.argv[3:]))
