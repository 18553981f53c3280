"""All scores of one case: two label maps in, one row per region out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.metrics.overlap import ClassCounts, ClassMaps, map_classes
from mednext_cli.evaluation.scoring.label_mapping import apply_mapping
from mednext_cli.evaluation.scoring.scores import (
    MISSING,
    OK,
    RegionOfCase,
    RegionScore,
    ScoreSettings,
    score_region,
)
from mednext_cli.foundation.errors import ScanError
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.masks import read_labels
from mednext_cli.volumes.orientation import on_another_grid, turned_onto
from mednext_cli.volumes.regrid import regrid_labels
from mednext_cli.volumes.scans import read_label_map
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
        counts: of all pairs of classes, None where nothing was compared.
        voxels: of the grid, without ignored ones.
        resampled: whether the prediction was brought onto the reference's grid.
        notes: what is odd about the files, though they can be used; a line each.
    """

    case: str
    status: str
    regions: tuple[RegionScore, ...]
    reference_labels: tuple[int, ...]
    prediction_labels: tuple[int, ...]
    counts: ClassCounts | None = None
    voxels: int = 0
    resampled: bool = False
    notes: tuple[str, ...] = ()


def label_region(value: int) -> str:
    """The name of a region that is one label value without a name."""
    return f"label_{value}"


def score_case(pair: CasePair, settings: ScoreSettings) -> CaseScores:
    """Compare one prediction with its reference, in the files' own array order.

    Raises:
        ScanError: a file cannot be read, the grids differ, or a label value is unknown.
    """
    names = settings.label_set.names if settings.label_set else None
    reference = read_labels(pair.reference, names)
    prediction, resampled = read_prediction(pair, reference, settings)
    # Files keep the first axis fastest; transposed, the arrays are contiguous as NumPy counts.
    maps = map_classes(reference.array.T, prediction.array.T, settings.not_scored)
    spacing_mm = (reference.spacing_mm[2], reference.spacing_mm[1], reference.spacing_mm[0])
    voxels = reference.array.size - maps.ignored
    notes = (*reference.notes, *prediction.notes)
    del reference, prediction
    found = _found_labels(maps)
    _check_labels(pair.reference, found[0], settings.label_set)
    if pair.prediction is not None:
        _check_labels(pair.prediction, found[1], settings.label_set)
    status = OK if pair.prediction else MISSING
    rows = [
        score_region(
            RegionOfCase(pair.case, name, status, resampled), maps, values, spacing_mm, settings
        )
        for name, values in _regions(maps, settings).items()
    ]
    counts = ClassCounts(maps.values, maps.histogram)
    return CaseScores(pair.case, status, tuple(rows), *found, counts, voxels, resampled, notes)


def read_prediction(
    pair: CasePair, reference: Volume, settings: ScoreSettings
) -> tuple[Volume, bool]:
    """The prediction's labels on the reference's grid, and whether they were resampled.

    Raises:
        ScanError: the file cannot be read, lies on another grid, or holds labels without mapping.
    """
    if pair.prediction is None:
        return Volume(np.zeros_like(reference.array), reference.affine), False
    prediction = read_label_map(pair.prediction)
    first = reference.grid
    turned = turned_onto(prediction, first)
    elsewhere = turned is None
    if elsewhere and not settings.resample:
        raise ScanError(
            on_another_grid(pair.prediction, prediction.grid, pair.reference, first),
            "Write predictions on the grid of the reference, or give --resample.",
        )
    array = (turned or regrid_labels(prediction, first)).array
    if settings.mapping is not None:
        array = apply_mapping(array, settings.mapping, pair.prediction)
    return Volume(array, reference.affine, prediction.notes), elsewhere


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
            f"Known: {', '.join(map(str, sorted(known)))}. Check what names the labels (--dataset, "
            "--labels, a dataset.json), or correct them.",
        )


def _regions(maps: ClassMaps, settings: ScoreSettings) -> Mapping[str, tuple[int, ...]]:
    if settings.label_set is not None:
        return settings.label_set.regions
    wanted = settings.reached
    return {label_region(v): (v,) for v in maps.values[1:] if wanted is None or v in wanted}


def _found_labels(maps: ClassMaps) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Label values of the reference and of the prediction, without background."""
    found = maps.histogram.sum(axis=1), maps.histogram.sum(axis=0)
    pairs = [zip(maps.values, counts.tolist(), strict=True) for counts in found]
    first, second = (tuple(value for value, count in pair if value and count) for pair in pairs)
    return first, second
