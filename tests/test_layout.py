"""Names and paths of the on-disk format."""

import re

import pytest

from sysmut import layout


def test_a_new_id_is_the_time_and_eight_letters() -> None:
    ids = {layout.new_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(re.fullmatch(r"20\d{12}[a-zA-Z]{8}", name) for name in ids)


@pytest.mark.parametrize(
    ("link", "text", "name"),
    [
        ("links/L/0", "../../snapshots/G", "G"),
        ("links/L/0", "../../snapshots/G/", "G"),
        ("links/L/0", "/snapshots/G", "G"),
        ("links/L/0", "../.././/snapshots/./G", "G"),
        ("links/L/0", "../../snapshots/x/../G", None),
        ("pins/p", "../snapshots/a b\n\udcff", "a b\n\udcff"),
        ("trial", "./snapshots/G", "G"),
        ("links/L/0", "../../../../snapshots/G", "G"),
        ("links/L/0", "../../snapshots", None),
        ("links/L/0", "../../snapshots/G/@", None),
        ("links/L/0", "../snapshots/G", None),
        ("links/L/0", "G", None),
    ],
)
def test_what_a_link_says(link: str, text: str, name: str | None) -> None:
    assert layout.target_in(link, layout.SNAPSHOTS, text) == name


@pytest.mark.parametrize(
    ("slots", "first", "after"),
    [
        ("AAAA", "B", "BAAA"),
        ("BAAA", "C", "CBAA"),
        ("DCBA", "E", "EDCB"),
        ("DCBA", "B", "BDCA"),
        ("DCBA", "D", "DCBA"),
        ("ABAB", "C", "CABB"),
        ("A-B-", "C", "CABB"),
        ("----", "C", "CCCC"),
        ("A", "B", "B"),
    ],
)
def test_rotation_keeps_the_order_drops_repeats_and_gaps_and_fills_up(slots: str, first: str, after: str) -> None:
    before = tuple(None if name == "-" else name for name in slots)
    assert layout.rotate(before, first) == tuple(after)
    assert layout.rotate(layout.rotate(before, first), first) == tuple(after)


def test_names_of_commons() -> None:
    assert layout.common_name("/home") == "@home"
    assert layout.common_name("/var/log") == "@var@log"


@pytest.mark.parametrize(
    ("path", "owner"),
    [("/snapshots/G/@", "G"), ("/snapshots/G/@/var", "G"), ("/commons/@home", None), ("/", None), ("/snapshots", None)],
)
def test_the_generation_that_a_path_lies_in(path: str, owner: str | None) -> None:
    assert layout.owner_of(path) == owner
