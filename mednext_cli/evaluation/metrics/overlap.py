"""Counts and boxes of all classes of two label maps, each in one pass.

Every overlap score of every region is a sum over the joint histogram of the two maps, and every
distance is computed inside a box: what is spent goes with the foreground, not with classes times
volume.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mednext_cli.volumes.crop import extent_of

LabelArray = NDArray[Any]
Box = tuple[slice, slice, slice]
_SLAB_VOXELS = 2**21  # a slab's temporaries stay in the cache and far below the maps' own memory


@dataclass(frozen=True)
class RegionCounts:
    """Voxels of one region.

    Attributes:
        true_positives: in the reference and in the prediction.
        reference: in the reference.
        prediction: in the prediction.
    """

    true_positives: int
    reference: int
    prediction: int


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The joint histogram of two label maps: every overlap of every region is a sum over it.

    Attributes:
        values: label value by class index, ascending; 0 is always the first.
        histogram: (classes, classes) voxels by reference class and prediction class; background
            against background is not counted (0).
    """

    values: tuple[int, ...]
    histogram: NDArray[np.int64]

    def count(self, region: Iterable[int]) -> RegionCounts:
        """Voxels of the region that consists of these label values."""
        inside = np.isin(self.values, list(region))
        return RegionCounts(
            true_positives=int(self.histogram[np.ix_(inside, inside)].sum()),
            reference=int(self.histogram[inside].sum()),
            prediction=int(self.histogram[:, inside].sum()),
        )


@dataclass(frozen=True, eq=False)
class ClassMaps(ClassCounts):
    """Two label maps on one grid, cut to their joint foreground, as class indices.

    Attributes:
        reference: class indices, C-contiguous.
        prediction: class indices of the same shape.
        boxes: by class index, the box that holds the class in both maps; None where it occurs in
            neither.
        ignored: voxels that count in neither map.
    """

    reference: LabelArray
    prediction: LabelArray
    boxes: tuple[Box | None, ...]
    ignored: int = 0

    def masks(self, region: Iterable[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The region in both maps, cut to the box that holds it; it must not be empty in both."""
        inside = np.isin(self.values, list(region))
        boxes = [box for box, used in zip(self.boxes, inside, strict=True) if used and box]
        box = tuple(
            slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes))
            for axis in range(3)
        )
        return inside[self.reference[box]], inside[self.prediction[box]]


def map_classes(
    reference: LabelArray, prediction: LabelArray, ignored: Collection[int] = ()
) -> ClassMaps:
    """Cut two label maps to their foreground and count every pair of classes.

    Args:
        reference: integer label values, three axes, C-contiguous for speed.
        prediction: the same shape.
        ignored: voxels with one of these values in the reference count in neither map.
    """
    box = _foreground_box(reference, prediction)
    cut = [np.ascontiguousarray(array[box]) for array in (reference, prediction)]
    left_out = 0
    if ignored:
        unknown = np.isin(cut[0], list(ignored))
        left_out = int(np.count_nonzero(unknown))
        cut = [np.where(unknown, 0, array) for array in cut]
    values = sorted({0, *label_values(cut[0]), *label_values(cut[1])})
    classes = [_class_indices(array, values) for array in cut]
    return ClassMaps(
        values=tuple(values),
        reference=classes[0],
        prediction=classes[1],
        histogram=_joint_histogram(classes[0], classes[1], len(values)),
        boxes=_class_boxes(classes[0], classes[1], len(values)),
        ignored=left_out,
    )


def label_values(array: LabelArray) -> tuple[int, ...]:
    """The distinct values of an integer array, ascending."""
    if array.size == 0:
        return ()
    if array.dtype.itemsize <= 2 and array.dtype.kind == "u":
        found = np.zeros(2 ** (8 * array.dtype.itemsize), bool)
        found[array.ravel(order="K")] = True
        return tuple(int(value) for value in np.flatnonzero(found))
    return tuple(int(value) for value in np.unique(array))


def _foreground_box(first: LabelArray, second: LabelArray) -> Box:
    """The smallest box outside of which both maps are zero; empty where there is nothing."""
    planes = [plane.any() or other.any() for plane, other in zip(first, second, strict=True)]
    depth = extent_of(np.array(planes, bool))
    filled = np.zeros(first.shape[1:], bool)
    for plane, other in zip(first[depth], second[depth], strict=True):
        filled |= plane != 0
        filled |= other != 0
    height, width = (extent_of(np.asarray(filled.any(axis=axis))) for axis in (1, 0))
    return depth, height, width


def _class_indices(array: LabelArray, values: Sequence[int]) -> LabelArray:
    """Label values replaced by their position in `values`."""
    kind = np.uint8 if len(values) <= 256 else np.uint16
    if list(values) == list(range(len(values))):
        return array.astype(kind, copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        table = np.zeros(values[-1] + 1, kind)
        table[list(values)] = np.arange(len(values), dtype=kind)
        return table[array]
    return np.searchsorted(values, array).astype(kind)


def _slabs(shape: Sequence[int]) -> Iterable[slice]:
    step = max(1, _SLAB_VOXELS // max(1, shape[1] * shape[2]))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _joint_histogram(
    reference: LabelArray, prediction: LabelArray, classes: int
) -> NDArray[np.int64]:
    counts = np.zeros(classes * classes, np.int64)
    for slab in _slabs(reference.shape):
        pairs = reference[slab].astype(np.int32) * classes + prediction[slab]
        counts += np.bincount(pairs.ravel(), minlength=classes * classes)
    counts[0] = 0
    return counts.reshape(classes, classes)


def _class_boxes(
    reference: LabelArray, prediction: LabelArray, classes: int
) -> tuple[Box | None, ...]:
    if classes == 1:
        return (None,)
    found = [ndimage.find_objects(array, classes - 1) for array in (reference, prediction)]
    joint = [_union(first, second) for first, second in zip(*found, strict=True)]
    return (None, *joint)


def _union(first: Box | None, second: Box | None) -> Box | None:
    if first is None or second is None:
        return first or second
    spans = [
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    ]
    return spans[0], spans[1], spans[2]
