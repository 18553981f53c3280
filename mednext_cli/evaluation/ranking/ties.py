"""Ranks in which numbers that are equal but for rounding tie.

The mean of the same scores in another order differs in its last digits, and a rank must not hang
on those: two neighbours tie where they agree in 12 decimals, large ones in 12 digits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
TOLERANCE = 1e-12


def least_ranks(values: Values) -> Values:
    """Rank from 1 along the last axis, the smallest first; ties share the better rank."""
    order = np.argsort(values, axis=-1, kind="stable")
    first = first_of_ties(np.take_along_axis(values, order, axis=-1))
    return _put_back(first + 1.0, order)


def average_ranks(values: Values) -> Values:
    """Rank from 1 along the last axis, the smallest first; ties share their average."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    return _put_back((first_of_ties(ordered) + last_of_ties(ordered)) / 2.0 + 1.0, order)


def first_of_ties(ordered: Values) -> NDArray[np.intp]:
    """The place of the first value that each one ties with, along the last axis, ascending."""
    places = np.arange(ordered.shape[-1])
    begins = np.ones(ordered.shape, bool)
    begins[..., 1:] = ~_ties_with_next(ordered)
    return np.asarray(np.maximum.accumulate(np.where(begins, places, 0), axis=-1))


def last_of_ties(ordered: Values) -> NDArray[np.intp]:
    """The place of the last value that each one ties with, along the last axis, ascending."""
    count = ordered.shape[-1]
    ends = np.ones(ordered.shape, bool)
    ends[..., :-1] = ~_ties_with_next(ordered)
    places = np.where(ends, np.arange(count), count)[..., ::-1]
    return np.asarray(np.minimum.accumulate(places, axis=-1)[..., ::-1])


def _ties_with_next(ordered: Values) -> NDArray[np.bool_]:
    low, high = ordered[..., :-1], ordered[..., 1:]
    scale = np.maximum(1.0, np.minimum(np.abs(low), np.abs(high)))
    with np.errstate(invalid="ignore"):  # infinite values tie with one another alone
        near = high - low <= TOLERANCE * scale
    return np.asarray((low == high) | (near & np.isfinite(low) & np.isfinite(high)))


def _put_back(ranks: NDArray[np.floating[Any]], order: NDArray[np.intp]) -> Values:
    placed = np.empty(ranks.shape, np.float64)
    np.put_along_axis(placed, order, ranks, axis=-1)
    return placed
