"""Axes along which mirroring puts one class in the place of another, as left and right.

A network that is trained on such mirrorings cannot tell these classes apart by where they lie.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from mednext_cli.settings.fingerprint import Fingerprint, swaps_in_words
from mednext_cli.settings.mirror_axes import AXES, Axis
from mednext_cli.volumes.crop import box_of, slices_of

logger = logging.getLogger(__name__)
_MOST_VOXELS = 2_000_000  # of a label map are looked at: a few seconds for the largest
_MOST = 1 / 2  # geometric mean of two classes' shares, above which they count as swapped
_LEAST = 1 / 20  # shares of both below this are not noted
Landing = tuple[int, int, int, float, float]
"""Axis of (D, H, W), the values of two labels, the smaller one first, and of each the share of its
voxels that land on the other one, among those that land on either."""
Seen = tuple[Sequence[int], Sequence[Landing]]
"""The labels of a case, and where they land."""


def landings_of(label: NDArray[np.integer]) -> tuple[tuple[int, ...], tuple[Landing, ...]]:
    """The labels of a case, and which land on each other when it is mirrored.

    It is mirrored about the middle of all that is labelled.

    Args:
        label: (D, H, W), 0 where nothing is labelled or nobody annotated.

    Returns:
        The values above 0, and where they land.
    """
    values, flat = np.unique(seen := _thinned(label), return_inverse=True)
    indices = flat.reshape(seen.shape)
    present = tuple(int(value) for value in values if value)
    landings = [
        (axis, int(values[one]), int(values[other]), *shares)
        for axis in range(indices.ndim)
        for one, other, shares in _shares(_count(indices, axis, len(values)))
        if values[one]
    ]
    return present, tuple(landings)


def _thinned(label: NDArray[np.integer]) -> NDArray[np.integer]:
    """The smallest box with all that is labelled; of a large one every so-manyth voxel."""
    label = label[slices_of(box_of(label > 0))]
    step = max(1, int(np.ceil((label.size / _MOST_VOXELS) ** (1 / 3))))
    return label[::step, ::step, ::step]


def _count(indices: NDArray[np.integer], axis: int, classes: int) -> NDArray[np.integer]:
    """(K, K): voxels of one class that land on another; mirrored back it is the same."""
    pairs = indices.reshape(-1) * classes + np.flip(indices, axis).reshape(-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _shares(counts: NDArray[np.integer]) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """Of every two classes that land on each other the shares, unless both are small."""
    own = np.diagonal(counts)
    for one, other in combinations(range(len(counts)), 2):
        crossing = int(counts[one, other])
        shares = [crossing / max(1, crossing + int(own[index])) for index in (one, other)]
        if max(shares) >= _LEAST:
            yield one, other, (round(shares[0], 3), round(shares[1], 3))


def common_swaps(
    cases: Sequence[Seen], names: Mapping[str, int]
) -> dict[Axis, tuple[tuple[str, str], ...]]:
    """By axis the classes that mirroring puts in each other's place.

    The geometric mean of both shares is above a half, so that neither is small: all of a lesion
    may land on its organ, but little of the organ on it. Shares are means over the cases that have
    both.

    Args:
        cases: see `landings_of`.
        names: value of each label.
    """
    by_value = {value: name for name, value in names.items()}
    found: dict[Axis, tuple[tuple[str, str], ...]] = {}
    every = sorted({landing[:3] for _, landings in cases for landing in landings})
    for index, axis in enumerate(AXES):
        swapped = tuple(
            (by_value[one], by_value[other])
            for at, one, other in every
            if at == index and _is_swapped((at, one, other), cases)
        )
        if swapped:
            found[axis] = swapped
    return found


def _is_swapped(pair: tuple[int, int, int], cases: Sequence[Seen]) -> bool:
    having = [landings for labels, landings in cases if {pair[1], pair[2]} <= set(labels)]
    shares = [landing[3:] for landings in having for landing in landings if landing[:3] == pair]
    means = [sum(side) / len(having) for side in zip(*shares, strict=True)]
    return prod(means) > _MOST**2


def say_swaps(fingerprint: Fingerprint) -> None:
    """Name the axes along which mirroring swaps classes, which the plan leaves out."""
    for axis, pairs in fingerprint.mirror_swaps.items():
        logger.info(
            "mirroring along %s puts %s: the plan leaves this axis out, which recipes with "
            'augmentation.mirror_axes = "plan" follow',
            axis,
            swaps_in_words(pairs),
        )
