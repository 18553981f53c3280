"""Scores against what they cost, as positions on paper; the report's template draws them as SVG."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10

import numpy as np

from mednext_cli.evaluation.pages.page import shorten
from mednext_cli.evaluation.pages.plots import Dot, Scale, Tick

_WIDTH, _HEIGHT = 640.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 616.0, 24.0, 350.0
_LABEL_HEIGHT, _LETTER_WIDTH = 14.0, 7.2
_BESIDE = 9.0  # from the middle of a circle to its label
_POWERS_APART = 3  # from here on an axis marks powers of ten alone

Point = tuple[str, float, float]
"""What a run is called, what it cost, and its score."""


@dataclass(frozen=True)
class Group:
    """The runs of an arm as dots, their mean as a circle with a label."""

    label: str
    title: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class ScatterPlot:
    """A plot of scores against costs.

    Attributes:
        title: above it.
        x_label: what the horizontal axis shows.
        y_label: what the vertical axis shows.
        x_ticks: on the horizontal axis.
        y_ticks: on the vertical axis; `Tick.x` is their height.
        groups: the arms.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    groups: tuple[Group, ...]
    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _RIGHT
    top: float = _TOP
    bottom: float = _BOTTOM


def plot_scatter(
    title: str,
    labels: tuple[str, str],
    groups: Mapping[str, Sequence[Point]],
    *,
    logarithmic: bool = False,
) -> ScatterPlot | None:
    """Runs by arm; None where no run has both a score and a cost.

    Args:
        title: above the plot.
        labels: of the horizontal and the vertical axis.
        groups: the runs by arm.
        logarithmic: whether the horizontal axis is one of powers.
    """
    kept = {
        name: found
        for name, points in groups.items()
        if (found := [point for point in points if _is_drawn(point, logarithmic)])
    }
    if not kept:
        return None
    costs = [cost for points in kept.values() for _, cost, _ in points]
    scores = [score for points in kept.values() for _, _, score in points]
    x, x_ticks = _log_axis(costs) if logarithmic else _axis(0.0, max(costs), _LEFT, _RIGHT)
    y, y_ticks = _axis(min(scores), max(scores), _BOTTOM, _TOP)
    placed = [_group(name, points, x, y) for name, points in kept.items()]
    return ScatterPlot(title, *labels, x_ticks, y_ticks, tuple(_apart(placed)))


def _is_drawn(point: Point, logarithmic: bool) -> bool:
    return isfinite(point[1]) and isfinite(point[2]) and (point[1] > 0 or not logarithmic)


Place = Callable[[float], float]


def _axis(low: float, high: float, start: float, end: float) -> tuple[Place, tuple[Tick, ...]]:
    scale = Scale.spanning(low, high, start, end)
    return scale.x, scale.ticks()


def _log_axis(values: Sequence[float]) -> tuple[Place, tuple[Tick, ...]]:
    """From 1, 2 or 5 times a power of ten to another."""
    low, high = _round_down(min(values)), _round_up(max(values))
    reach = log10(high) - log10(low)

    def place(value: float) -> float:
        return round(_LEFT + (log10(value) - log10(low)) / reach * (_RIGHT - _LEFT), 1)

    factors = (1,) if reach > _POWERS_APART else (1, 2, 5)
    marks = (
        factor * 10.0**power
        for power in range(floor(log10(low)), ceil(log10(high)) + 1)
        for factor in factors
    )
    inside = (mark for mark in marks if low * 0.999 <= mark <= high * 1.001)
    return place, tuple(Tick(place(mark), f"{mark:g}") for mark in inside)


def _round_down(value: float) -> float:
    power = 10.0 ** floor(log10(value))
    return max(factor * power for factor in (0.5, 1, 2, 5) if factor * power < value * 0.999)


def _round_up(value: float) -> float:
    power = 10.0 ** floor(log10(value))
    return min(factor * power for factor in (1, 2, 5, 10, 20) if factor * power > value * 1.001)


def _group(name: str, points: Sequence[Point], x: Place, y: Place) -> Group:
    cost, score = (float(np.mean([point[index] for point in points])) for index in (1, 2))
    dots = tuple(
        Dot(x(one), y(other), f"{label}: {other:.4g} at {one:.4g}") for label, one, other in points
    )
    label = shorten(name)
    fits = x(cost) + _BESIDE + _LETTER_WIDTH * len(label) < _WIDTH
    return Group(
        label=label,
        title=f"{name}: mean {score:.4g} at {cost:.4g}",
        x=x(cost),
        y=y(score),
        label_x=x(cost) + (_BESIDE if fits else -_BESIDE),
        label_y=y(score) + 4,
        anchor="start" if fits else "end",
        dots=dots,
    )


def _apart(groups: Sequence[Group]) -> list[Group]:
    """Labels that would lie on each other, moved down."""
    placed: list[Group] = []
    for group in sorted(groups, key=lambda group: group.label_y):
        height = group.label_y
        for other in placed:
            if _overlap(group, other) and height < other.label_y + _LABEL_HEIGHT:
                height = other.label_y + _LABEL_HEIGHT
        placed.append(replace(group, label_y=height))
    return placed


def _overlap(one: Group, other: Group) -> bool:
    """Whether two labels share some of the width."""
    (low, high), (other_low, other_high) = _reach(one), _reach(other)
    return low < other_high and other_low < high


def _reach(group: Group) -> tuple[float, float]:
    length = _LETTER_WIDTH * len(group.label)
    if group.anchor == "start":
        return group.label_x, group.label_x + length
    return group.label_x - length, group.label_x
