"""Predict a whole image tile by tile.

Tiles always have the training patch's size: group norm with one channel a group sees the tile's
statistics, and a network shown larger, padded tiles than it was trained on loses most of its Dice.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from mednext_cli.inference.tiling import gaussian_importance, window_starts

Array = NDArray[np.float32]
Call = Callable[[Array], Array]
"""Images (B, C, D, H, W) to probabilities (B, K, D, H, W)."""
Report = Callable[[int, int], None]
Job = tuple[tuple[slice, ...], tuple[int, ...]]
"""A tile's place in the image, and the axes of (C, D, H, W) it is flipped along."""


def predict_probabilities(
    call: Call,
    image: Array,
    patch_voxels: Sequence[int],
    mirror_axes: Sequence[int] = (),
    overlap: float = 0.5,
    batch: int = 1,
    report: Report | None = None,
) -> Array:
    """Probabilities of a whole image: tiles, weighted by a Gaussian, averaged over mirrorings.

    Images smaller than the patch are padded with zeros around the centre. Memory: one float32
    buffer of K times the image's voxels.

    Args:
        call: the network with its softmax or sigmoid.
        image: (C, D, H, W).
        patch_voxels: (D, H, W) of the training patches.
        mirror_axes: axes of (D, H, W) to mirror along; n of them give 2^n predictions a tile.
        overlap: share of a tile that the next one covers at least.
        batch: tiles and mirrorings predicted at once.
        report: told after each call how many tiles and mirrorings are done, and of how many.

    Returns:
        (K, D, H, W), summing to 1 over K where the network's do.
    """
    patch = (int(patch_voxels[0]), int(patch_voxels[1]), int(patch_voxels[2]))
    padded, inside = _pad(image, patch)
    places = [
        tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))
        for corner in product(*window_starts(padded.shape[1:], patch, overlap))
    ]
    weights = gaussian_importance(patch) if len(places) > 1 else np.ones(patch, dtype=np.float32)
    total: Array | None = None
    norm = np.zeros(padded.shape[1:], dtype=np.float32)
    flips, done = _flips(mirror_axes, patch), 0
    for group in _grouped(places, flips, batch):
        tiles = np.stack([np.flip(padded[(slice(None), *place)], flip) for place, flip in group])
        for (place, flip), made in zip(group, call(tiles), strict=True):
            if total is None:
                total = np.zeros((len(made), *padded.shape[1:]), dtype=np.float32)
            total[(slice(None), *place)] += np.flip(made, flip) * weights
            norm[place] += weights
        done += len(group)
        if report is not None:
            report(done, len(places) * len(flips))
    assert total is not None  # noqa: S101 - there is always one tile
    total /= norm
    return np.ascontiguousarray(total[(slice(None), *inside)])


def count_tiles(
    image_shape: Sequence[int],
    patch_voxels: Sequence[int],
    mirror_axes: Sequence[int] = (),
    overlap: float = 0.5,
) -> int:
    """How many tiles and mirrorings `predict_probabilities` predicts of an image (D, H, W)."""
    padded = [max(pair) for pair in zip(image_shape, patch_voxels, strict=True)]
    starts = window_starts(padded, patch_voxels, overlap)
    return prod(len(along) for along in starts) * len(_flips(mirror_axes, patch_voxels))


def _pad(image: Array, patch: Sequence[int]) -> tuple[Array, tuple[slice, ...]]:
    """The image at least as large as the patch, and where the image itself lies in it."""
    missing = [max(0, size - length) for size, length in zip(patch, image.shape[1:], strict=True)]
    before = [gap // 2 for gap in missing]
    inside = tuple(
        slice(gap, gap + length) for gap, length in zip(before, image.shape[1:], strict=True)
    )
    if not any(missing):
        return image, inside
    widths = [(gap, lack - gap) for gap, lack in zip(before, missing, strict=True)]
    return np.pad(image, [(0, 0), *widths]), inside


def _flips(mirror_axes: Sequence[int], patch: Sequence[int]) -> list[tuple[int, ...]]:
    """Axes of (C, D, H, W) to flip, for every combination of the axes that a flip changes."""
    axes = [axis + 1 for axis in mirror_axes if patch[axis] > 1]
    return [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]


def _grouped(
    places: list[tuple[slice, ...]], flips: list[tuple[int, ...]], size: int
) -> Iterator[list[Job]]:
    jobs = product(places, flips)
    while group := list(islice(jobs, size)):
        yield group
