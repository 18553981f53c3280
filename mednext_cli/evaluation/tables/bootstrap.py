"""Seeded bootstrap over cases, as matrix products: a sample is how often each case is drawn."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def draw_weights(cases: int, samples: int, seed: int) -> Values:
    """How often each case occurs in each bootstrap sample.

    Returns:
        (samples, cases), every row sums to `cases`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(cases, np.full(cases, 1.0 / cases), samples).astype(np.float64)


def weighted_means(weights: Values, values: Values) -> Values:
    """Mean of each column under each sample, over the finite values; nan where there are none.

    Args:
        weights: (samples, cases).
        values: (cases, columns).

    Returns:
        (samples, columns).
    """
    finite = np.isfinite(values)
    total = weights @ np.where(finite, values, 0.0)
    count = weights @ finite.astype(np.float64)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def mean_where_defined(values: Values, axis: int) -> Values:
    """Mean over the finite values along an axis; nan where there are none."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    count = finite.sum(axis=axis)
    return np.asarray(
        np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    )


def median_where_defined(values: Values, axis: int) -> Values:
    """Median over the finite values along an axis; nan where there are none."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=axis)
    count = np.isfinite(ordered).sum(axis=axis, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=axis)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[axis] - 1), axis=axis)
    return np.asarray(((low + high) / 2).squeeze(axis))


def draw_samples(cases: int, samples: int, seed: int) -> NDArray[np.intp]:
    """Cases drawn with replacement.

    Returns:
        (samples, cases), indices from 0.
    """
    return np.random.default_rng(seed).integers(0, cases, (samples, cases))


def count_draws(samples: NDArray[np.intp]) -> Values:
    """How often each of as many cases as are drawn occurs in each sample.

    Args:
        samples: (samples, cases), as of `draw_samples`.

    Returns:
        (samples, cases).
    """
    count = samples.shape[1]
    places = samples + np.arange(len(samples))[:, None] * count
    flat = np.bincount(places.ravel(), minlength=samples.size)
    return flat.reshape(samples.shape).astype(np.float64)
