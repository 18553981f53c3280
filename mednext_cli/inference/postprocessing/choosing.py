"""Which step of several helps: on all cases, and on each group when it is chosen by the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Scores = NDArray[np.float64]
_LEAST = 1e-6  # of a Dice: less is rounding


@dataclass(frozen=True)
class Choice:
    """The best of some candidates.

    Attributes:
        candidate: its index; None where none raises the mean Dice.
        before: mean Dice over cases, then regions, without it.
        after: the same with it.
        left_out: the same where each group's cases have what the other groups would choose.
        changed_cases: how many of them it changes.
        kept: whether `after` and `left_out` are above `before`, and no region's mean falls.
    """

    candidate: int | None
    before: float
    after: float
    left_out: float
    changed_cases: int
    kept: bool


def choose(regions: Counts, changes: Counts, groups: Sequence[int]) -> Choice:
    """Choose among candidates.

    Args:
        regions: (cases, R, 3) voxels of each region in both maps, the reference, the prediction.
        changes: (cases, candidates, R, 2) what each candidate adds to the first and the last.
        groups: of every case; each is left out in turn.
    """
    before = dice(regions)
    options = [dice(_changed(regions, changes[:, index])) for index in range(changes.shape[1])]
    best = _best(before, options)
    after = before if best is None else options[best]
    left_out = _left_out(before, options, np.asarray(groups))
    changed = 0 if best is None else int(changes[:, best].any(axis=(1, 2)).sum())
    means = mean_dice(before), mean_dice(after), mean_dice(left_out)
    kept = min(means[1:]) > means[0] + _LEAST and not _some_region_falls(before, after)
    return Choice(best, *means, changed, kept)


def dice(regions: Counts) -> Scores:
    """(cases, R) of counts (cases, R, 3); nan where a region is in neither map."""
    both, reference, prediction = np.moveaxis(regions.astype(np.float64), -1, 0)
    total = reference + prediction
    found: Scores = np.divide(2 * both, total, out=np.full(both.shape, np.nan), where=total > 0)
    return found


def mean_dice(scores: Scores) -> float:
    """Mean over cases, then over regions, without undefined values; nan where all are."""
    means = _region_means(scores)
    known = means[~np.isnan(means)]
    return float(known.mean()) if len(known) else float("nan")


def _region_means(scores: Scores) -> Scores:
    known = ~np.isnan(scores)
    counts = known.sum(axis=0)
    sums = np.where(known, scores, 0.0).sum(axis=0)
    found: Scores = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return found


def _changed(regions: Counts, changes: Counts) -> Counts:
    made = regions.copy()
    made[..., [0, 2]] += changes
    return made


def _best(before: Scores, options: Sequence[Scores]) -> int | None:
    """The first of those that raise the mean most; None where none does."""
    means = [mean_dice(scores) for scores in options]
    index = int(np.nanargmax(means)) if not np.all(np.isnan(means)) else 0
    return index if means[index] > mean_dice(before) + _LEAST else None


def _left_out(before: Scores, options: Sequence[Scores], groups: NDArray[np.int64]) -> Scores:
    made = before.copy()
    for group in np.unique(groups):
        own = groups == group
        chosen = _best(before[~own], [scores[~own] for scores in options])
        if chosen is not None:
            made[own] = options[chosen][own]
    return made


def _some_region_falls(before: Scores, after: Scores) -> bool:
    falls = _region_means(after) < _region_means(before) - _LEAST  # False beside nan
    return bool(falls.any())
