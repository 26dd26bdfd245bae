"""A virtual machine: QEMU with OVMF, its serial line as standard input and output, and QMP.

KVM is not asked for: TCG boots the small root in seconds, and is there everywhere. The firmware's
variables are a file beside the disk's image, so that boot entries last from one start to the next.

Power is cut by killing QEMU. The disk is attached with `cache=unsafe`: what the guest has sent to
its disk stays in the host's page cache, flushed by the guest or not, and so survives; what is still
in the guest's memory is lost. That is a disk whose own cache outlives the power.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
PATIENCE = 240.0
"""Seconds until something is taken to never come. Emulated, on a shared machine: nothing is late sooner."""

ENTER, ESCAPE, UP, DOWN = "\r", "\x1b", "\x1b[A", "\x1b[B"
"""Keys as the firmware's serial console understands them."""


class Machine:
    """A started machine with this disk. A context manager: its end is the power cut."""

    def __init__(self, image: Path, *, screen: bool = False, memory: int = 512, options: Sequence[str] = ()) -> None:
        variables = image.with_suffix(".vars")
        if not variables.exists():
            shutil.copyfile(VARIABLES, variables)
        self._qmp, theirs = socket.socketpair()
        with theirs:
            command = [*_hardware(image, variables, memory), *_consoles(theirs.fileno(), screen=screen), *options]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=[theirs.fileno()],
            )
        self._said = b""
        self._seen = 0
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._answers = self._qmp.makefile("r", encoding="utf-8")
        self._negotiated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # -- the serial line -----------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read(65536):
            with self._news:
                self._said += data
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def transcript(self) -> str:
        """All that came over the serial line since the start, escape sequences included."""
        with self._news:
            return self._said.decode(errors="replace")

    def expect(self, pattern: str, timeout: float = PATIENCE) -> "re.Match[bytes]":
        """Wait until the serial line has said something, after what was expected before. The pattern
        is a regular expression on bytes, `.` matching line ends too. AssertionError, with the end of
        the transcript, when the machine ends or the time is up first."""
        wanted = re.compile(pattern.encode(), re.DOTALL)
        deadline = time.monotonic() + timeout
        with self._news:
            while not (found := wanted.search(self._said, self._seen)):
                assert not self._ended, f"expected {pattern!r}: the machine has ended. {self._last_words()}"
                in_time = self._news.wait(deadline - time.monotonic())
                assert in_time, f"expected {pattern!r}: not within {timeout:.0f} s. {self._last_words()}"
            self._seen = found.end()
            return found

    def _last_words(self) -> str:
        text = self._said[-2048:].decode(errors="replace")
        return "It said last:\n" + re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", " ", text)

    def send(self, keys: str) -> None:
        """Type on the serial line."""
        assert self._process.stdin is not None
        self._process.stdin.write(keys.encode())

    # -- QMP -----------------------------------------------------------------------------------------

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run a command of QEMU's machine protocol; what it returns."""
        if not self._negotiated:
            self._negotiated = True
            self._answers.readline()  # the greeting
            self.qmp("qmp_capabilities")
        self._qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._answers.readline():
            answer = json.loads(line)
            if "event" not in answer:
                assert "return" in answer, f"{command}: {answer}"
                return answer["return"]
        raise AssertionError(f"{command}: the machine has ended")

    def screendump(self, path: Path) -> None:
        """Write what the screen shows as a PNG. The machine needs `screen=True`."""
        self.qmp("screendump", filename=str(path), format="png")

    # -- the end -------------------------------------------------------------------------------------

    def wait_off(self, timeout: float = PATIENCE) -> None:
        """Wait until the guest has switched itself off."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still on after {timeout:.0f} s. {self._last_words()}") from None

    def kill(self) -> None:
        """Cut the power: the guest gets no chance to write anything more. Harmless when it is off."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._answers, self._qmp):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def _hardware(image: Path, variables: Path, memory: int) -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
        *("-machine", "q35,accel=tcg", "-cpu", "qemu64", "-smp", "1", "-m", str(memory)),
        *("-nodefaults", "-no-user-config", "-nic", "none"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"if=none,id=disk,format=raw,cache=unsafe,file={image}"),
        *("-device", "virtio-blk-pci,drive=disk,addr=0x10"),
    ]


def _consoles(qmp: int, *, screen: bool) -> list[str]:
    return [
        *("-display", "none", "-vga", "std" if screen else "none"),
        *("-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"),
        *("-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"),
    ]
