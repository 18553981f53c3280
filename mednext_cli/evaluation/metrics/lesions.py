"""Detection of single lesions: connected components of reference and prediction, matched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mednext_cli.evaluation.choices import LesionMatching

# Voxels that share a corner belong together (26 neighbours), as BraTS counts lesions. SciPy labels
# them: cc3d 4.1.1 is faster, but fails on some masks of scattered voxels ("maximum length").
_NEIGHBOURS = np.ones((3, 3, 3), bool)
_LEAST_IOU = 0.1


@dataclass(frozen=True)
class LesionScores:
    """How many lesions there are, were found and were made up.

    Attributes:
        reference: connected components of the reference.
        prediction: connected components of the prediction.
        found: reference components that match at least one of the prediction.
        confirmed: predicted components that match at least one of the reference.
        dice: sum over reference components of the Dice with all that match it together, over the
            number of reference components and unmatched predicted ones (BraTS 2023, without its
            dilation and its smallest size).
    """

    reference: int
    prediction: int
    found: int
    confirmed: int
    dice: float

    @property
    def recall(self) -> float:
        """Share of the reference's lesions that were found."""
        return self.found / self.reference

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are there."""
        return self.confirmed / self.prediction

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision."""
        total = self.recall + self.precision
        return 2.0 * self.recall * self.precision / total if total else 0.0


def count_lesions(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], matching: LesionMatching
) -> LesionScores:
    """Match the 26-connected components of two masks.

    A component may match several of the other mask: a lesion predicted in two halves is found, and
    neither half is made up.

    Args:
        reference: three axes, not empty.
        prediction: the same shape, not empty.
        matching: "iou" for an intersection over union of at least 0.1, "any" for any common voxel.
    """
    first, first_count = _components(reference)
    second, second_count = _components(prediction)
    sizes = np.bincount(first.ravel()), np.bincount(second.ravel())
    rows, columns, common = _overlaps(first, second)
    iou = common / (sizes[0][rows] + sizes[1][columns] - common)
    matched = iou >= _LEAST_IOU if matching == "iou" else np.ones(len(common), bool)
    rows, columns, common = rows[matched], columns[matched], common[matched]
    predicted = np.bincount(rows, weights=sizes[1][columns], minlength=first_count + 1)
    shared = np.bincount(rows, weights=common, minlength=first_count + 1)
    dice = 2.0 * shared[1:] / (sizes[0][1:] + predicted[1:])
    confirmed = len(np.unique(columns))
    return LesionScores(
        reference=int(first_count),
        prediction=int(second_count),
        found=len(np.unique(rows)),
        confirmed=confirmed,
        dice=float(dice.sum() / (first_count + second_count - confirmed)),
    )


def count_components(mask: NDArray[np.bool_]) -> int:
    """The number of 26-connected components of a mask, which may be empty."""
    return _components(mask)[1]


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], int]:
    components, count = ndimage.label(mask, _NEIGHBOURS)
    return components, int(count)


def _overlaps(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Component of the one, component of the other and common voxels of all that meet."""
    both = (first > 0) & (second > 0)
    width = int(second.max()) + 1
    pairs, common = np.unique(
        first[both].astype(np.int64) * width + second[both], return_counts=True
    )
    return pairs // width, pairs % width, common.astype(np.int64)
