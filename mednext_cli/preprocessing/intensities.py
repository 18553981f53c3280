"""Intensity statistics of a dataset's foreground, a case at a time, in little memory."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator
from pydantic.dataclasses import dataclass

_EVERY = 10  # nnU-Net v1 looks at every tenth foreground voxel
_MOST_VALUES = 2048  # kept of a case and channel: 24 KiB, and 0.05 % of the rank
_AS_LIST = PlainSerializer(np.ndarray.tolist)
Singles = Annotated[
    NDArray[np.float32], PlainValidator(partial(np.asarray, dtype=np.float32)), _AS_LIST
]
Doubles = Annotated[
    NDArray[np.float64], PlainValidator(partial(np.asarray, dtype=np.float64)), _AS_LIST
]


@dataclass(frozen=True, eq=False)
class Intensities:
    """A sample of the foreground of one channel, as a histogram.

    Attributes:
        mean: of the sample.
        std: of the sample.
        minimum: of the sample.
        maximum: of the sample.
        values: (n,) float32, sorted.
        counts: (n,) how many voxels each value stands for; not whole where values were thinned.
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    values: Singles
    counts: Doubles

    @property
    def voxels(self) -> float:
        """Size of the sample."""
        return float(self.counts.sum())


def sample_intensities(foreground: NDArray[np.floating[Any]]) -> Intensities | None:
    """The sample of one channel of a case; None where there is no foreground.

    Exact for scans of up to 2048 different intensities; of others, values at evenly spaced ranks
    are kept.

    Args:
        foreground: (n,) intensities of all foreground voxels.
    """
    sample = foreground[::_EVERY]
    if not len(sample):
        return None
    values, counts = np.unique(sample, return_counts=True)
    if len(values) > _MOST_VALUES:
        middles = (np.arange(_MOST_VALUES) + 0.5) * len(sample) / _MOST_VALUES
        values = np.sort(sample)[middles.astype(np.intp)]
        counts = np.full(_MOST_VALUES, len(sample) / _MOST_VALUES)
    return Intensities(
        float(sample.mean(dtype=np.float64)),
        float(sample.std(dtype=np.float64)),
        float(sample.min()),
        float(sample.max()),
        values.astype(np.float32),
        counts.astype(np.float64),
    )


def merge_intensities(samples: Sequence[Intensities | None]) -> dict[str, float]:
    """Statistics over all cases: mean, std, minimum, maximum, median, 0.5 and 99.5 percentile.

    Every voxel counts the same, whichever case it is from (as in nnU-Net v1; v2 lets every case
    count the same). Empty where no case has foreground.
    """
    found = [sample for sample in samples if sample is not None]
    if not found:
        return {}
    voxels = np.array([sample.voxels for sample in found])
    means = np.array([sample.mean for sample in found])
    mean = float(np.average(means, weights=voxels))
    squares = [sample.std**2 + (sample.mean - mean) ** 2 for sample in found]
    values = np.concatenate([sample.values for sample in found])
    counts = np.concatenate([sample.counts for sample in found])
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    return {
        "mean": mean,
        "std": float(np.sqrt(np.average(squares, weights=voxels))),
        "minimum": min(sample.minimum for sample in found),
        "maximum": max(sample.maximum for sample in found),
        "median": _percentile(values, counts, 50.0),
        "percentile_00_5": _percentile(values, counts, 0.5),
        "percentile_99_5": _percentile(values, counts, 99.5),
    }


def _percentile(values: NDArray[np.float32], counts: NDArray[np.float64], percent: float) -> float:
    """`numpy.percentile` of the values repeated by their counts."""
    upto = np.cumsum(counts)
    rank = percent / 100 * (upto[-1] - 1)
    low, high = (
        float(values[min(int(np.searchsorted(upto, at, side="right")), len(values) - 1)])
        for at in (np.floor(rank), np.ceil(rank))
    )
    return low + (high - low) * float(rank - np.floor(rank))
