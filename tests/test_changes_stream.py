"""The send stream, taken apart and replayed: held against btrfs-progs' own reading of it, and against garbage."""

import contextlib
import io
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmut.changes import sending, stream
from sysmut.changes.replay import Replay
from sysmut.changes.stream import Command, Kind
from sysmut.errors import BadData
from tests.lab import FIRST, Lab
from tests.mutator import Mutator, snapshot

SECOND = "20260102000000AbCdEfGh"

HEAD = b"btrfs-stream\0" + struct.pack("<I", 1)
END = struct.pack("<IHI", 0, 21, 0)
_ESCAPES = {
    "\\": "\\",
    " ": " ",
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
}


def command(number: int, **attributes: bytes) -> bytes:
    """A command as the kernel writes it; attributes by their names without BTRFS_SEND_A_."""
    types = {"INO": 3, "PATH": 15, "PATH_TO": 16, "PATH_LINK": 17, "DATA": 19}
    body = b"".join(struct.pack("<HH", types[name], len(value)) + value for name, value in attributes.items())
    return struct.pack("<IHI", len(body), number, 0) + body


def parsed(data: bytes) -> list[Command]:
    return list(stream.commands(io.BytesIO(data)))


def dumped(lab: Lab) -> list[tuple[str, bytes]]:
    """What `btrfs receive --dump` reads of the stream: each command and its path, but for the first."""
    pair = [str(lab.root(name)) for name in (FIRST, SECOND)]
    sent = subprocess.run(["btrfs", "send", "--no-data", "-p", *pair], check=True, capture_output=True).stdout
    text = subprocess.run(["btrfs", "receive", "--dump"], input=sent, check=True, capture_output=True).stdout
    found = [re.match(rb"(\w+) +((?:\\.|[^\\ ])*)", line) for line in text.splitlines()[1:]]
    return [(each[1].decode(), _unescaped(each[2]).partition(b"/@")[2].lstrip(b"/")) for each in found if each]


def _unescaped(text: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8)]) if code.isdigit() else _ESCAPES[code.decode()].encode()

    return re.sub(rb"\\([0-7]{3}|.)", one, text, flags=re.DOTALL)


@pytest.mark.parametrize("seed", range(4))
def test_each_command_and_path_is_read_as_btrfs_progs_reads_it(
    make_lab: Callable[..., Lab], tmp_path: Path, seed: int
) -> None:
    (tmp_path / "etc").mkdir()
    lab = make_lab()
    lab.lay_out(tmp_path)
    with lab.unsealed(FIRST) as root:
        Mutator(root, seed).run(80)
    Mutator(snapshot(lab, FIRST, SECOND), seed + 100).run(200)
    lab.seal(SECOND)
    pair = (str(lab.root(FIRST)), str(lab.root(SECOND)))
    ours = [(each.kind.name.lower(), each.path) for each in sending.between(*pair)][1:]
    assert len(ours) > 100
    assert ours == dumped(lab)


# -- garbage --------------------------------------------------------------------------------------


def test_a_stream_is_read_to_its_end_and_no_further() -> None:
    data = HEAD + command(3, PATH=b"o257-7-0", INO=b"\1\1\0\0\0\0\0\0") + command(9, PATH=b"o257-7-0", PATH_TO=b"a")
    assert parsed(data + END + b"garbage") == [
        Command(Kind.MKFILE, b"o257-7-0", b"", 257),
        Command(Kind.RENAME, b"o257-7-0", b"a"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut off"),
        (HEAD, "cut off"),
        (HEAD[:-1], "cut off"),
        (b"x" * 100, "not a send stream"),
        (b"btrfs-stream\0\2\0\0\0" + END, "version 2"),
        (HEAD + command(3, PATH=b"a", INO=b"1")[:-1], "cut off"),
        (HEAD + struct.pack("<IHI", 2**16 + 1, 3, 0) + b"x" * (2**16 + 1) + END, "a command of 65537 bytes"),
        (HEAD + struct.pack("<IHI", 2**32 - 1, 3, 0), "a command of 4294967295 bytes"),
        (HEAD + command(23, PATH=b"a") + END, "command 23"),
        (HEAD + command(0) + END, "command 0"),
        (HEAD + command(11) + END, "UNLINK in a send stream of btrfs lacks its attribute 15"),
        (HEAD + command(9, PATH=b"a") + END, "RENAME in a send stream of btrfs lacks its attribute 16"),
        (HEAD + command(10, PATH=b"a") + END, "LINK in a send stream of btrfs lacks its attribute 17"),
        (HEAD + command(4, PATH=b"a") + END, "MKDIR in a send stream of btrfs lacks its attribute 3"),
        (HEAD + struct.pack("<IHI", 3, 11, 0) + b"abc" + END, "UNLINK in a send stream of btrfs is cut off"),
        (HEAD + struct.pack("<IHIHH", 4, 11, 0, 15, 9) + END, "UNLINK in a send stream of btrfs is cut off"),
    ],
)
def test_what_is_no_stream_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(BadData, match=said):
        parsed(data)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_commands_or_refused(data: bytes, with_head: bool) -> None:
    with contextlib.suppress(BadData):
        parsed(HEAD * with_head + data)


NAMES = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=3).map(b"/".join)
COMMANDS = st.builds(Command, st.sampled_from(Kind), NAMES, NAMES, st.integers(0, 3))


@given(st.lists(COMMANDS, max_size=30), NAMES)
def test_any_commands_are_replayed_to_an_end(commands: list[Command], path: bytes) -> None:
    with contextlib.suppress(BadData):
        replay = Replay(commands)
        assert replay.paths() >= set(replay.moved())
        replay.altered()
        replay.origin(path)


@pytest.mark.parametrize("commands", [[Command(Kind.RENAME, b"", b"a")], [Command(Kind.MKDIR, b"", b"", 300)]])
def test_the_root_itself_has_no_other_place(commands: list[Command]) -> None:
    with pytest.raises(BadData, match="moves the root"):
        Replay(commands)


# -- the replay of names, by hand -----------------------------------------------------------------


def test_names_that_change_places_are_followed_by_way_of_the_temporary_one() -> None:
    replay = Replay(
        [
            Command(Kind.RENAME, b"a", b"o257-7-0"),
            Command(Kind.RENAME, b"b", b"a"),
            Command(Kind.RENAME, b"o257-7-0", b"b"),
        ]
    )
    assert sorted(replay.moved()) == [b"a", b"b"]
    assert (replay.origin(b"a/x/y"), replay.origin(b"b")) == (b"b/x/y", b"a")


def test_what_is_removed_from_a_directory_with_a_temporary_name_is_known_by_its_old_path() -> None:
    replay = Replay(
        [
            Command(Kind.RENAME, b"d", b"o257-7-0"),
            Command(Kind.MKDIR, b"o300-9-0", b"", 300),
            Command(Kind.RENAME, b"o300-9-0", b"d"),
            Command(Kind.UNLINK, b"o257-7-0/file"),
            Command(Kind.RMDIR, b"o257-7-0"),
        ]
    )
    assert replay.paths() >= {b"d", b"d/file"}
    assert b"o257-7-0/file" not in replay.paths()
    assert replay.moved() == []
    assert replay.fresh == {300}
    assert replay.origin(b"d/file") is None


def test_what_was_moved_away_and_back_is_where_it_was() -> None:
    replay = Replay([Command(Kind.RENAME, b"d/a", b"e"), Command(Kind.RENAME, b"e", b"d/a")])
    assert replay.moved() == []
    assert replay.origin(b"d/a/x") == b"d/a/x"
