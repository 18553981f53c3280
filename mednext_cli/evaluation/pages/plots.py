"""Box and dot plots of scores, as positions on paper; the report's template draws them as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np

from mednext_cli.evaluation.pages.page import LONGEST_LABEL, shorten, spell_with_unit
from mednext_cli.evaluation.scoring.scores import OK, RegionScore
from mednext_cli.foundation.columns import Column

WIDTH, ROW_HEIGHT, AXIS_HEIGHT = 600.0, 44.0, 34.0
_RIGHT_MARGIN, _LETTER_WIDTH = 16.0, 7.2
_MOST_DOTS = 400  # per region; beyond it only those outside the whiskers are drawn
_AGREEMENT_WIDTH, _AGREEMENT_LEFT, _AGREEMENT_BOTTOM = 380.0, 58.0, 220.0
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


@dataclass(frozen=True)
class AgreementPlot:
    """Bland-Altman plot of one region: volume difference against mean volume, ml.

    Attributes:
        title: the region.
        text: bias and limits of agreement, for people.
        width: of the drawing.
        height: of the drawing.
        left: where the vertical axis stands.
        bottom: where the horizontal axis stands.
        x_ticks: on the horizontal axis.
        y_ticks: on the vertical axis; `Tick.x` is their height.
        zero: height of a difference of 0.
        bias: height of the mean difference.
        limits: heights of the 95 % limits of agreement, bias -+ 1.96 standard deviations.
        dots: one per case.
    """

    title: str
    text: str
    width: float
    height: float
    left: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float
    bias: float
    limits: tuple[float, ...]
    dots: tuple[Dot, ...]


def plot_boxes(column: Column, scores: Sequence[RegionScore]) -> BoxPlot | None:
    """The plot of one metric over all regions; None where nothing is finite."""
    by_region: dict[str, list[tuple[str, float]]] = {}
    for score in scores:
        by_region.setdefault(score.region, []).append((score.case, score.values[column.name]))
    return plot_groups(column, by_region)


def plot_groups(
    column: Column, groups: Mapping[str, Sequence[tuple[str, float]]], title: str = ""
) -> BoxPlot | None:
    """Boxes and dots of named values, a row a group; None where nothing is finite.

    Boxes span the quartiles, whiskers reach the farthest case within 1.5 box lengths (Tukey).
    """
    finite = {
        label: kept
        for label, pairs in groups.items()
        if (kept := [(name, value) for name, value in pairs if isfinite(value)])
    }
    if not finite:
        return None
    values = [value for pairs in finite.values() for _, value in pairs]
    scale = Scale.over(column, values, list(finite))
    rows = [
        _box_row(label, index, pairs, scale) for index, (label, pairs) in enumerate(finite.items())
    ]
    return BoxPlot(
        title=title or spell_with_unit(column),
        width=WIDTH,
        height=ROW_HEIGHT * len(rows) + AXIS_HEIGHT,
        left=scale.left,
        ticks=scale.ticks(),
        rows=tuple(rows),
    )


def plot_agreements(scores: Sequence[RegionScore], most: int) -> list[AgreementPlot]:
    """Bland-Altman plots of the first regions' volumes, of cases that have a prediction."""
    by_region: dict[str, list[tuple[str, float, float]]] = {}
    for score in scores:
        volumes = (score.values["volume_reference_ml"], score.values["volume_prediction_ml"])
        if score.status == OK and all(map(isfinite, volumes)) and any(volumes):
            by_region.setdefault(score.region, []).append((score.case, *volumes))
    return [_agreement(name, cases) for name, cases in list(by_region.items())[:most]]


def _agreement(region: str, cases: Sequence[tuple[str, float, float]]) -> AgreementPlot:
    volumes = np.array([case[1:] for case in cases])
    means, differences = volumes.mean(axis=1), volumes[:, 1] - volumes[:, 0]
    bias = float(differences.mean())
    reach = 1.96 * float(differences.std(ddof=1)) if len(cases) > 1 else 0.0
    limits = (bias - reach, bias + reach) if reach else ()
    across = Scale.spanning(0.0, float(means.max()), _AGREEMENT_LEFT, _AGREEMENT_WIDTH - 12)
    ends = [0.0, *limits, *differences.tolist()]
    up = Scale.spanning(min(ends), max(ends), _AGREEMENT_BOTTOM, 10.0)
    text = f"bias {bias:.3g} ml"
    if limits:
        text += f", 95 % limits of agreement {limits[0]:.3g} to {limits[1]:.3g} ml"
    dots = (
        Dot(across.x(float(mean)), up.x(float(difference)), f"{case[0]}: {difference:+.3g} ml")
        for case, mean, difference in zip(cases, means, differences, strict=True)
    )
    return AgreementPlot(
        title=region,
        text=text,
        width=_AGREEMENT_WIDTH,
        height=_AGREEMENT_BOTTOM + AXIS_HEIGHT,
        left=_AGREEMENT_LEFT,
        bottom=_AGREEMENT_BOTTOM,
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        zero=up.x(0.0),
        bias=up.x(bias),
        limits=tuple(map(up.x, limits)),
        dots=tuple(dots),
    )


@dataclass(frozen=True)
class Scale:
    """An axis with round ends: numbers from `low` to `high`, drawn from `left` to `right`."""

    low: float
    high: float
    step: float
    left: float
    right: float = WIDTH - _RIGHT_MARGIN

    @classmethod
    def over(cls, column: Column, values: Sequence[float], labels: Sequence[str]) -> "Scale":
        """Round ends that hold all values; distances start at 0, shares end at 1."""
        is_share = column.unit == "0 to 1"
        longest = min(max(map(len, labels)), LONGEST_LABEL)
        return cls.spanning(
            min(values) if is_share else min(0.0, *values),
            1.0 if is_share else max(values),
            longest * _LETTER_WIDTH + 18,
            WIDTH - _RIGHT_MARGIN,
        )

    @classmethod
    def spanning(cls, low: float, high: float, left: float, right: float) -> "Scale":
        """Round ends that hold both numbers, drawn from `left` to `right`."""
        step = _round_step((high - low) / 5 or 0.2)
        first, last = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
        return cls(first, last if last > first else first + step, step, left, right)

    def x(self, value: float) -> float:
        """Where a number lies on paper."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.left + share * (self.right - self.left), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """A mark at every step."""
        count = round((self.high - self.low) / self.step)
        values = (self.low + index * self.step for index in range(count + 1))
        return tuple(Tick(self.x(value), f"{round(value, 9):.6g}") for value in values)


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _box_row(label: str, index: int, pairs: Sequence[tuple[str, float]], scale: Scale) -> BoxRow:
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
    return BoxRow(shorten(label), y, x_low, x_1, x_median, x_3, x_high, tuple(dots))


def _jitter(place: int) -> float:
    """Spread dots evenly over the row (golden ratio), the same in every report."""
    return ((place * 0.618034) % 1.0 - 0.5) * ROW_HEIGHT * _JITTER
