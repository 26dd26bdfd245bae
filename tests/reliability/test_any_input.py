"""Any input: what is rendered parses to the same, and any bytes give a value or one clear error."""

import contextlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refind.parse import parse
from sysmut import config, fstab, generations, layout, mounts, overview, status
from sysmut.boot import programs
from sysmut.cli.frame import printable
from sysmut.config import Config
from sysmut.errors import (
    BadConfiguration,
    BadData,
    NoSpace,
    NotSysmut,
    SysmutError,
    SystemFailure,
    UsageError,
    from_oserror,
)
from sysmut.generations import Draft, Record, State
from sysmut.install import archive, commons
from sysmut.install.model import Watch
from sysmut.menu import firmware, install, stanza
from sysmut.menu.esp import Esp
from sysmut.menu.fat import Tree
from sysmut.session.environment import Program, command
from sysmut.session.mounts import session_mounts
from sysmut.signals import Interrupts
from sysmut.toplevel import TopLevel
from sysmut.values import replace
from tests.lab import FIRST, Finished, Lab
from tests.reliability import inputs
from tests.reliability.table import Row, Table
from tests.reliability.zygote import Zygote

WHAT = "property tests: inputs that parse, or are refused in one line"
STATUSES = {0, 64, 65, 69, 71, 73, 75, 77, 78}
"""What the manual promises of a command that runs no script."""


@dataclass
class Search:
    """Looks for an input that a property does not hold for, and counts."""

    tried: int = 0
    broken: int = 0

    def __call__(
        self,
        check: Callable[..., object],
        count: int,
        *strategies: st.SearchStrategy[Any],
        always: Iterable[tuple[Any, ...]] = (),
    ) -> None:
        """See whether the property holds for so many inputs, and for those for which it once did not."""

        @settings(deadline=None, database=None, max_examples=count, suppress_health_check=list(HealthCheck))
        @given(st.tuples(*strategies))
        def try_one(values: tuple[Any, ...]) -> None:
            self.tried += 1
            check(*values)

        self.broken += 1
        for values in always:
            self.tried += 1
            check(*values)
        try_one()
        self.broken -= 1


@pytest.fixture(scope="module")
def search(table: Table, request: pytest.FixtureRequest) -> Iterator[Search]:
    """One search for all of this module, and its row."""
    made = Search()
    yield made
    table.add(Row(6, WHAT, made.tried, made.broken, 0), str(request.path.relative_to(request.config.rootpath)))


for_any = pytest.mark.parametrize(
    "times", [pytest.param(1, id="quick"), pytest.param(10, id="long", marks=pytest.mark.long)]
)


@contextlib.contextmanager
def refusable(*kinds: type[SysmutError | OSError], saying: str = "") -> Iterator[None]:
    """What is done in it may fail with an error of these kinds that can be told in one line."""
    try:
        yield
    except (SysmutError, OSError) as error:
        require_clear(from_oserror(error) if isinstance(error, OSError) else error, saying)
        if not isinstance(error, kinds):
            raise


def require_clear(error: SysmutError, saying: str = "") -> None:
    """The error has a message, which is printed as one line that any terminal can show."""
    assert error.message.strip()
    assert saying in error.message
    line = printable(layout.shown(f"{error.message} ({error.hint})"))
    assert not set(line) & {chr(number) for number in (*range(32), *range(127, 160))}
    os.fsencode(line)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[Lab]:
    """A filesystem whose layout stays as it is; and room for others in directories beside it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for btrfs on a loop device")
    lab = Lab(tmp_path_factory.mktemp("any"))
    lab.lay_out(small_root, commons=("/home",))
    yield lab
    lab.close()
    lab.image.unlink()


@contextlib.contextmanager
def top_level(path: Path, filesystem: str = "the-filesystem") -> Iterator[TopLevel]:
    """A directory, taken for a top level."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield TopLevel(str(path), fd, filesystem, "0:0")
    finally:
        os.close(fd)


@pytest.fixture
def no_settings(tmp_path: Path) -> str:
    """An empty file of settings, whatever this machine has."""
    path = tmp_path / "empty.toml"
    path.touch()
    return str(path)


@contextlib.contextmanager
def directory(disk: Lab) -> Iterator[Path]:
    """An empty directory on btrfs."""
    with tempfile.TemporaryDirectory(dir=disk.top) as path:
        yield Path(path)


# -- fstab -------------------------------------------------------------------------------------------------


def said(entry: fstab.Entry) -> tuple[str, str, str, str]:
    """An entry's fields, wherever its line is."""
    return entry.source, entry.target, entry.fstype, entry.options


@for_any
def test_fields_of_fstab_are_read_as_they_were_meant(times: int, search: Search) -> None:
    def check(source: str, target: str, kind: str, options: str) -> None:
        fields = (source, f"/{target}", kind, options)
        (found,) = fstab.entries(" ".join(map(fstab.encode, fields)), "fstab")
        assert said(found) == fields

    search(check, 300 * times, inputs.FIELDS, inputs.TEXT, inputs.FIELDS, inputs.FIELDS)


@for_any
def test_any_text_is_an_fstab_or_its_line_is_named(times: int, search: Search) -> None:
    def check(lines: list[str]) -> None:
        text = "\n".join(lines)
        with refusable(BadData, saying="the fstab, line "):
            found = fstab.entries(text, "the fstab")
            for entry in found:
                assert "\0" not in "".join(said(entry))
                words = text.split("\n")[entry.line - 1].replace("\t", " ").split(" ")
                assert entry.source == fstab.decode(next(word for word in words if word))
                _, data = fstab.mount_options(entry)
                assert set(filter(None, data.split(","))) <= set(entry.option_list)
            targets = {entry.target.strip("/") for entry in found if entry.is_mount and entry.target != "/"}
            points = fstab.mount_points(found)
            assert set(points) <= targets
            assert all(any(f"{target}/".startswith(f"{point}/") for point in points) for target in targets)
        with refusable(BadData, saying="the fstab"):
            fstab.check_template(text, "the fstab")

    nul = st.sampled_from(["tmpfs /a\0 tmpfs", "tmpfs /a\\000 tmpfs", "\0", "\\000 none swap"])
    line = inputs.fstab_lines(str) | inputs.fstab_lines(fstab.encode) | inputs.TEXT | inputs.COMMENT | nul
    search(check, 300 * times, st.lists(line, max_size=4))


@for_any
def test_a_template_has_all_lines_of_the_fstab_it_is_made_of_and_commons_before_what_is_below(
    times: int, search: Search
) -> None:
    def check(lines: list[str], wanted: list[str], name: str) -> None:
        source = "\n".join(lines)
        before = fstab.entries(source, "source")
        mounted = {os.path.normpath(entry.target) for entry in before}
        own = {path: f"commons/{layout.common_name(path)}" for path in map(clean, wanted) if path not in ("", *mounted)}
        made = fstab.make_template(source, "the-filesystem", own)
        fstab.check_template(made, "made")
        after = fstab.entries(made, "made")
        kept = [said(entry) for entry in before if entry.target != "/"]
        assert [said(entry) for entry in after if said(entry) in kept] == kept
        remarks = [line for line in lines if line.startswith("#")]
        assert [line for line in made.split("\n") if line.startswith("#")] == remarks
        targets = [entry.target for entry in after]
        assert targets.count("/") == 1
        assert "/tmp" in targets
        for number, target in enumerate(targets):
            for common in ({*own, "/tmp"} - mounted) if target != "/" else ():
                assert not target.startswith(f"{common}/") or targets.index(common) < number
        assert {entry.target: entry.subvolume for entry in after if entry.target in own} == own
        instance = fstab.entries(fstab.instantiate(made, f"/snapshots/{name}"), "instance")
        expected = [tuple(part.replace(layout.PLACEHOLDER, f"/snapshots/{name}") for part in said(e)) for e in after]
        assert [said(entry) for entry in instance] == expected

    line = inputs.fstab_lines(fstab.encode) | inputs.COMMENT | st.sampled_from(["", "  "])
    once: list[tuple[Any, ...]] = [
        (["UUID=u /tmp/a ext4 rw 0 0"], [], FIRST),
        (["# the end "], [], FIRST),
        (["/dev/a /b \x0b"], [], FIRST),
    ]
    search(check, 200 * times, st.lists(line, max_size=5), inputs.COMMONS, inputs.NAMES, always=once)


def clean(path: str) -> str:
    """The path of a common as it is to be written; nothing where it is refused."""
    found = ""
    with refusable(UsageError, saying="--common "):
        found = commons.normal(path)
        assert commons.normal(found) == found
        assert found.startswith("/")
        assert ".." not in path.split("/")
        assert len(os.fsencode(layout.common_name(found))) < 255
        assert layout.common_name(found) == fstab.decode(fstab.encode(layout.common_name(found)))
    return found


@for_any
def test_any_text_is_the_path_of_a_common_or_refused(times: int, search: Search) -> None:
    steps = st.lists(
        st.sampled_from(["", ".", "..", "srv", "home", "etc", "usr", "local", "boot", "a,b", "@"]), max_size=4
    )
    search(clean, 300 * times, inputs.TEXT | inputs.TARGETS | steps.map(lambda found: "/".join(["", *found])))


# -- mountinfo ---------------------------------------------------------------------------------------------


def escaped(text: str, more: str = "") -> str:
    """As the kernel writes it (seq_path_root and mangle in its fs/proc_namespace.c)."""
    return "".join(f"\\{ord(letter):03o}" if letter in f" \t\n\\{more}" else letter for letter in text)


@for_any
def test_a_mount_is_read_as_the_kernel_writes_it(times: int, search: Search) -> None:
    def check(root: str, point: str, source: str, number: int, optional: list[str], gone: bool) -> None:
        options = f"rw,subvolid={number},subvol=/{escaped(root)}"
        place = f"/{escaped(root)}{'//deleted' if gone else ''}"
        fields = ["22", "1", "0:39", place, f"/{escaped(point)}", "rw,noatime", *optional, "-", "btrfs"]
        text = " ".join([*fields, escaped(source, "#"), options])
        expected = mounts.Mount("0:39", f"/{root}", f"/{point}", "btrfs", source, options)
        assert list(mounts.parse(f"{text}\n{text}\n")) == [expected, expected]
        assert expected.subvolume == number

    optional = st.lists(st.sampled_from(["shared:1", "master:2", "propagate_from:3", "unbindable"]), max_size=3)
    numbers = st.integers(256, 2**64 - 256)
    once: list[tuple[Any, ...]] = [("", "", "/dev/mapper/a#b", 256, [], False)]
    search(check, 300 * times, *[inputs.TEXT] * 3, numbers, optional, st.booleans(), always=once)


@for_any
def test_any_text_can_be_read_as_mountinfo(times: int, search: Search) -> None:
    def check(words: list[str]) -> None:
        for mount in mounts.parse(" ".join(words)):
            assert mount.subvolume is None or mount.subvolume >= 0

    words = st.sampled_from(["-", "-", "\n", "0:39", "/", "btrfs", "subvolid=5"]) | inputs.TEXT
    line = ["1", "2", "0:39", "/", "/", "rw", "-", "btrfs", "x"]
    whole = st.text("0123456789\xb2\u0663-_ +", max_size=30).map(lambda number: [*line, f"rw,subvolid={number}"])
    once = [([*line, "subvolid=\xb2"],), ([*line, f"subvolid={'9' * 5000}"],)]
    search(check, 300 * times, whole | st.lists(words, max_size=16), always=once)


# -- names -------------------------------------------------------------------------------------------------

STATES = st.lists(st.sampled_from(inputs.IDS) | inputs.NAMES, min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.builds(
        State,
        link_set=st.just("L"),
        slots=st.lists(st.none() | st.sampled_from(names), min_size=1, max_size=5).map(tuple),
        pins=st.dictionaries(
            inputs.NAMES | st.sampled_from(["0", "booted", "good"]), st.sampled_from(names), max_size=2
        ),
        trial=st.none() | st.sampled_from(names),
        generations=st.just(frozenset(names)),
        link_sets=st.just(frozenset({"L"})),
    )
)


@for_any
def test_any_name_is_that_of_a_generation_or_is_refused(times: int, search: Search) -> None:
    def check(state: State, name: str, running: str | None) -> None:
        with refusable(UsageError):
            found = generations.find(state, name, running)
            assert found in state.generations
            assert name
            by_slot = re.fullmatch("[0-9]{1,3}", name) is not None
            if by_slot or name == "booted":
                assert found == (state.slots[int(name)] if by_slot else running)
            elif name in state.generations:
                assert found == name
            elif name in state.pins:
                assert found == state.pins[name]
            else:
                assert [known for known in state.generations if known.startswith(name)] == [found]

    names = st.sampled_from(["0", "1", "4", "999", "0000", "booted", "good", "2026", *inputs.IDS]) | inputs.TEXT
    search(check, 400 * times, STATES, names, st.none() | st.sampled_from(inputs.IDS))


@for_any
def test_rotation_keeps_the_number_and_the_order_of_what_is_there(times: int, search: Search) -> None:
    def check(slots: list[str | None], first: str) -> None:
        after = layout.rotate(tuple(slots), first)
        others = [name for name in dict.fromkeys(slots) if name not in (None, first)]
        assert len(after) == len(slots)
        assert list(dict.fromkeys(after)) == [first, *others][: len(slots)]
        assert layout.rotate(after, first) == after

    slots = st.lists(st.none() | st.sampled_from("ABCDE"), min_size=1, max_size=6)
    search(check, 200 * times, slots, st.sampled_from("ABCDEF"))


# -- link sets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Links:
    """A layout to be made, with whatever links in it."""

    current: str
    slots: dict[str, str]
    other: dict[str, str] = field(default_factory=dict)
    """Path from the top level -> target."""
    moved: str = ""
    """A directory in whose place is a link to where it is now."""

    def make(self, top: Path) -> None:
        for name in inputs.IDS:
            (top / "snapshots" / name / "@/etc").mkdir(parents=True)
        for path in ("links/L", "links/M", "pins", "commons/deep/snapshots"):
            (top / path).mkdir(parents=True)
        for path in ("snapshots/file", "links/file"):
            (top / path).touch()
        for slot, target in self.slots.items():
            (top / "links/L" / slot).symlink_to(target)
        (top / "links/alias").symlink_to("M")
        (top / "links/M/0").symlink_to(f"/snapshots/{inputs.IDS[2]}")
        (top / "current").symlink_to(self.current)
        for path, target in self.other.items():
            (top / path).unlink(missing_ok=True)
            (top / path).symlink_to(target)
        if self.moved:
            (top / self.moved).rename(top / "elsewhere")
            (top / self.moved).symlink_to("elsewhere")


LINKS = st.builds(
    Links,
    current=inputs.mostly(st.sampled_from(["./links/L", "links/L", "/links/L"]), inputs.WAYS | inputs.LINKED),
    slots=st.dictionaries(inputs.SLOT_NAMES, inputs.LINKED, max_size=5),
    other=st.dictionaries(inputs.PLACES_OF_LINKS, inputs.LINKED, max_size=4),
    moved=st.sampled_from(["", "", "", "", "", "pins", "links", "snapshots"]),
)


def generation_at(top: Path, link: str) -> str | None:
    """The generation that a link leads to, or into."""
    first, name, *_ = [*(inputs.followed(top, link) or "").split("/"), "", ""]
    return name if first == "snapshots" and (top / first / name).is_dir() and name else None


@for_any
def test_any_links_are_read_as_they_lead_or_the_layout_is_refused(times: int, search: Search, disk: Lab) -> None:
    def check(links: Links) -> None:
        with directory(disk) as path, top_level(path) as top:
            links.make(path)
            plain = links.current in ("./links/L", "links/L") and links.moved in ("", "pins")
            with refusable(NotSysmut):
                state = generations.read(top)
                assert inputs.followed(path, "current") == f"links/{state.link_set}"
                numbers = [
                    name
                    for name in os.listdir(path / "links" / state.link_set)
                    if re.fullmatch("0|[1-9][0-9]{0,2}", name)
                ]
                assert len(state.slots) == 1 + max(map(int, numbers))
                for number, slot in enumerate(state.slots):
                    assert slot == generation_at(path, f"current/{number}"), number
                assert state.trial == generation_at(path, "trial")
                pins = {name: generation_at(path, f"pins/{name}") for name in os.listdir(path / "pins")}
                assert state.pins == {name: found for name, found in pins.items() if found}
                assert state.generations == set(inputs.IDS)
                assert state.link_sets == {"L", "M"}
                return
            assert not plain or not {"0", "1", "2", "3", "5", "99"} & set(links.slots)

    usual = f"../../snapshots/{FIRST}"
    once = [
        (Links("links/x/../L", {"0": usual}),),
        (Links("links/L", {"0": usual, "1": f"../../alias/../{FIRST}"}, {"alias": "commons/deep/snapshots"}),),
        (Links("links/L", {"0": usual, "1": f"../../snapshots/missing/../{FIRST}"}),),
    ]
    search(check, 200 * times, LINKS, always=once)


@for_any
def test_what_is_published_is_read_back_as_the_same(times: int, search: Search, disk: Lab) -> None:
    def check(names: list[str], slots: list[int]) -> None:
        with directory(disk) as path, top_level(path) as top:
            for name in names:
                (path / "snapshots" / name).mkdir(parents=True)
            (path / "links").mkdir()
            wanted = tuple(names[number % len(names)] for number in slots)
            made = generations.publish(top, wanted)
            state = generations.read(top)
            assert (state.link_set, state.slots) == (made, wanted)
            assert [generation_at(path, f"current/{number}") for number in range(len(slots))] == list(wanted)
            assert os.listdir(path / "next") == []

    names = st.lists(inputs.NAMES | st.sampled_from(inputs.IDS), min_size=1, max_size=4, unique=True)
    search(check, 50 * times, names, st.lists(st.integers(0, 3), min_size=1, max_size=12))


# -- settings ----------------------------------------------------------------------------------------------


@for_any
def test_any_file_is_settings_or_is_refused_by_its_name(times: int, search: Search, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with refusable(BadConfiguration, saying=str(path)):
            assert isinstance(config.load({}, str(path)), Config)

    search(check, 300 * times, inputs.TOML)


@for_any
def test_any_value_of_a_setting_is_taken_as_it_is_or_refused_with_file_and_key(
    times: int, search: Search, tmp_path: Path
) -> None:
    path = tmp_path / "settings.toml"

    def check(setting: tuple[str, Any]) -> None:
        key, value = setting
        path.write_text(inputs.as_toml(key, value))
        with refusable(BadConfiguration, saying=f"{path}: "):
            require_taken(config.load({}, str(path)), key, value)
            return
        with pytest.raises(BadConfiguration, match=f": .*({key}|line 1)"):
            config.load({}, str(path))

    search(check, 400 * times, inputs.SETTINGS, always=[(("mounts", ["/etc/hostname:/a\0b"]),)])


@for_any
def test_any_value_of_an_option_is_taken_as_it_is_or_refused_by_its_name(
    times: int, search: Search, no_settings: str
) -> None:
    def check(setting: tuple[str, Any]) -> None:
        key, value = setting
        with refusable(UsageError, saying=f"--{key.replace('_', '-')} "):
            require_taken(config.load({key: value}, no_settings), key, value)

    search(check, 400 * times, inputs.SETTINGS)


def require_taken(found: Config, key: str, value: Any) -> None:
    """The setting has this value, which is one that it can have, and no other setting has changed."""
    meant = tuple(value) if isinstance(value, list) else value
    if key == "min_free":
        meant = config.parse_size(value)
        assert meant >= 0
    if key == "keep_free":
        meant = config.parse_space(value)
    taken = getattr(found, key)
    assert taken == meant or (meant in (None, (), "") and taken == getattr(Config(), key))
    text = "".join(taken) if isinstance(taken, tuple) else str(taken)
    assert "\0" not in text
    assert (text.isascii() and text.isprintable()) or key not in ("title", "icon", "kernel_options", "volume")
    assert found.slots in (None, *range(1, 101))
    assert found.panic in range(3601)
    assert replace(found, **{key: getattr(Config(), key)}) == Config()


@for_any
def test_any_text_is_a_size_or_refused(times: int, search: Search) -> None:
    def check(number: int, unit: str, text: str) -> None:
        assert config.parse_size(f" {number}{unit}") == number * 2 ** (10 * " kmgt".index(unit[:1].lower() or " "))
        with contextlib.suppress(ValueError):
            assert 0 <= config.parse_size(text) < 10**18 * 2**40

    units = st.sampled_from(["", "k", "K", "M", "MB", "GiB", "t", "tib", "Gb"])
    odd = st.sampled_from([" ", "K", "\u212a", "m", "iB", "\u0131B", "B", "\u0663", "-", "."])
    sizes = st.builds("{}{}{}".format, st.integers(), odd, odd | st.just(""))
    search(check, 300 * times, st.integers(0, 10**18 - 1), units, sizes | inputs.TEXT, always=[(1, "K", "64\u212a")])


@for_any
def test_any_fstab_and_settings_give_the_mounts_of_a_session_or_are_refused(
    times: int, search: Search, disk: Lab
) -> None:
    def check(lines: list[str], asked: list[str]) -> None:
        said: list[str] = []
        with top_level(disk.top, disk.uuid) as top, refusable(BadData, BadConfiguration, OSError):
            found = fstab.entries("\n".join(lines).replace("UUID=u", f"UUID={disk.uuid}"), "/fstab")
            for mount in session_mounts(top, Config(mounts=tuple(asked)), found, said.append):
                assert mount.target.startswith("/")
                assert mount.target != "/"
                assert mount.fstype or mount.source.startswith("/")
                assert mount.source not in (str(disk.top), f"{disk.top}/")
            assert all(text.startswith("/") for text in asked)
        assert all(map(printable, said))

    asked = inputs.TEXT | st.sampled_from(
        ["/etc", "/etc:/x:rw", "/etc:rw", "/etc::rw", "/:/x", "/etc:/", "::", "tests:/x", "/etc:/x:ro"]
    )
    search(
        check,
        200 * times,
        st.lists(inputs.fstab_lines(fstab.encode), max_size=3),
        st.lists(asked, max_size=2),
        always=[([], ["/etc:/"])],
    )


@for_any
def test_a_path_that_is_asked_for_is_mounted_as_it_was_meant(times: int, search: Search, disk: Lab) -> None:
    def check(name: str, target: str | None, writable: bool) -> None:
        with directory(disk) as path, top_level(disk.top) as top:
            (path / name).mkdir()
            words = [f"{path}/{name}", *([] if target is None else [f"/{target}"]), *(["rw"] if writable else [])]
            made = session_mounts(top, Config(mounts=(":".join(words),), resolver=""), (), print)[-1]
            assert (made.source, made.target) == (words[0], words[0] if target is None else words[1])
            assert (made.flags == 0, made.placeholder) == (writable, False)

    names = inputs.NAMES.filter(lambda name: ":" not in name)
    search(check, 100 * times, names, st.none() | names, st.booleans())


# -- records -----------------------------------------------------------------------------------------------


@for_any
def test_any_record_can_be_shown_as_text_and_as_json(times: int, search: Search, disk: Lab) -> None:
    path = disk.top / "snapshots" / FIRST / layout.RECORD

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with top_level(disk.top) as top:
            record = generations.read_record(top, FIRST)
            state = generations.read(top)
            fates = overview.Fates({FIRST: ("slot 0",)}, frozenset(), frozenset(), {})
            (entry,) = overview.collect(top, state, None, fates, {}, Config())
            details = overview.details(top, entry, [entry], None)
        told = status.Status("u", state, None, (), 1, 0, 0, 5, {} if record is None else {FIRST: record})
        assert len(status.to_text(told, [])) >= 9
        assert len(overview.lines([entry], overview.Layout(0, 80))) == 2
        assert len(overview.fields(entry)) == 8
        assert overview.details_to_lines(details, 0)
        for value in (status.to_json(told), overview.details_to_json(details)):
            text = json.dumps(value, indent=2)
            assert json.loads(text, parse_constant=pytest.fail)["version"] == 1

    try:
        search(check, 300 * times, inputs.RECORDS, always=[(b'{"a": 1e999}',), (b'{"a": NaN}',)])
    finally:
        path.unlink(missing_ok=True)


@for_any
def test_a_record_is_read_back_as_it_was_written(times: int, search: Search, disk: Lab) -> None:
    def check(argv: list[str], description: str, slot: int | None, source: str | None) -> None:
        with directory(disk) as path, top_level(path) as top:
            (path / "snapshots" / FIRST).mkdir(parents=True)
            record = Record(FIRST, source, slot, tuple(argv), "then", "now", description, None)
            Draft(top, FIRST).write(record)
            found = generations.read_record(top, FIRST)
            assert found == json.loads(json.dumps(record.to_json()))
            assert found is not None
            assert (found["command"], found["description"]) == (argv, description)

    texts = inputs.TEXT
    search(check, 100 * times, st.lists(texts, max_size=3), texts, st.none() | st.integers(0, 999), st.none() | texts)


# -- the command line --------------------------------------------------------------------------------------


@for_any
def test_any_command_line_is_understood_or_refused_in_one_line(times: int, search: Search, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/zeros").write_bytes(bytes(2**17))

    def check(program: str, place: list[str], words: list[str]) -> None:
        given = [*(word.replace("@", str(tmp_path / "empty")) for word in place), *words]
        done = zygote.run(program, *given)
        require_refused(program, done, asked=set(given) & {"--help", "-h", "--version"} != set())

    with Zygote() as zygote:
        search(check, 150 * times, st.sampled_from(["sysmut", "sysmut", "syscln"]), inputs.PLACES, inputs.WORDS)


def require_refused(program: str, done: Finished, *, asked: bool) -> None:
    """One line and a status of those that are promised; or help, where that was asked for."""
    if done.returncode == 0:
        assert asked, done
        assert done.stderr == ""
        return
    assert done.returncode in STATUSES, done
    assert re.fullmatch(rf"{program}: [^\0-\x1f\x7f\x80-\x9f]+\n", done.stderr), done
    assert "defect" not in done.stderr
    if done.stdout:
        assert json.loads(done.stdout)["error"]["status"] == done.returncode


# -- what boots --------------------------------------------------------------------------------------------


@for_any
def test_any_program_says_what_starts_it_or_is_none(times: int, search: Search) -> None:
    def check(content: bytes, path: bytes) -> None:
        assert isinstance(programs.interpreter(io.BytesIO(content)), str | None)
        script = b"#! " + path + b" -e\nexit\n"
        assert programs.interpreter(io.BytesIO(script)) == os.fsdecode(path)

    paths = st.binary(min_size=1, max_size=60).filter(lambda path: not set(path) & set(b" \t\n\0"))
    search(check, 400 * times, inputs.elf() | inputs.BYTES | inputs.BYTES.map(b"#!".__add__), paths)


@for_any
def test_any_list_of_users_has_a_shell_for_root(times: int, search: Search, disk: Lab) -> None:
    def check(lines: list[str]) -> None:
        with directory(disk) as path:
            (path / "etc").mkdir()
            (path / "etc/passwd").write_bytes(os.fsencode("\n".join(lines)))
            argv = command(Program(), Config(), str(path), {"SYSMUT_GENERATION": "G"}, (), None).argv
            assert argv == ("/bin/sh",)

    lines = inputs.TEXT | st.builds("root:x:0:0:root:/root:{}".format, st.just("/etc/passwd") | inputs.TEXT)
    search(check, 100 * times, st.lists(lines, max_size=3))


@for_any
def test_the_menu_of_any_generation_is_read_as_it_is_meant_or_refused(
    times: int, search: Search, disk: Lab, no_settings: str
) -> None:
    def check(files: list[str], release: str, lines: list[str], pins: list[str], given: dict[str, Any]) -> None:
        with directory(disk) as path, top_level(path) as top, refusable(UsageError, BadData):
            root = path / "snapshots" / FIRST / "@"
            for place in (root / "boot", root / "etc", path / "pins"):
                place.mkdir(parents=True)
            for name in files:
                (root / "boot" / name).write_bytes(b"x")
            (root / "etc/os-release").write_bytes(os.fsencode(release))
            (root / "etc/fstab").write_bytes(os.fsencode("\n".join(lines)))
            for name in pins:
                (path / "pins" / name).symlink_to(f"../snapshots/{FIRST}")
            none: frozenset[str] = frozenset()
            state = State("L", (FIRST, None, FIRST), dict.fromkeys(pins, FIRST), None, none, none)
            chosen = config.load(given, no_settings)
            offered = stanza.survey(top, state, chosen)
            entry = install.entry(top, offered, chosen, chosen.volume or "volume")
            text = stanza.text(entry).encode("ascii")
            assert parse(text, "sysmut.conf").config.entries == (entry,)
            for boot in (entry, *entry.submenus):
                base = (boot.loader or "").split("/boot/")[0]
                (flags,) = [word for word in (boot.options or "").split() if word.startswith("rootflags=")]
                assert f"subvol={base}" in flags.removeprefix("rootflags=").split(",")
                assert base in {"/current/0/@", "/current/2/@", *(f"/pins/{pin}/@" for pin in pins)}

    files = inputs.mostly(st.just(list(inputs.BOOTABLE)), inputs.KERNEL_FILES)
    lines = st.lists(inputs.fstab_lines(fstab.encode), max_size=2)
    pins = st.lists(
        inputs.mostly(st.sampled_from(["a", "b-c", "x y", 'q"', "a,b", "k=v"]), inputs.NAMES), max_size=2, unique=True
    )
    search(check, 150 * times, files, inputs.OS_RELEASE, lines, pins, inputs.MENU_SETTINGS)


CONTENT = b'menuentry "Linux" {\n    loader /x\n    options "root=UUID=the-filesystem ro"\n}\n'


@for_any
def test_the_menu_is_put_beside_any_configuration_once_or_refused(times: int, search: Search, disk: Lab) -> None:
    def check(main: bytes, own: bytes | None) -> None:
        with directory(disk) as path, refusable(BadData):
            folder = path / "EFI/refind"
            folder.mkdir(parents=True)
            (folder / "refind.conf").write_bytes(main)
            if own is not None:
                (folder / "sysmut.conf").write_bytes(own)
            prospect = install.Prospect(Esp(str(path)))
            install.apply(prospect.partition, install.plan(prospect, lambda _: CONTENT, "the-filesystem").changes)
            assert (folder / "sysmut.conf").read_bytes() == CONTENT
            assert install.plan(prospect, lambda _: CONTENT, "the-filesystem").changes == ()
            entries = parse((folder / "refind.conf").read_bytes(), "refind.conf", lambda _: CONTENT).config.entries
            assert "Linux" in [entry.title for entry in entries]
            assert {entry.title for entry in parse(main, "refind.conf").config.entries} <= {e.title for e in entries}
            kept = folder / "refind.conf.before-sysmut"
            assert (kept if kept.exists() else folder / "refind.conf").read_bytes() == main

    owns = st.none() | inputs.REFIND_BYTES | st.just(CONTENT) | st.just(CONTENT.replace(b"the-", b"another-"))
    search(check, 100 * times, inputs.REFIND_BYTES, owns)


@for_any
def test_the_firmwares_menu_is_read_and_its_changes_lead_to_what_is_wanted(times: int, search: Search) -> None:
    def check(entries: list[tuple[str, bool, str, str, str]], order: list[str], label: str, number: str) -> None:
        for form in ("File({})", "{}"):
            lines = [
                f"Boot{number}{'*' if active else ' '} {label}\tHD(1,GPT,{part},0x800,0x1000)/{form.format(path)}{data}"
                for number, active, part, path, data in entries
            ]
            found = firmware.parse("\n".join(["Timeout: 1 seconds", f"BootOrder: {','.join(order)}", *lines, ""]))
            expected = tuple(firmware.Entry(n, active, part, path + data) for n, active, part, path, data in entries)
            assert found == firmware.Boot(tuple(order), expected)
        wanted = firmware.Wanted("/dev/sda", 1, entries[0][2] if entries else "x", "\\EFI\\refind\\refind_x64.efi")
        for call in firmware.changes(found, wanted):
            found = called(found, call, wanted)
        entry = found.entry_for(wanted.partition, wanted.loader)
        assert entry is not None
        assert entry.active
        assert found.order[0] == entry.number
        assert firmware.changes(found, wanted) == ()

    label = inputs.TEXT.map(lambda text: re.sub(r"[\n(]", "", text))
    search(check, 200 * times, inputs.FIRMWARE, inputs.ORDERS, label, inputs.TEXT)


def called(boot: firmware.Boot, call: tuple[str, ...], wanted: firmware.Wanted) -> firmware.Boot:
    """The menu after a call of efibootmgr, by its manual."""
    if call[0] == "-c":
        number = next(n for n in map("{:04X}".format, range(2**16)) if n not in {e.number for e in boot.entries})
        made = firmware.Entry(number, True, wanted.partition, call[call.index("-l") + 1])
        return firmware.Boot((number, *boot.order), (*boot.entries, made))
    if call[:2] == ("-a", "-b"):
        return firmware.Boot(
            boot.order, tuple(replace(e, active=True) if e.number == call[2] else e for e in boot.entries)
        )
    assert call[0] == "-o"
    return firmware.Boot(tuple(call[1].split(",")), boot.entries)


@for_any
def test_any_text_can_be_read_as_the_firmwares_menu(times: int, search: Search) -> None:
    pieces = ["Boot0001* ", "BootOrder: ", "0001", ",", "\n", "HD(1,GPT,", ")/File(", "\\x", ")", "0" * 36]
    search(firmware.parse, 200 * times, inputs.texts(*pieces))


@for_any
def test_any_file_is_written_on_fat_whole_and_found_in_any_case_or_refused(
    times: int, search: Search, disk: Lab
) -> None:
    def check(writes: list[tuple[str, bytes, str | None]]) -> None:
        with directory(disk) as path:
            tree = Tree(str(path))
            for place, data, keep in writes:
                with refusable(UsageError, BadData, SystemFailure, NoSpace):
                    before = tree.read(place)
                    assert tree.write(place, data, keep=keep) == (before != data)
                    assert tree.read(place) == tree.read(place.swapcase()) == data
                    folder, _, name = place.strip("/").rpartition("/")
                    if before not in (None, data) and keep is not None and keep.lower() != name.lower():
                        assert tree.read(f"{folder}/{keep}") == before
                assert not list(path.rglob("sysmut-new.tmp"))

    parts = st.sampled_from(["EFI", "efi", "x", "X", "x", "y"])
    paths = st.lists(inputs.mostly(parts, inputs.NAMES | st.just("..")), min_size=1, max_size=2).map("/".join)
    writes = st.tuples(paths, st.sampled_from([b"", b"1", b"2"]), st.sampled_from([None, "kept", "x", "a:b"]))
    search(check, 60 * times, st.lists(writes, max_size=6))


# -- archives ----------------------------------------------------------------------------------------------

MEMBERS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["etc", "usr", "a", "..", ".", ""]) | inputs.NAMES, min_size=1, max_size=3).map(
            "/".join
        ),
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]),
        st.sampled_from(["etc", "../..", "/etc", "a"]) | inputs.NAMES,
    ),
    max_size=5,
)
DAMAGE = st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=8)), max_size=2)


_LONG = tarfile.TarInfo("././@LongLink")
_LONG.type, _LONG.size = tarfile.GNUTYPE_LONGNAME, 2
LONG_NAME = _LONG.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(tarfile.BLOCKSIZE, b"\0")
"""A block that has the next one's name in it."""


def tar(members: list[tuple[str, bytes, str]], form: int) -> bytes:
    """An archive with these members (name, type, link)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form, errors="surrogateescape") as made:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(b"ID="))
    return data.getvalue()


@for_any
def test_any_archive_is_listed_or_refused_by_its_name(times: int, search: Search, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"

    def check(
        members: list[tuple[str, bytes, str]], form: int, chain: int, damage: list[tuple[int, bytes]], cut: int
    ) -> None:
        content = bytearray(LONG_NAME * chain + tar(members, form))
        for at, data in damage:
            place = at % len(content)
            content[place : place + len(data)] = data
        path.write_bytes(content[: len(content) - cut])
        with refusable(BadData, saying=str(path)):
            found = archive.scan(str(path), "", Watch(Interrupts()))
            if not (chain or damage or cut):
                assert not any(".." in name.split("/") for name, *_ in members)
                assert {os.path.normpath(f"/{name}").lstrip("/") for name, *_ in members} <= {*found.kinds, ""}

    forms = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    cuts = st.just(0) | st.integers(0, 3000)
    chains = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 3000])
    once: list[tuple[Any, ...]] = [([], tarfile.GNU_FORMAT, 3000, [], 0)]
    search(check, 300 * times, MEMBERS, forms, chains, st.just([]) | DAMAGE, cuts, always=once)
