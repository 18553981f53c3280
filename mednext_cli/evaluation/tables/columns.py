"""The columns of cases.csv and summary.csv: what each means, its unit, its empty masks."""

from mednext_cli.evaluation.metrics.empty_masks import DEFAULT_POLICY
from mednext_cli.foundation.columns import LARGER, SMALLER, Column, Table
from mednext_cli.foundation.errors import SettingsError, nearest

CSV_VERSION = 1  # of cases.csv; raise it when a column changes its name or its meaning

_BY_POLICY = "nan when both are empty, 0 when one is"
_DISTANCE = "nan when both are empty, inf when one is"
METRIC_COLUMNS: tuple[Column, ...] = (
    Column("dice", "Dice: 2 |A and B| / (|A| + |B|).", "0 to 1", _BY_POLICY, LARGER),
    Column("iou", "Intersection over union: |A and B| / |A or B|.", "0 to 1", _BY_POLICY, LARGER),
    Column(
        "sensitivity",
        "Share of the reference that was found.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
    Column(
        "precision",
        "Share of the prediction that is right.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
    Column("volume_reference_ml", "Volume of the reference.", "ml", "0"),
    Column("volume_prediction_ml", "Volume of the prediction.", "ml", "0"),
    Column(
        "surface_dice",
        "Share of both surfaces, by area, that lies within the tolerance of the other.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
    Column(
        "mean_surface_distance_mm",
        "Mean of the two directed mean distances between the surfaces, weighted by area.",
        "mm",
        _DISTANCE,
        SMALLER,
    ),
    Column(
        "hd95_mm",
        "Hausdorff distance at 95 %: larger of the two directed percentiles, weighted by area; "
        "with `--hd95 medpy` the percentile of both directions together.",
        "mm",
        _DISTANCE,
        SMALLER,
    ),
    Column("hd100_mm", "Hausdorff distance: largest surface distance.", "mm", _DISTANCE, SMALLER),
    Column("volume_difference_ml", "Prediction less reference.", "ml", "computed"),
    Column(
        "volume_difference_percent",
        "Prediction less reference, of the reference.",
        "%",
        "nan when the reference is empty",
    ),
    Column(
        "median_surface_distance_mm",
        "Mean of the two directed median distances between the surfaces, weighted by area.",
        "mm",
        _DISTANCE,
        SMALLER,
    ),
    Column(
        "boundary_iou",
        "Intersection over union of the outermost layers of voxels, one voxel thick.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
)
LESION_COLUMNS: tuple[Column, ...] = (
    Column("lesions_reference", "Connected components of the reference.", "", "0"),
    Column("lesions_prediction", "Connected components of the prediction.", "", "0"),
    Column(
        "lesion_recall",
        "Share of the reference's components that match a predicted one.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
    Column(
        "lesion_precision",
        "Share of the predicted components that match one of the reference.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
    Column(
        "lesion_f1", "Harmonic mean of lesion recall and precision.", "0 to 1", _BY_POLICY, LARGER
    ),
    Column(
        "lesion_dice",
        "Dice of each reference component with all that match it, summed, over reference "
        "components and unmatched predicted ones.",
        "0 to 1",
        _BY_POLICY,
        LARGER,
    ),
)
_KEYS: tuple[Column, ...] = (
    Column("case", "Case id: the name of the label map without .nii.gz, or of its case folder."),
    Column("region", "One label or a union of labels, as the dataset names it; else label_N."),
)
_NOTES: tuple[Column, ...] = (
    Column(
        "tolerance_mm",
        "Tolerance of the surface Dice; in voxels under the protocol mednext.",
        "mm",
    ),
    Column(
        "empty",
        "Which mask is empty: both_empty, reference_empty, prediction_empty, or nothing.",
    ),
    Column(
        "status",
        "ok; missing_prediction: there is none, scored as the worst; failed: it could not be "
        "compared (unreadable, another grid, unknown labels) and has no scores.",
    ),
    Column("policy", "Name of the empty-mask policy that was in force."),
    Column("csv_version", f"Version of this table: {CSV_VERSION}."),
)
_FURTHER_NOTES: tuple[Column, ...] = (
    Column(
        "hd95_definition",
        "surface_distance (weighted by area) or medpy (voxels of both borders pooled).",
    ),
    Column(
        "protocol", "mednext: surface Dice at one voxel, spacing ignored, as the paper; or nothing."
    ),
    Column("resampled", "1 where the prediction was brought onto the reference's grid, else 0."),
)
# Some columns of METRIC_COLUMNS stand behind the notes, where columns may be added without moving
# those that readers count on.
_LEADING_METRICS = METRIC_COLUMNS[:10]
_FURTHER_METRICS = METRIC_COLUMNS[10:]
CASES = Table(
    "cases.csv",
    "One row per case and region, by `mednext evaluate`. What an empty mask gives is said for the "
    f"default policy, `{DEFAULT_POLICY}`.",
    (*_KEYS, *_LEADING_METRICS, *_NOTES, *_FURTHER_METRICS, *_FURTHER_NOTES),
    further=LESION_COLUMNS,
    condition="With `--lesions` these follow:",
)
SUMMARY = Table(
    "summary.csv",
    "One row per region and metric, by `mednext evaluate`.",
    (
        Column("region", "Region, or overall: the mean over the regions."),
        Column("metric", "A numeric column of cases.csv."),
        Column(
            "mean",
            "Mean over the finite values; overall, the mean of the regions' means.",
            "the metric's",
        ),
        Column(
            "standard_deviation",
            "Sample standard deviation over cases; overall, of the cases' means over regions.",
            "the metric's",
        ),
        Column("median", "Median over the same values.", "the metric's"),
        Column("quartile_1", "First quartile, linearly interpolated.", "the metric's"),
        Column("quartile_3", "Third quartile, linearly interpolated.", "the metric's"),
        Column(
            "ci95_low",
            "Lower end of the 95 % percentile interval of the mean: 2,000 seeded bootstrap samples "
            "of the cases; nan for one case.",
            "the metric's",
        ),
        Column("ci95_high", "Upper end of that interval.", "the metric's"),
        Column("cases", "Rows of cases.csv that were scored, missing predictions included."),
        Column("nan", "How many of those values are undefined and left out."),
        Column("inf", "How many are infinite and left out: one of the masks is empty."),
        Column("missing", "How many of the cases have no prediction (counted as the worst)."),
        Column("failed", "Cases that could not be compared, left out of everything else."),
    ),
)


def find_metric(name: str) -> Column:
    """The metric that methods can be ranked by, by name; units may be left out (hd95).

    Raises:
        SettingsError: unknown; the known ones are listed.
    """
    columns = (*METRIC_COLUMNS, *LESION_COLUMNS)
    rankable = {column.name: column for column in columns if column.better}
    by_short_name = {key.removesuffix("_mm"): column for key, column in rankable.items()}
    known = {**by_short_name, **rankable}
    if name not in known:
        raise SettingsError(f"unknown metric {name!r}", nearest(name, rankable))
    return known[name]
