"""Stages of predictions as bars, as positions on paper; the page's template draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from mednext_cli.inference.stages import STAGES

_COLOURS = dict(zip(STAGES, ("#7a8b99", "#e0a030", "#0f87ad", "#8a63b8", "#4d9a5b"), strict=True))
_WIDTH, _ROW, _BAR, _AXIS, _LEGEND = 600.0, 30.0, 18.0, 30.0, 26.0
_LETTER, _RIGHT = 6.6, 60.0
_MOST_TICKS = 6


@dataclass(frozen=True)
class Segment:
    """One stage: where it begins, how long it is, its colour, and a text to point at."""

    x: float
    width: float
    colour: str
    title: str


@dataclass(frozen=True)
class Bar:
    """One configuration: its label, the top of its bar, its stages, and its end with a text."""

    label: str
    y: float
    segments: tuple[Segment, ...]
    end: float
    text: str


@dataclass(frozen=True)
class BarPlot:
    """Configurations below each other, seconds to the right; what colours mean above.

    Attributes:
        width: of the drawing.
        height: of the drawing.
        left: where the bars begin.
        bar_height: of one.
        legend: place, colour and name of each stage.
        ticks: place and text of each mark on the axis.
        bars: one a configuration.
    """

    width: float
    height: float
    left: float
    bar_height: float
    legend: tuple[tuple[float, str, str], ...]
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]


def plot_bars(named: Sequence[tuple[str, Mapping[str, float], str]]) -> BarPlot:
    """Draw the stages.

    Args:
        named: label, seconds by stage, and the text behind the bar, of each configuration.
    """
    left = max(len(label) for label, _, _ in named) * _LETTER + 12
    longest = max(sum(seconds.values()) for _, seconds, _ in named)
    scale = (_WIDTH - _RIGHT) / max(longest, 1e-9)
    bars = [
        _bar(label, seconds, text, left, _LEGEND + _ROW * place, scale)
        for place, (label, seconds, text) in enumerate(named)
    ]
    return BarPlot(
        width=left + _WIDTH,
        height=_LEGEND + _ROW * len(named) + _AXIS,
        left=left,
        bar_height=_BAR,
        legend=tuple(
            (left + 90.0 * place, colour, stage)
            for place, (stage, colour) in enumerate(_COLOURS.items())
        ),
        ticks=tuple((round(left + value * scale, 1), f"{value:g}") for value in _ticks(longest)),
        bars=tuple(bars),
    )


def _bar(
    label: str, seconds: Mapping[str, float], text: str, left: float, y: float, scale: float
) -> Bar:
    segments, x = [], left
    for stage, length in seconds.items():
        width = length * scale
        title = f"{stage}: {length:.3g} s"
        segments.append(Segment(round(x, 2), round(width, 2), _COLOURS[stage], title))  # type: ignore[index]
        x += width
    return Bar(label, y + (_ROW - _BAR) / 2, tuple(segments), round(x + 6, 1), text)


def _ticks(longest: float) -> list[float]:
    """Round numbers from 0 to the longest."""
    rough = max(longest, 1e-9) / _MOST_TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * index for index in range(int(longest / step) + 1)]
