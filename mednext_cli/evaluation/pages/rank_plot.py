"""How often resampling puts each method on each rank, as positions on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mednext_cli.evaluation.pages.page import LONGEST_LABEL, shorten
from mednext_cli.evaluation.ranking.ranks import Ranks

_ROW_HEIGHT, _COLUMN_WIDTH, _LARGEST_RADIUS = 32.0, 36.0, 13.0
_LETTER_WIDTH = 7.2


@dataclass(frozen=True)
class Blob:
    """One method on one rank; its area is the share of bootstrap samples.

    Attributes:
        x: centre.
        radius: of the circle.
        title: the share, for people.
    """

    x: float
    radius: float
    title: str


@dataclass(frozen=True)
class RankRow:
    """One method.

    Attributes:
        label: its name, shortened.
        y: height of the row's middle.
        low: x of the 2.5 % percentile.
        high: x of the 97.5 % percentile.
        mark: x of the rank by all cases.
        blobs: its ranks under resampling.
    """

    label: str
    y: float
    low: float
    high: float
    mark: float
    blobs: tuple[Blob, ...]


@dataclass(frozen=True)
class RankPlot:
    """One ranking, the best method on top (challengeR's blob plot).

    Attributes:
        title: what is ranked.
        width: of the drawing.
        height: of the drawing.
        ticks: x and text of each rank.
        rows: one per method.
    """

    title: str
    width: float
    height: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[RankRow, ...]


def plot_ranks(title: str, methods: Sequence[str], ranks: Ranks, sampled: Ranks) -> RankPlot:
    """Plot the ranks of all methods.

    Args:
        title: what is ranked.
        methods: their names.
        ranks: (methods,), by all cases.
        sampled: (samples, methods), by the bootstrap samples.
    """
    left = min(max(map(len, methods)), LONGEST_LABEL) * _LETTER_WIDTH + 22
    count = int(max(ranks.max(), sampled.max(initial=1)))
    rows = []
    for place, m in enumerate(np.argsort(ranks, kind="stable")):
        drawn = sampled[:, m] if len(sampled) else ranks[m : m + 1]
        low, high = np.percentile(drawn, (2.5, 97.5))
        blobs = (_blob(rank, float((drawn == rank).mean()), left) for rank in range(1, count + 1))
        row = RankRow(
            label=shorten(methods[m]),
            y=_ROW_HEIGHT * (place + 0.5),
            low=_x(float(low), left),
            high=_x(float(high), left),
            mark=_x(float(ranks[m]), left),
            blobs=tuple(blob for blob in blobs if blob.radius),
        )
        rows.append(row)
    return RankPlot(
        title=title,
        width=left + _COLUMN_WIDTH * count,
        height=_ROW_HEIGHT * len(methods) + 26,
        ticks=tuple((_x(rank, left), str(rank)) for rank in range(1, count + 1)),
        rows=tuple(rows),
    )


def _x(rank: float, left: float) -> float:
    return round(left + _COLUMN_WIDTH * (rank - 0.5), 1)


def _blob(rank: int, share: float, left: float) -> Blob:
    title = f"rank {rank} in {share:.1%} of the samples"
    return Blob(_x(rank, left), round(_LARGEST_RADIUS * share**0.5, 1), title)
