"""Predict a whole image tile by tile.

Tiles always have the training patch's size: group norm with one channel a group sees the tile's
statistics, and a network shown larger, padded tiles than it was trained on loses most of its Dice.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice, product
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.foundation.devices import free_device_bytes, is_out_of_memory
from mednext_cli.inference.tiling import gaussian_importance, window_starts

Array = NDArray[np.float32]
Call = Callable[[Tensor], Sequence[Tensor]]
"""Tiles (B, C, D, H, W) to probabilities (K, D, H, W) of each, all on one device."""
Report = Callable[[int, int], None]
Job = tuple[tuple[slice, ...], tuple[int, ...]]
"""A tile's place in the image, and the axes of (C, D, H, W) it is flipped along."""
_SHARE = 0.5  # of a device's free memory that sums may take; the rest is for the tiles


@torch.inference_mode()
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
    buffer of K times the image's voxels, where the network is if it fits there, and as the result.

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
    voxels, flips, done = torch.from_numpy(padded), _flips(mirror_axes, patch), 0
    sums: _Sums | None = None
    for group in _grouped(places, flips, batch):
        tiles = torch.stack([voxels[(slice(None), *place)].flip(flip) for place, flip in group])
        for (place, flip), made in zip(group, call(tiles), strict=True):
            if sums is None:
                sums = _Sums(padded.shape[1:], weights, made)
            sums.add(place, made.flip(flip))
        done += len(group)
        if report is not None:
            report(done, len(places) * len(flips))
    assert sums is not None  # noqa: S101 - there is always one tile
    return np.ascontiguousarray(sums.mean()[(slice(None), *inside)])


class _Sums:
    """Probabilities of tiles, weighted and added up where the network leaves them.

    Args:
        shape: (D, H, W) of the image.
        weights: (D, H, W) of a tile.
        first: (K, ...) of a tile: tells how many classes there are, and where they are.
    """

    def __init__(self, shape: Sequence[int], weights: Array, first: Tensor) -> None:
        self._total, self._norm = _zeros([(len(first), *shape), tuple(shape)], first.device)
        self._weights = torch.from_numpy(weights).to(self._norm.device)

    def add(self, place: tuple[slice, ...], made: Tensor) -> None:
        """A tile's probabilities (K, D, H, W)."""
        self._total[(slice(None), *place)] += made.to(self._total.device) * self._weights
        self._norm[place] += self._weights

    def mean(self) -> Array:
        """(K, D, H, W); nothing can be added any more."""
        self._total /= self._norm
        found: Array = self._total.cpu().numpy()
        return found


def _zeros(shapes: Sequence[tuple[int, ...]], device: torch.device) -> list[Tensor]:
    """Float32 on a GPU that has room for them beside its tiles, else in main memory.

    NumPy's, there: it says in its own way that there is no memory, and takes it page by page.
    """
    needed = torch.float32.itemsize * sum(prod(shape) for shape in shapes)
    if device.type == "cuda" and needed <= _SHARE * free_device_bytes(device):
        try:
            return [torch.zeros(shape, device=device) for shape in shapes]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    return [torch.from_numpy(np.zeros(shape, dtype=np.float32)) for shape in shapes]


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
