"""Box and dot plots of scores, as positions on paper; the report's template draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np

from mednext_cli.evaluation.columns import Column
from mednext_cli.evaluation.scores import RegionScore

WIDTH, ROW_HEIGHT, AXIS_HEIGHT = 720.0, 44.0, 34.0
_RIGHT_MARGIN, _LETTER_WIDTH, _LONGEST_LABEL = 16.0, 7.2, 26
_MOST_DOTS = 400  # per region; beyond it only those outside the whiskers are drawn
_JITTER = 0.5  # of the height of a row


@dataclass(frozen=True)
class Dot:
    """One case: its place, and the text that shows when it is pointed at."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class BoxRow:
    """One region: quartiles and whiskers as x positions, and its cases as dots."""

    label: str
    y: float
    low: float
    quartile_1: float
    median: float
    quartile_3: float
    high: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Tick:
    """A mark on the axis."""

    x: float
    text: str


@dataclass(frozen=True)
class BoxPlot:
    """A plot of one metric, a row a region."""

    title: str
    width: float
    height: float
    left: float
    ticks: tuple[Tick, ...]
    rows: tuple[BoxRow, ...]


def plot_boxes(column: Column, scores: Sequence[RegionScore]) -> BoxPlot | None:
    """The plot of one metric over all regions; None where nothing is finite.

    Boxes span the quartiles, whiskers reach the farthest case within 1.5 box lengths (Tukey).
    """
    by_region: dict[str, list[tuple[str, float]]] = {}
    for score in scores:
        value = score.values[column.name]
        if isfinite(value):
            by_region.setdefault(score.region, []).append((score.case, value))
    if not by_region:
        return None
    scale = _Scale.over(column, [value for pairs in by_region.values() for _, value in pairs],
                        list(by_region))  # fmt: skip
    rows = [
        _box_row(label, index, pairs, scale)
        for index, (label, pairs) in enumerate(by_region.items())
    ]
    unit = f" ({column.unit})" if column.unit and column.unit != "0 to 1" else ""
    return BoxPlot(
        title=column.name.removesuffix("_mm").replace("_", " ") + unit,
        width=WIDTH,
        height=ROW_HEIGHT * len(rows) + AXIS_HEIGHT,
        left=scale.left,
        ticks=scale.ticks(),
        rows=tuple(rows),
    )


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    step: float
    left: float

    @classmethod
    def over(cls, column: Column, values: Sequence[float], labels: Sequence[str]) -> "_Scale":
        """Round ends that hold all values; distances start at 0, shares end at 1."""
        is_share = column.unit == "0 to 1"
        low = min(values) if is_share else 0.0
        high = 1.0 if is_share else max(values)
        step = _round_step((high - low) / 5 or 0.2)
        first, last = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
        longest = min(max(map(len, labels)), _LONGEST_LABEL)
        return cls(
            first, last if last > first else first + step, step, longest * _LETTER_WIDTH + 18
        )

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.left + share * (WIDTH - _RIGHT_MARGIN - self.left), 1)

    def ticks(self) -> tuple[Tick, ...]:
        count = round((self.high - self.low) / self.step)
        values = (self.low + index * self.step for index in range(count + 1))
        return tuple(Tick(self.x(value), f"{value:.6g}") for value in values)


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _box_row(label: str, index: int, pairs: Sequence[tuple[str, float]], scale: _Scale) -> BoxRow:
    values = np.array([value for _, value in pairs])
    quartile_1, median, quartile_3 = (float(v) for v in np.percentile(values, (25, 50, 75)))
    reach = 1.5 * (quartile_3 - quartile_1)
    inner = values[(values >= quartile_1 - reach) & (values <= quartile_3 + reach)]
    low, high = float(inner.min()), float(inner.max())
    y = ROW_HEIGHT * (index + 0.5)
    drawn = pairs
    if len(pairs) > _MOST_DOTS:
        drawn = [(case, value) for case, value in pairs if not low <= value <= high]
    dots = (
        Dot(scale.x(value), round(y + _jitter(place), 1), f"{case}: {value:.4g}")
        for place, (case, value) in enumerate(drawn)
    )
    x_low, x_1, x_median, x_3, x_high = map(scale.x, (low, quartile_1, median, quartile_3, high))
    return BoxRow(_short(label), y, x_low, x_1, x_median, x_3, x_high, tuple(dots))


def _jitter(place: int) -> float:
    """Spread dots evenly over the row (golden ratio), the same in every report."""
    return ((place * 0.618034) % 1.0 - 0.5) * ROW_HEIGHT * _JITTER


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
