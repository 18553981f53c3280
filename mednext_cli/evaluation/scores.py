"""The scores of one region of one case, whether or not its masks hold anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

from mednext_cli.datasets.dataset import LabelSet
from mednext_cli.evaluation.empty_masks import (
    BOTH,
    DEFAULT_POLICY,
    PREDICTION,
    REFERENCE,
    EmptyPolicy,
    EmptyScores,
    find_policy,
)
from mednext_cli.evaluation.overlap import ClassMaps, RegionCounts
from mednext_cli.evaluation.surface_distances import compute_surface_distances
from mednext_cli.volumes.volume import Spacing

OK, MISSING, FAILED = "ok", "missing_prediction", "failed"
DEFAULT_TOLERANCE_MM = 1.0
_MM3_PER_ML = 1000.0
_NOTHING = RegionCounts(0, 0, 0)
_NO_SCORES = EmptyScores(nan, nan, nan)


@dataclass(frozen=True)
class ScoreSettings:
    """How to compare.

    Attributes:
        label_set: the regions to score; None scores each label value that a case holds.
        tolerance_mm: of the surface Dice; None takes the label set's, else 1 mm.
        empty_policy: a name out of `empty_masks.EMPTY_POLICIES`.
    """

    label_set: LabelSet | None = None
    tolerance_mm: float | None = None
    empty_policy: str = DEFAULT_POLICY

    @property
    def policy(self) -> EmptyPolicy:
        """The empty-mask policy of that name."""
        return find_policy(self.empty_policy)

    def tolerance_of(self, region: str) -> float:
        """Surface Dice tolerance of a region, mm."""
        if self.tolerance_mm is not None:
            return self.tolerance_mm
        known = self.label_set.tolerance_mm if self.label_set else {}
        return known.get(region, DEFAULT_TOLERANCE_MM)


@dataclass(frozen=True)
class RegionScore:
    """One row of cases.csv.

    Attributes:
        case: the case id.
        region: the region's name.
        values: score by column name; distances in mm, volumes in ml, nan where undefined.
        tolerance_mm: of the surface Dice.
        empty: which mask is empty, one of `empty_masks`' reasons, "" where none is.
        status: `OK`, `MISSING` (no prediction) or `FAILED` (could not be compared).
        policy: name of the empty-mask policy.
    """

    case: str
    region: str
    values: Mapping[str, float]
    tolerance_mm: float
    empty: str
    status: str
    policy: str


@dataclass(frozen=True)
class RegionOfCase:
    """Which row a score belongs to.

    Attributes:
        case: the case id.
        region: the region's name.
        status: `OK` or `MISSING`.
    """

    case: str
    region: str
    status: str = OK

    def row(self, values: Mapping[str, float], empty: str, settings: ScoreSettings) -> RegionScore:
        """The row with these values."""
        tolerance_mm = settings.tolerance_of(self.region)
        policy = settings.empty_policy
        return RegionScore(self.case, self.region, values, tolerance_mm, empty, self.status, policy)


def score_region(
    place: RegionOfCase,
    maps: ClassMaps,
    label_values: tuple[int, ...],
    spacing_mm: Spacing,
    settings: ScoreSettings,
) -> RegionScore:
    """Score one region of one case.

    Args:
        place: which row it is.
        maps: both label maps.
        label_values: what the region consists of.
        spacing_mm: voxel spacing in the order of the maps' axes.
        settings: tolerance and policy.
    """
    counts = maps.count(label_values)
    empty = _reason(counts)
    voxel_ml = spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / _MM3_PER_ML
    if place.status == MISSING or empty:
        policy = settings.policy
        scores = policy.missing if place.status == MISSING else policy.of(empty)
        overlaps, surfaces = _overlaps_by_policy(scores), _surfaces_by_policy(scores)
    else:
        tolerance_mm = settings.tolerance_of(place.region)
        overlaps = _overlaps(counts)
        surfaces = _surfaces(maps, label_values, spacing_mm, tolerance_mm)
    values = _in_order(overlaps, surfaces, counts, voxel_ml)
    return place.row(values, empty, settings)


def empty_region(case: str, region: str, settings: ScoreSettings) -> RegionScore:
    """The row of a region that neither map of a case holds, which was scored for other regions."""
    return _row_without_voxels(RegionOfCase(case, region), settings.policy.both, settings, BOTH)


def missing_region(case: str, region: str, settings: ScoreSettings) -> RegionScore:
    """The row of a region that the reference does not hold, in a case without a prediction."""
    place = RegionOfCase(case, region, MISSING)
    return _row_without_voxels(place, settings.policy.missing, settings, BOTH)


def failed_region(case: str, region: str, settings: ScoreSettings) -> RegionScore:
    """The row of a region of a case that could not be compared: nothing is known."""
    place = RegionOfCase(case, region, FAILED)
    row = _row_without_voxels(place, _NO_SCORES, settings, "")
    return place.row(dict.fromkeys(row.values, nan), "", settings)


def _row_without_voxels(
    place: RegionOfCase, scores: EmptyScores, settings: ScoreSettings, empty: str
) -> RegionScore:
    overlaps, surfaces = _overlaps_by_policy(scores), _surfaces_by_policy(scores)
    return place.row(_in_order(overlaps, surfaces, _NOTHING, 0.0), empty, settings)


def _reason(counts: RegionCounts) -> str:
    if counts.reference and counts.prediction:
        return ""
    if counts.reference:
        return PREDICTION
    return REFERENCE if counts.prediction else BOTH


def _in_order(
    overlaps: dict[str, float], surfaces: dict[str, float], counts: RegionCounts, voxel_ml: float
) -> dict[str, float]:
    """All scores by column name, in the order of cases.csv."""
    difference = counts.prediction - counts.reference
    percent = 100.0 * difference / counts.reference if counts.reference else nan
    return {
        **overlaps,
        "volume_reference_ml": counts.reference * voxel_ml,
        "volume_prediction_ml": counts.prediction * voxel_ml,
        **surfaces,
        "volume_difference_ml": difference * voxel_ml,
        "volume_difference_percent": percent,
    }


def _overlaps(counts: RegionCounts) -> dict[str, float]:
    both, reference, prediction = counts.true_positives, counts.reference, counts.prediction
    return {
        "dice": 2 * both / (reference + prediction),
        "iou": both / (reference + prediction - both),
        "sensitivity": both / reference,
        "precision": both / prediction,
    }


def _overlaps_by_policy(scores: EmptyScores) -> dict[str, float]:
    return dict.fromkeys(("dice", "iou", "sensitivity", "precision"), scores.overlap)


def _surfaces(
    maps: ClassMaps, label_values: tuple[int, ...], spacing_mm: Spacing, tolerance_mm: float
) -> dict[str, float]:
    reference, prediction = maps.masks(label_values)
    distances = compute_surface_distances(reference, prediction, spacing_mm)
    return {
        "surface_dice": distances.surface_dice(tolerance_mm),
        "mean_surface_distance_mm": distances.mean_mm,
        "hd95_mm": distances.hausdorff_mm(95),
        "hd100_mm": distances.hausdorff_mm(100),
    }


def _surfaces_by_policy(scores: EmptyScores) -> dict[str, float]:
    distances = ("mean_surface_distance_mm", "hd95_mm", "hd100_mm")
    return {"surface_dice": scores.surface_dice, **dict.fromkeys(distances, scores.distance_mm)}
