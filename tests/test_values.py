"""Frozen values: as the standard frozen dataclasses in all that is asked of them here."""

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sysmut.values import field, fields, frozen, replace


@frozen
class Point:
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)

    @property
    def sum(self) -> int:
        return self.x + self.y


@frozen
class Other:
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)


@frozen
class Hashable:
    x: int
    y: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Standard:
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)


@pytest.mark.parametrize(
    ("args", "named"),
    [((1,), {}), ((1, 3), {}), ((1, 3, ["a"]), {}), ((), {"x": 1}), ((1,), {"names": ["b"]}), ((), {"y": 5, "x": 4})],
)
def test_fields_are_given_in_order_or_by_name_and_defaults_fill_the_rest(args: Any, named: Any) -> None:
    found, standard = Point(*args, **named), Standard(*args, **named)
    assert (found.x, found.y, found.names) == (standard.x, standard.y, standard.names)
    assert repr(found) == repr(standard).replace("Standard", "Point")


@pytest.mark.parametrize(
    ("args", "named"),
    [((), {}), ((1, 2, [], 4), {}), ((), {"y": 1}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((1, 2, []), {"x": 1})],
)
def test_what_is_missing_too_much_or_unknown_is_refused(args: Any, named: Any) -> None:
    kinds: tuple[Callable[..., Any], ...] = (Point, Standard)
    for kind in kinds:
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_a_value_cannot_be_changed() -> None:
    point = Point(1)
    changes: tuple[Callable[[], object], ...] = (
        lambda: setattr(point, "x", 2),
        lambda: setattr(point, "z", 2),
        lambda: delattr(point, "x"),
    )
    for change in changes:
        with pytest.raises(AttributeError):
            change()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Standard(1).x = 2  # type: ignore[misc]
    assert point == Point(1)


def test_values_are_equal_by_their_fields_if_they_are_of_one_class() -> None:
    assert Point(1) == Point(1, 2, [])
    assert Point(1) != Point(2)
    others: tuple[object, ...] = (Other(1), 1, Standard(1))
    assert Point(1) not in others
    assert len({Hashable(1), Hashable(1), Hashable(2)}) == 2


def test_a_default_that_is_made_is_another_one_each_time() -> None:
    assert Point(1).names is not Point(1).names
    assert not hasattr(Point, "names")


def test_one_is_replaced_by_another_with_some_fields_otherwise() -> None:
    point = Point(1, names=["a"])
    assert replace(point, y=7) == Point(1, 7, ["a"])
    assert point.y == 2
    with pytest.raises(TypeError):
        replace(point, z=1)


def test_it_can_be_matched_and_survives_pickling_and_has_its_own_methods() -> None:
    match Point(1, 3):
        case Point(x, y):
            assert (x, y) == (1, 3)
    assert pickle.loads(pickle.dumps(Point(4))) == Point(4)
    assert Point(1).sum == 3


@frozen
class Derived(Point):
    z: int = 9


def test_a_derived_class_has_the_fields_of_both() -> None:
    assert Derived(1, 2, [], 3).z == 3
    assert (Derived(1).z, Derived(1, names=["a"]).names) == (9, ["a"])
    assert fields(Derived) == ("x", "y", "names", "z")
    assert repr(Derived(1)) == "Derived(x=1, y=2, names=[], z=9)"
    assert fields(Point) == ("x", "y", "names")
