"""Frozen values, declared as dataclasses are.

The standard ones compile their methods anew in every process, a quarter of a millisecond for each class: for a
command's two dozen that was a sixth of all its time. These have methods that were compiled once.
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, dataclass_transform

_Value = TypeVar("_Value")


class _Made:
    """A default that is made anew for each value."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """The default of a field: what the function returns, called for each value."""
    return _Made(default_factory)


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(field,))
def frozen(cls: type[_Value]) -> type[_Value]:
    """Make the class one of frozen values: its annotated attributes are its fields, with their defaults, behind those
    of a class that it is derived from. Two values are equal if they are of one class and all their fields are."""
    made: Any = cls
    own = tuple(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 (it would import inspect)
    defaults = {name: cls.__dict__[name] for name in own if name in cls.__dict__}
    for name, default in defaults.items():
        if isinstance(default, _Made):
            delattr(cls, name)
    made._sysmut_defaults = {**getattr(cls, "_sysmut_defaults", {}), **defaults}
    names = (*getattr(cls, "__match_args__", ()), *own)
    made.__match_args__ = names  # type: ignore[misc]
    made._sysmut_fields = frozenset(names)
    made.__init__, made.__eq__, made.__hash__, made.__repr__ = _init, _eq, _hash, _repr
    made.__setattr__ = made.__delattr__ = _refuse
    return cls


def fields(kind: type) -> tuple[str, ...]:
    """The names of the fields of a class of frozen values, in order."""
    return tuple(vars(kind)["__match_args__"])


def replace(one: _Value, **changes: Any) -> _Value:
    """The same value with some fields otherwise."""
    return type(one)(**{**vars(one), **changes})


def _init(self: Any, *args: Any, **named: Any) -> None:
    names = self.__match_args__
    values = self.__dict__
    values.update(zip(names, args, strict=False), **named)
    given = len(args) + len(named) == len(values)
    if len(values) < len(names):
        for name, default in self._sysmut_defaults.items():
            if name not in values:
                values[name] = default.make() if isinstance(default, _Made) else default
    if values.keys() != self._sysmut_fields or not given:
        raise TypeError(f"{type(self).__name__} takes {', '.join(names)}, and was given {len(args)} and {set(named)}")


def _eq(self: Any, other: object) -> Any:
    return vars(self) == vars(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(vars(self)[name] for name in self.__match_args__))


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in self.__match_args__)})"


def _refuse(self: Any, *_: Any) -> NoReturn:
    raise AttributeError(f"a value of {type(self).__name__} cannot be changed")
