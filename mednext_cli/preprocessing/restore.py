"""Scores on the prepared grid brought back to the scan's own grid."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.crop import slices_of
from mednext_cli.volumes.orientation import contiguous, from_canonical
from mednext_cli.volumes.resample import resample_probabilities

_REGION_THRESHOLD = 0.5


def restore_label_map(
    scores: NDArray[np.floating[Any]], geometry: SourceGeometry, plan: Plan
) -> NDArray[Any]:
    """Label values on the scan's grid, in the file's own axis order.

    Classes are resampled (linear, nearest across slices of anisotropic scans, as nnU-Net exports
    them) one after the other with a running maximum, so that memory holds two of them, not all.

    Args:
        scores: (K, D, H, W) probabilities on the prepared grid: classes with the background, or
            regions.
        geometry: of the case.
        plan: classes or regions, and the label values they are written as.
    """
    labels = label_map_of(resampled_classes(scores, geometry, plan), plan.label_set)
    whole = np.zeros(geometry.canonical_shape, dtype=labels.dtype)
    whole[slices_of(geometry.box)] = labels
    return from_canonical(whole, geometry.file_grid)


def restore_probabilities(
    scores: NDArray[np.floating[Any]], geometry: SourceGeometry, plan: Plan
) -> NDArray[np.float16]:
    """Probabilities (K, ...) on the scan's grid, in the file's own axis order.

    Outside the box that was not zero, background is certain.
    """
    made = np.zeros((len(scores), *geometry.file_grid.shape), dtype=np.float16)
    background = not plan.label_set.region_training
    for index, voxels in enumerate(resampled_classes(scores, geometry, plan)):
        outside = 1.0 if background and index == 0 else 0.0
        whole = np.full(geometry.canonical_shape, outside, dtype=np.float16)
        whole[slices_of(geometry.box)] = voxels
        made[index] = contiguous(from_canonical(whole, geometry.file_grid))
    return made


def restore_map(
    values: NDArray[np.float32], geometry: SourceGeometry, plan: Plan
) -> NDArray[np.float32]:
    """A number a voxel on the scan's grid, in the file's own axis order; 0 where it was cropped.

    Args:
        values: (D, H, W) on the prepared grid.
        geometry: of the case.
        plan: tells how coarse that grid is.
    """
    whole = np.zeros(geometry.canonical_shape, dtype=np.float32)
    whole[slices_of(geometry.box)] = next(resampled_classes(values[np.newaxis], geometry, plan))
    return from_canonical(whole, geometry.file_grid)


def resampled_classes(
    scores: NDArray[np.floating[Any]], geometry: SourceGeometry, plan: Plan
) -> Iterator[NDArray[np.float32]]:
    """Each class's or region's probabilities (D, H, W) in the scan's cropped box, in turn.

    Args:
        scores: (K, D, H, W) on the prepared grid.
        geometry: of the case.
        plan: tells how coarse that grid is.
    """
    for class_scores in scores:
        yield resample_probabilities(
            class_scores, geometry.cropped_shape, plan.spacing_mm, geometry.spacing_mm
        )


def label_map_of(scores: Iterable[NDArray[np.float32]], labels: LabelSet) -> NDArray[Any]:
    """Label values of probabilities that come class by class, or region by region.

    Args:
        scores: of each class, the background first, or of each region; all of one shape. The
            first is used up.
        labels: what they are of.
    """
    every = iter(scores)
    kind = np.uint8 if max(labels.values) <= np.iinfo(np.uint8).max else np.uint16
    first = next(every)
    made = np.zeros(first.shape, dtype=kind)
    if labels.region_training:
        _regions(made, chain([first], every), labels)
    else:
        _classes(made, first, every, labels)
    return made


def _classes(
    made: NDArray[Any],
    best: NDArray[np.float32],
    others: Iterator[NDArray[np.float32]],
    labels: LabelSet,
) -> None:
    for value, class_scores in zip(labels.class_values[1:], others, strict=True):
        made[class_scores > best] = value
        np.maximum(best, class_scores, out=best)


def _regions(made: NDArray[Any], scores: Iterator[NDArray[np.float32]], labels: LabelSet) -> None:
    """Later regions are written over earlier ones (nnU-Net's ``regions_class_order``)."""
    for value, region_scores in zip(labels.region_values, scores, strict=True):
        made[region_scores > _REGION_THRESHOLD] = value
