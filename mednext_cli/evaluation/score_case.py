"""All scores of one case: two label maps in, one row per region out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mednext_cli.datasets.dataset import LabelSet
from mednext_cli.evaluation.overlap import ClassMaps, map_classes
from mednext_cli.evaluation.scores import (
    MISSING,
    OK,
    RegionOfCase,
    RegionScore,
    ScoreSettings,
    score_region,
)
from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.nifti import read_label_map
from mednext_cli.volumes.volume import Volume

_MOST_LISTED = 10


@dataclass(frozen=True)
class CasePair:
    """What to compare.

    Attributes:
        case: the case id.
        reference: the annotators' label map.
        prediction: the network's, None where there is none.
    """

    case: str
    reference: Path
    prediction: Path | None


@dataclass(frozen=True)
class CaseScores:
    """One case's rows and what its maps hold.

    Attributes:
        case: the case id.
        status: `scores.OK` or `scores.MISSING`.
        regions: one row per region.
        reference_labels: label values found in the reference, without background.
        prediction_labels: the same for the prediction.
    """

    case: str
    status: str
    regions: tuple[RegionScore, ...]
    reference_labels: tuple[int, ...]
    prediction_labels: tuple[int, ...]


def label_region(value: int) -> str:
    """The name of a region that is one label value without a name."""
    return f"label_{value}"


def score_case(pair: CasePair, settings: ScoreSettings) -> CaseScores:
    """Compare one prediction with its reference, in the files' own array order.

    Raises:
        ScanError: a file cannot be read, the grids differ, or a label value is unknown.
    """
    reference = read_label_map(pair.reference)
    prediction = _read_prediction(pair, reference)
    ignore = settings.label_set.ignore if settings.label_set else None
    # Files keep the first axis fastest; transposed, the arrays are contiguous as NumPy counts.
    maps = map_classes(reference.array.T, prediction.array.T, ignore)
    spacing_mm = (reference.spacing_mm[2], reference.spacing_mm[1], reference.spacing_mm[0])
    found = _found_labels(maps)
    _check_labels(pair.reference, found[0], settings.label_set)
    if pair.prediction is not None:
        _check_labels(pair.prediction, found[1], settings.label_set)
    status = OK if pair.prediction else MISSING
    rows = [
        score_region(RegionOfCase(pair.case, name, status), maps, values, spacing_mm, settings)
        for name, values in _regions(maps, settings.label_set).items()
    ]
    return CaseScores(pair.case, status, tuple(rows), *found)


def _read_prediction(pair: CasePair, reference: Volume) -> Volume:
    if pair.prediction is None:
        return Volume(np.zeros_like(reference.array), reference.affine)
    prediction = read_label_map(pair.prediction)
    first, second = reference.grid, prediction.grid
    if not first.same_as(second):
        if first.shape != second.shape:
            sizes = [" x ".join(map(str, shape)) for shape in (second.shape, first.shape)]
            difference = f"its shape is {sizes[0]}, not {sizes[1]}"
        else:
            largest = float(np.abs(first.affine - second.affine).max())
            difference = f"an entry of its affine differs by {largest:.4g} mm"
        raise ScanError(
            f"{pair.prediction} lies on another grid than {pair.reference}: {difference}",
            "Write predictions on the grid of the reference.",
        )
    return prediction


def _check_labels(path: Path, found: tuple[int, ...], label_set: LabelSet | None) -> None:
    if label_set is None:
        return
    known = {*label_set.values, *(v for values in label_set.regions.values() for v in values)}
    unknown = sorted(set(found) - known)
    if unknown:
        listed = ", ".join(map(str, unknown[:_MOST_LISTED]))
        more = ", ..." if len(unknown) > _MOST_LISTED else ""
        raise ScanError(
            f"{path} holds label values the dataset does not know: {listed}{more}",
            f"Known: {', '.join(map(str, sorted(known)))}. Check --dataset, or correct the labels.",
        )


def _regions(maps: ClassMaps, label_set: LabelSet | None) -> Mapping[str, tuple[int, ...]]:
    if label_set is not None:
        return label_set.regions
    return {label_region(value): (value,) for value in maps.values[1:]}


def _found_labels(maps: ClassMaps) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Label values of the reference and of the prediction, without background."""
    found = maps.histogram.sum(axis=1), maps.histogram.sum(axis=0)
    pairs = [zip(maps.values, counts.tolist(), strict=True) for counts in found]
    first, second = (tuple(value for value, count in pair if value and count) for pair in pairs)
    return first, second
