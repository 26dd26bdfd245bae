"""How a time grows: the exponent k of t(n) = t(0) + c·n^k, by a straight line through the logarithms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fit:
    """The slope of a straight line through (log n, log t), and its standard error."""

    exponent: float
    error: float
    flat: bool = False
    """The time does not grow by more than it varies: there is nothing to fit, and the exponent is 0."""

    def __str__(self) -> str:
        return "0 (does not grow)" if self.flat else f"{self.exponent:.2f} ± {self.error:.2f}"


def slope(points: Mapping[int, float]) -> Fit:
    """The line through the logarithms of all points, as they are."""
    xs = [math.log(n) for n in points]
    ys = [math.log(time) for time in points.values()]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    square = sum((x - middle_x) ** 2 for x in xs)
    exponent = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / square
    rest = sum((y - middle_y - exponent * (x - middle_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    error = math.sqrt(rest / (len(xs) - 2) / square) if len(xs) > 2 else 0.0
    return Fit(exponent, error)


def exponent(points: Mapping[int, float], at_nothing: float, noise: float) -> Fit:
    """The same when the time at n = 0 is taken off, as far as the rest is more than `noise`, in seconds; flat where
    less than two points are."""
    grown = {n: time - at_nothing for n, time in points.items() if time - at_nothing > noise}
    return slope(grown) if len(grown) > 1 else Fit(0.0, 0.0, flat=True)
