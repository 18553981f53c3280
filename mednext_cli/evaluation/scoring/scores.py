"""The scores of one region of one case, whether or not its masks hold anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from mednext_cli.evaluation.choices import (
    EmptyPolicyName,
    Hd95Definition,
    LesionMatching,
    Protocol,
)
from mednext_cli.evaluation.metrics.borders import boundary_iou, pooled_hd95_mm
from mednext_cli.evaluation.metrics.empty_masks import (
    BOTH,
    DEFAULT_POLICY,
    EMPTY_POLICIES,
    PREDICTION,
    REFERENCE,
    EmptyPolicy,
    EmptyScores,
)
from mednext_cli.evaluation.metrics.lesions import count_components, count_lesions
from mednext_cli.evaluation.metrics.overlap import ClassMaps, RegionCounts
from mednext_cli.evaluation.metrics.surface_distances import compute_surface_distances
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.volume import Spacing

OK, MISSING, FAILED = "ok", "missing_prediction", "failed"
DEFAULT_TOLERANCE_MM = 1.0
MEDNEXT: Protocol = "mednext"
_MM3_PER_ML = 1000.0
_VOXELS: Spacing = (1.0, 1.0, 1.0)
_LESION_SHARES = ("lesion_recall", "lesion_precision", "lesion_f1", "lesion_dice")
Mask = NDArray[np.bool_]
_NOTHING = RegionCounts(0, 0, 0)
_NO_SCORES = EmptyScores(nan, nan, nan)


@dataclass(frozen=True)
class ScoreSettings:
    """How to compare.

    Attributes:
        label_set: the regions to score; None scores each label value that a case holds.
        tolerance_mm: of the surface Dice; None takes the label set's, else 1 mm.
        region_tolerances_mm: of some regions, before any other.
        empty_policy: which of `empty_masks.EMPTY_POLICIES`.
        hd95: by google-deepmind's surface-distance, or by medpy, which pools both directions.
        protocol: `MEDNEXT` takes the surface Dice at one voxel with spacing ignored, as the
            paper's tables; None takes it in mm.
        lesions: how they match, see `lesions.count_lesions`; None scores none.
        mapping: label value in the references by label value in the predictions; None where both
            mean the same.
        ignored: label values of the references whose voxels count in neither map, beside the label
            set's own.
        resample: bring predictions on another grid onto the reference's.
        kept: label values of the references that predictions were to hold; None for all. Regions
            of `label_set` are of these already.
    """

    label_set: LabelSet | None = None
    tolerance_mm: float | None = None
    region_tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    empty_policy: EmptyPolicyName = DEFAULT_POLICY
    hd95: Hd95Definition = "surface_distance"
    protocol: Protocol | None = None
    lesions: LesionMatching | None = None
    mapping: Mapping[int, int] | None = None
    ignored: tuple[int, ...] = ()
    resample: bool = False
    kept: frozenset[int] | None = None

    @property
    def reached(self) -> frozenset[int] | None:
        """Label values of the references that predictions can hold; None for any."""
        if self.mapping is None:
            return self.kept
        mapped = frozenset(self.mapping.values())
        return mapped if self.kept is None else mapped & self.kept

    @property
    def not_scored(self) -> tuple[int, ...]:
        """All label values of the references whose voxels count in neither map."""
        own = self.label_set.ignore if self.label_set else None
        return self.ignored if own is None else (*self.ignored, own)

    @property
    def policy(self) -> EmptyPolicy:
        """The empty-mask policy of that name."""
        return EMPTY_POLICIES[self.empty_policy]

    def tolerance_of(self, region: str) -> float:
        """Surface Dice tolerance of a region, mm; voxels under the protocol of the paper."""
        if self.protocol == MEDNEXT:
            return 1.0
        if region in self.region_tolerances_mm:
            return self.region_tolerances_mm[region]
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
        hd95: which HD95 it is, see `ScoreSettings`.
        protocol: the same; "" where it is None.
        resampled: whether the prediction was brought onto the reference's grid.
    """

    case: str
    region: str
    values: Mapping[str, float]
    tolerance_mm: float
    empty: str
    status: str
    policy: EmptyPolicyName
    hd95: Hd95Definition = "surface_distance"
    protocol: str = ""
    resampled: bool = False


@dataclass(frozen=True)
class RegionOfCase:
    """Which row a score belongs to.

    Attributes:
        case: the case id.
        region: the region's name.
        status: `OK` or `MISSING`.
        resampled: whether the prediction was brought onto the reference's grid.
    """

    case: str
    region: str
    status: str = OK
    resampled: bool = False

    def row(self, values: Mapping[str, float], empty: str, settings: ScoreSettings) -> RegionScore:
        """The row with these values."""
        return RegionScore(
            case=self.case,
            region=self.region,
            values=values,
            tolerance_mm=settings.tolerance_of(self.region),
            empty=empty,
            status=self.status,
            policy=settings.empty_policy,
            hd95=settings.hd95,
            protocol=settings.protocol or "",
            resampled=self.resampled,
        )


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
        shapes = _shapes_by_policy(scores, settings)
        shapes |= _lesion_counts(maps, label_values, counts, settings)
        return place.row(
            _in_order(_overlaps_by_policy(scores), shapes, counts, voxel_ml), empty, settings
        )
    reference, prediction = maps.masks(label_values)
    shapes = _surfaces(reference, prediction, spacing_mm, settings.tolerance_of(place.region),
                       settings)  # fmt: skip
    shapes |= _lesions(reference, prediction, settings)
    return place.row(_in_order(_overlaps(counts), shapes, counts, voxel_ml), empty, settings)


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
    shapes = _shapes_by_policy(scores, settings)
    values = _in_order(_overlaps_by_policy(scores), shapes, _NOTHING, 0.0)
    return place.row(values, empty, settings)


def _reason(counts: RegionCounts) -> str:
    if counts.reference and counts.prediction:
        return ""
    if counts.reference:
        return PREDICTION
    return REFERENCE if counts.prediction else BOTH


def _in_order(
    overlaps: dict[str, float], shapes: dict[str, float], counts: RegionCounts, voxel_ml: float
) -> dict[str, float]:
    """All scores by column name: `METRIC_COLUMNS`, then `LESION_COLUMNS` where asked for."""
    difference = counts.prediction - counts.reference
    percent = 100.0 * difference / counts.reference if counts.reference else nan
    leading = ("surface_dice", "mean_surface_distance_mm", "hd95_mm", "hd100_mm")
    return {
        **overlaps,
        "volume_reference_ml": counts.reference * voxel_ml,
        "volume_prediction_ml": counts.prediction * voxel_ml,
        **{name: shapes[name] for name in leading},
        "volume_difference_ml": difference * voxel_ml,
        "volume_difference_percent": percent,
        **{name: value for name, value in shapes.items() if name not in leading},
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
    reference: Mask,
    prediction: Mask,
    spacing_mm: Spacing,
    tolerance: float,
    settings: ScoreSettings,
) -> dict[str, float]:
    distances = compute_surface_distances(reference, prediction, spacing_mm)
    in_dice = distances
    if settings.protocol == MEDNEXT and spacing_mm != _VOXELS:
        in_dice = compute_surface_distances(reference, prediction, _VOXELS)
    pooled = settings.hd95 == "medpy"
    return {
        "surface_dice": in_dice.surface_dice(tolerance),
        "mean_surface_distance_mm": distances.mean_mm,
        "hd95_mm": pooled_hd95_mm(reference, prediction, spacing_mm)
        if pooled
        else distances.hausdorff_mm(95),
        "hd100_mm": distances.hausdorff_mm(100),
        "median_surface_distance_mm": distances.median_mm,
        "boundary_iou": boundary_iou(reference, prediction),
    }


def _lesions(reference: Mask, prediction: Mask, settings: ScoreSettings) -> dict[str, float]:
    if not settings.lesions:
        return {}
    found = count_lesions(reference, prediction, settings.lesions)
    shares = (found.recall, found.precision, found.f1, found.dice)
    return {
        "lesions_reference": float(found.reference),
        "lesions_prediction": float(found.prediction),
        **dict(zip(_LESION_SHARES, shares, strict=True)),
    }


def _lesion_counts(
    maps: ClassMaps, label_values: tuple[int, ...], counts: RegionCounts, settings: ScoreSettings
) -> dict[str, float]:
    """How many lesions the mask that is not empty holds; nothing where lesions are not scored."""
    if not settings.lesions or not (counts.reference or counts.prediction):
        return {}
    masks = maps.masks(label_values)
    return {
        "lesions_reference": float(count_components(masks[0])),
        "lesions_prediction": float(count_components(masks[1])),
    }


def _shapes_by_policy(scores: EmptyScores, settings: ScoreSettings) -> dict[str, float]:
    distances = ("mean_surface_distance_mm", "hd95_mm", "hd100_mm", "median_surface_distance_mm")
    shapes = {
        "surface_dice": scores.surface_dice,
        **dict.fromkeys(distances, scores.distance_mm),
        "boundary_iou": scores.overlap,
    }
    if settings.lesions:
        shapes |= dict.fromkeys(("lesions_reference", "lesions_prediction"), 0.0)
        shapes |= dict.fromkeys(_LESION_SHARES, scores.overlap)
    return shapes
