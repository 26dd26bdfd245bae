"""Settings: which of them is in force, and what is said of one that cannot be meant."""

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from sysmut import config
from sysmut.errors import BadConfiguration, UsageError

FILE = config.DEFAULT_FILE


def test_without_a_file_the_defaults_are_in_force(fs: FakeFilesystem) -> None:
    assert not fs.exists(FILE)
    assert config.load({"device": None, "mounts": ()}) == config.Config()


def test_the_file_is_read_and_an_option_beats_it(fs: FakeFilesystem) -> None:
    text = 'device = "/dev/sda2"\nslots = 6\nshell = "/bin/zsh"\nenvironment = ["http_proxy"]\nmin_free = "1G"\n'
    fs.create_file(FILE, contents=text + 'mounts = ["/srv/packages"]\nresolver = ""\n')
    found = config.load({"slots": 3})
    assert found == config.Config(
        device="/dev/sda2",
        slots=3,
        shell="/bin/zsh",
        environment=("http_proxy",),
        mounts=("/srv/packages",),
        resolver="",
        min_free=2**30,
    )


def test_a_rule_that_is_nought_is_none_and_beats_the_files(fs: FakeFilesystem) -> None:
    fs.create_file(FILE, contents='keep = 3\nkeep_days = 1.5\nkeep_free = "10%"\n')
    assert config.load({}) == config.Config(keep=3, keep_days=1.5, keep_free=config.Space("10%", percent=10))
    for nothing in ("0", "0%", 0):
        assert config.load({"keep": 0, "keep_days": 0, "keep_free": nothing}) == config.Config()


def test_a_root_given_beats_the_files_device(fs: FakeFilesystem) -> None:
    fs.create_file(FILE, contents='device = "/dev/sda2"\n')
    assert config.load({"root": "/mnt"}) == config.Config(root="/mnt")
    assert config.load({"image": "x.img"}) == config.Config(image="x.img")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "'colour' is not a setting"),
        ('root = "/mnt"', "'root' is not a setting"),
        ("slots = 0", "slots must be a number from 1 to 100"),
        ("slots = true", "slots must be a number"),
        ('slots = "4"', "slots must be a number"),
        ("device = 1", "device must be a string"),
        ('mounts = "/srv"', "mounts must be a list of strings"),
        ("environment = [1]", "environment must be a list of strings"),
        ('min_free = "lots"', "min_free must be a size"),
        ("min_free = -1", "min_free must be a size"),
        ("min_free = true", "min_free must be a size"),
        ("keep = -1", "keep must be a number of generations from 0 to 1000000"),
        ("keep = 1.5", "keep must be a number of generations"),
        ("keep = true", "keep must be a number of generations"),
        ("keep_days = -0.1", "keep_days must be a number of days from 0 to 100000"),
        ("keep_days = nan", "keep_days must be a number of days"),
        ("keep_days = inf", "keep_days must be a number of days"),
        ("keep_days = 1" + "0" * 400, "keep_days must be a number of days"),
        ('keep_days = "1"', "keep_days must be a number of days"),
        ('keep_free = "100%"', "keep_free must be a size"),
        ('keep_free = "-1%"', "keep_free must be a size"),
        ('keep_free = "lots"', "keep_free must be a size"),
        ("keep_free = -1", "keep_free must be a size"),
        ("keep_free = 0.5", "keep_free must be a size"),
        ("not toml", FILE),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_name_and_the_key(
    fs: FakeFilesystem, text: str, said: str
) -> None:
    fs.create_file(FILE, contents=text)
    with pytest.raises(BadConfiguration, match=FILE) as caught:
        config.load({})
    assert said in caught.value.message
    assert caught.value.status == 78


def test_a_file_that_was_asked_for_must_be_there_and_readable(fs: FakeFilesystem) -> None:
    with pytest.raises(BadConfiguration, match=r"/x/y\.toml: no such file"):
        config.load({}, "/x/y.toml")
    fs.create_dir("/x/directory")
    with pytest.raises(BadConfiguration, match="/x/directory"):
        config.load({}, "/x/directory")
    fs.create_file("/x/latin", contents=b"shell = '\xff'")
    with pytest.raises(BadConfiguration, match="/x/latin"):
        config.load({}, "/x/latin")


def test_two_places_for_the_top_level_are_refused(fs: FakeFilesystem) -> None:
    assert not fs.exists(FILE)
    with pytest.raises(UsageError, match="--root and --image each name the top level"):
        config.load({"root": "/mnt", "image": "x"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("root", ""),
        ("slots", 0),
        ("min_free", "lots"),
        ("shell", "\0"),
        ("keep", -1),
        ("keep_days", -1),
        ("keep_free", ""),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(fs: FakeFilesystem, key: str, value: object) -> None:
    assert not fs.exists(FILE)
    with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} "):
        config.load({key: value})


@pytest.mark.parametrize(
    ("text", "count"), [("64M", 2**26), ("1 GiB", 2**30), ("10k", 10240), ("7", 7), (7, 7), ("2TB", 2**41)]
)
def test_sizes(text: object, count: int) -> None:
    assert config.parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "count"), [("20G", 20 * 2**30), (" 10 % ", 10240), ("0.5%", 512), ("99.9%", 102297), (7, 7), ("7", 7)]
)
def test_amounts_of_space_are_sizes_or_parts_of_the_filesystem(text: object, count: int) -> None:
    found = config.parse_space(text)
    assert found is not None
    assert found.of(102400) == count
    assert str(found) == (f"{text} bytes" if text in (7, "7") else str(text).strip())
