"""Resampling as nnU-Net does it, as one matrix an axis.

On an axis-aligned grid, spline interpolation is linear in the voxels and separable: the result is
the image times one matrix per axis. The matrices are made by resampling the identity with the very
function nnU-Net calls (skimage's ``resize`` is `scipy.ndimage.zoom` with ``grid_mode``), so the
numbers agree, in a fraction of the time.

Source: nnU-Net's ``resample_data_or_seg`` (images cubic, labels linear per class), including its
rule for anisotropic scans: cubic in the plane, nearest neighbour across slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.banded import multiply, reach, weights

_ANISOTROPY = 3.0
CUBIC, LINEAR = 3, 1
_SLAB = 32  # slices of labels voted on at once
_DRAW = 1e-5  # scores nearer than this are equal but for rounding


def resampled_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, int, int]:
    """Voxels after resampling: ``round(spacing / new spacing * shape)``, at least 1."""
    new = np.asarray(spacing_mm) / np.asarray(new_spacing_mm) * np.asarray(shape)
    depth, height, width = (max(1, int(length)) for length in np.round(new))
    return depth, height, width


def separate_axis(spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]) -> int | None:
    """The axis nnU-Net resamples apart (nearest neighbour): the coarse one of an anisotropic grid.

    That is where the largest spacing is more than 3 times the smallest, looked at before and, if
    that is not so, after resampling. None for isotropic grids and where two axes are coarse.
    """
    for spacing in (np.asarray(spacing_mm), np.asarray(new_spacing_mm)):
        if spacing.max() / spacing.min() > _ANISOTROPY:
            coarse = np.flatnonzero(spacing == spacing.max())
            return int(coarse[0]) if len(coarse) == 1 else None
    return None


def resample_image(
    image: NDArray[np.floating[Any]],
    new_shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Cubic splines, clipped to the range of each channel.

    Args:
        image: (C, D, H, W) or (D, H, W).
        new_shape: (D, H, W) of the result.
        spacing_mm: of the image.
        new_spacing_mm: of the result.
    """
    array = np.asarray(image, dtype=np.float32)
    channels = [array] if array.ndim == 3 else list(array)
    made = resample_channels(channels, new_shape, spacing_mm, new_spacing_mm).whole()
    return made[0] if array.ndim == 3 else made


@dataclass(frozen=True, eq=False)
class Resampled:
    """Channels on their new grid; slices that nnU-Net's rule repeats are held once.

    What is done to each voxel alone may be done before they are repeated.

    Attributes:
        voxels: (C, D, H, W), with fewer slices along `axis`.
        axis: of (D, H, W) along which slices are repeated; None where every one is there.
        where: for each slice of the new grid the one that is held.
    """

    voxels: NDArray[np.floating[Any]]
    axis: int | None = None
    where: NDArray[np.intp] | None = None

    def whole(self) -> NDArray[Any]:
        """(C, D, H, W) with every slice."""
        if self.axis is None or self.where is None:
            return self.voxels
        return np.take(self.voxels, self.where, axis=self.axis + 1)


def resample_channels(
    channels: list[NDArray[np.float32]],
    new_shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
) -> Resampled:
    """As `resample_image`, emptying the list: a caller without other references frees their memory.

    Args:
        channels: (D, H, W) each, of one shape.
        new_shape: (D, H, W) of the result.
        spacing_mm: of the channels.
        new_spacing_mm: of the result.
    """
    shape, separate = channels[0].shape, separate_axis(spacing_mm, new_spacing_mm)
    if shape == tuple(new_shape):
        separate = None
    held = new_shape if separate is None else _in_plane(shape, new_shape, separate)
    made = np.empty((len(channels), *held), dtype=np.float32)
    for place in made:
        _resample_channel(channels.pop(0), place, separate)
    if separate is None:
        return Resampled(made)
    resampled = Resampled(made, separate, nearest_voxels(held[separate], int(new_shape[separate])))
    repeats = held[separate] < new_shape[separate]
    return resampled if repeats else Resampled(resampled.whole())


def _resample_channel(
    array: NDArray[np.float32], place: NDArray[np.float32], separate: int | None
) -> None:
    """Cubic, clipped to the range of what was interpolated at once: the scan, or each slice."""
    if array.shape == place.shape:
        place[...] = array
        return
    whole = separate is None
    plane = tuple(axis for axis in range(3) if axis != separate)
    low, high = (limit(array, axis=plane, keepdims=not whole) for limit in (np.min, np.max))
    _resample(array, place.shape, CUBIC, place)
    np.clip(place, low, high, out=place)


def resample_labels(
    labels: NDArray[np.integer[Any]],
    new_shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
) -> NDArray[Any]:
    """Linear interpolation of each class; a voxel takes the class with the highest score.

    Where classes draw, the nearest voxel's class wins if it is one of them, else the smallest
    (``resize_segmentation`` of batchgenerators 0.25, which nnU-Net 2.8 calls). Each class is
    interpolated in the box around its voxels only.

    Args:
        labels: (D, H, W).
        new_shape: (D, H, W) of the result.
        spacing_mm: of the labels.
        new_spacing_mm: of the result.
    """
    if labels.shape == tuple(new_shape):
        return labels.copy()
    separate = separate_axis(spacing_mm, new_spacing_mm)
    if separate is None:
        return _vote(labels, new_shape)
    made = _vote(labels, _in_plane(labels.shape, new_shape, separate))
    return _take_nearest(made, separate, new_shape[separate])


def _vote(labels: NDArray[Any], new_shape: Sequence[int]) -> NDArray[Any]:
    """The class with the highest linear score, slab by slab: scores of a few slices are held."""
    matrices = [weights(labels.shape[axis], int(new_shape[axis]), LINEAR) for axis in range(3)]
    nearest = [nearest_voxels(labels.shape[axis], int(new_shape[axis])) for axis in range(3)]
    result = np.zeros(tuple(new_shape), dtype=labels.dtype)
    for start in range(0, len(result), _SLAB):
        rows = slice(start, start + _SLAB)
        needed = reach(matrices[0][rows], 1)
        slab = [matrices[0][rows, needed], *matrices[1:]]
        close = labels[np.ix_(nearest[0][rows], nearest[1], nearest[2])]
        _vote_in_slab(labels[needed], slab, close, result[rows])
    return result


def _vote_in_slab(
    labels: NDArray[Any],
    matrices: Sequence[NDArray[np.float32]],
    nearest: NDArray[Any],
    result: NDArray[Any],
) -> None:
    """Fill `result`, which is background; it has what the other classes leave."""
    if not labels.any():
        return
    best = np.zeros(result.shape, dtype=np.float32)
    total = np.zeros_like(best)
    for value, box in _boxes(labels):
        score, place = _score(labels[box] == value, box, matrices)
        total[place] += score
        ahead, level = score - best[place], nearest[place] == value
        wins = (ahead > _DRAW) | (level & (ahead > -_DRAW) & (score > _DRAW))
        result[place][wins] = value
        np.maximum(best[place], score, out=best[place])
    # The scores of all classes sum to 1, so the background's need not be interpolated.
    ahead = 1 - total - best
    result[(ahead > _DRAW) | ((ahead > -_DRAW) & (nearest != result))] = 0


def _boxes(labels: NDArray[Any]) -> list[tuple[int, tuple[slice, ...]]]:
    """Each class above 0 with the box around its voxels."""
    from scipy.ndimage import find_objects

    found = find_objects(labels.astype(np.int32, copy=False))
    return [(value, box) for value, box in enumerate(found, start=1) if box is not None]


def _score(
    mask: NDArray[np.bool_], box: tuple[slice, ...], matrices: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Linear score of a class where it is not zero, and where that is in the result."""
    parts = [matrix[:, part] for matrix, part in zip(matrices, box, strict=True)]
    place = tuple(reach(part, 0) for part in parts)
    score = mask.astype(np.float32)
    growth = [len(part) / part.shape[1] for part in parts]
    for axis in sorted(range(3), key=growth.__getitem__):
        score = multiply(parts[axis][place[axis]], score, axis)
    return score, place


def resample_probabilities(
    probabilities: NDArray[np.floating[Any]],
    new_shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Linear interpolation of each class, as nnU-Net exports predictions.

    Args:
        probabilities: (K, D, H, W) or, of one class, (D, H, W).
        new_shape: (D, H, W) of the result.
        spacing_mm: of the probabilities.
        new_spacing_mm: of the result.
    """
    array = np.asarray(probabilities, dtype=np.float32)
    if array.shape[-3:] == tuple(new_shape):
        return array.copy()
    separate = separate_axis(spacing_mm, new_spacing_mm)
    if array.ndim == 3:
        return _resample_class(array, new_shape, separate)
    return np.stack([_resample_class(class_scores, new_shape, separate) for class_scores in array])


def _resample_class(
    array: NDArray[np.float32], new_shape: Sequence[int], separate: int | None
) -> NDArray[np.float32]:
    if separate is None:
        return _resample(array, new_shape, LINEAR)
    made = _resample(array, _in_plane(array.shape, new_shape, separate), LINEAR)
    return _take_nearest(made, separate, new_shape[separate])


def _in_plane(shape: Sequence[int], new_shape: Sequence[int], separate: int) -> tuple[int, ...]:
    return tuple(shape[axis] if axis == separate else int(new_shape[axis]) for axis in range(3))


def _resample(
    array: NDArray[np.float32],
    new_shape: Sequence[int],
    order: int,
    place: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """One matrix per axis, the axis that shrinks most first; the result goes to `place`."""
    axes = sorted(range(3), key=lambda axis: new_shape[axis] / array.shape[axis])
    axes = [axis for axis in axes if array.shape[axis] != new_shape[axis]]
    for axis in axes:
        matrix = weights(array.shape[axis], int(new_shape[axis]), order)
        array = multiply(matrix, array, axis, place if axis == axes[-1] else None)
    return array


def nearest_voxels(old: int, new: int) -> NDArray[np.intp]:
    """Nearest voxel of each new one, rounded as ``map_coordinates(order=0)`` does.

    Term by term as nnU-Net has it: half-way between two, the last bit decides.
    """
    centre = (old / new) * (np.arange(new) + 0.5) - 0.5
    where: NDArray[np.intp] = np.floor(centre + 0.5).astype(np.intp)
    return where.clip(0, old - 1)


def _take_nearest(array: NDArray[Any], axis: int, new: int) -> NDArray[Any]:
    old = array.shape[axis]
    return array if old == new else np.take(array, nearest_voxels(old, new), axis=axis)
