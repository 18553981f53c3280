"""Every column of every CSV file of the evaluation: what it means, its unit, its empty masks.

docs/csv_columns.md is written from here (`columns_page`), and a test fails when the two differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mednext_cli.evaluation.metrics.empty_masks import DEFAULT_POLICY, EMPTY_POLICIES, EmptyScores
from mednext_cli.foundation.errors import SettingsError, nearest

CSV_VERSION = 1  # of cases.csv; raise it when a column changes its name or its meaning

LARGER, SMALLER = "larger", "smaller"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as the header spells it.
        meaning: one sentence.
        unit: of the number; "" for texts and shares.
        empty: what it holds where a mask is empty, under the default policy.
        better: `LARGER` or `SMALLER` where methods can be ranked by it.
    """

    name: str
    meaning: str
    unit: str = ""
    empty: str = ""
    better: str = ""


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
CASE_KEYS: tuple[Column, ...] = (
    Column("case", "Case id: the name of the label map without .nii.gz, or of its case folder."),
    Column("region", "One label or a union of labels, as the dataset names it; else label_N."),
)
CASE_NOTES: tuple[Column, ...] = (
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
FURTHER_NOTES: tuple[Column, ...] = (
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
CASE_COLUMNS: tuple[Column, ...] = (
    *CASE_KEYS,
    *_LEADING_METRICS,
    *CASE_NOTES,
    *_FURTHER_METRICS,
    *FURTHER_NOTES,
)
SUMMARY_COLUMNS: tuple[Column, ...] = (
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
)
LEADERBOARD_COLUMNS: tuple[Column, ...] = (
    Column("metric", "The metric ranked by."),
    Column("region", "Region, or overall: the mean over the regions."),
    Column("method", "NAME of NAME=cases.csv."),
    Column("cases", "Cases that count, the same for all methods."),
    Column(
        "mean",
        "Mean over cases, without undefined values; with `--aggregate median` the median. An "
        "infinite distance counts as 1 mm more than the largest finite one of any method.",
        "the metric's",
    ),
    Column(
        "rank", "Aggregate then rank: by `mean`; ties (equal in 12 decimals) share the better rank."
    ),
    Column(
        "mean_of_ranks",
        "Mean over cases (or median) of the rank among the methods in that case. An undefined "
        "value comes last in its case; with `--undefined drop` the case ranks nobody.",
    ),
    Column("rank_then_aggregate", "Rank by mean_of_ranks."),
    Column("wins", "How many other methods it beats significantly (see pairwise.csv)."),
    Column("significance_rank", "Test then rank: by wins."),
    Column(
        "rank_low",
        "2.5 % percentile of `rank` over 1,000 seeded bootstrap samples; nan for one case.",
    ),
    Column("rank_high", "97.5 % percentile of the same."),
    Column("undefined", "How many of its values are undefined or infinite."),
    Column("as_worst", "How many missing cases were scored as the worst (--missing worst)."),
    Column("rank_then_aggregate_low", "2.5 % percentile of that rank over the same samples."),
    Column("rank_then_aggregate_high", "97.5 % percentile of the same."),
    Column("significance_rank_low", "2.5 % percentile of that rank over the same samples."),
    Column("significance_rank_high", "97.5 % percentile of the same."),
    Column(
        "rank_tau",
        "Stability of `rank`: mean Kendall's tau-b of the ranking of all methods with those of "
        "the bootstrap samples; 1 when resampling moves nothing, nan when all methods tie.",
    ),
    Column("rank_then_aggregate_tau", "The same of that ranking."),
    Column("significance_rank_tau", "The same of that ranking."),
    Column("dataset", "DATASET of NAME@DATASET=cases.csv, or nothing."),
)
PAIRWISE_COLUMNS: tuple[Column, ...] = (
    Column("metric", "The metric compared."),
    Column("region", "Region, or overall: each case's mean over its regions."),
    Column("method", "The method that might be better."),
    Column("other", "The method it is compared with."),
    Column("cases", "Cases in which both are defined."),
    Column("mean_difference", "Mean over cases of method less other.", "the metric's"),
    Column("better_cases", "Cases in which the method is better."),
    Column("worse_cases", "Cases in which it is worse."),
    Column(
        "p",
        "One-sided Wilcoxon signed-rank test that the method is better (normal approximation "
        "with continuity correction, zero differences dropped).",
    ),
    Column("p_holm", "The same after Holm's correction over all ordered pairs of methods."),
    Column("significant", "1 where p_holm (with `--p-adjust none`: p) does not exceed 0.05."),
    Column("dataset", "DATASET of NAME@DATASET=cases.csv, or nothing."),
)
CONSENSUS_COLUMNS: tuple[Column, ...] = (
    Column("ranking", "rank, rank_then_aggregate or significance_rank of leaderboard.csv."),
    Column("metric", "The metric, or all of them together."),
    Column("method", "NAME of NAME=cases.csv."),
    Column("tasks", "How many rankings are joined: one per dataset, region and metric."),
    Column("mean_rank", "Mean over the tasks of the rank."),
    Column("consensus_rank", "Rank by mean_rank; ties share their average rank."),
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


def columns_page() -> str:
    """docs/csv_columns.md."""
    parts = [
        "# The columns of the CSV files",
        "Written by `mednext_cli.evaluation.tables.columns`; `make docs` writes it anew.\n\n"
        "`nan` is an undefined value, `inf` an infinite one: the distance to a surface that is not "
        "there. A is the reference, B the prediction.",
        "## cases.csv\nOne row per case and region, by `mednext evaluate`. What an empty mask "
        f"gives is said for the default policy, `{DEFAULT_POLICY}`.",
        _table(CASE_COLUMNS, with_empty=True),
        "With `--lesions` these follow:",
        _table(LESION_COLUMNS, with_empty=True),
        "## Empty-mask policies\n`mednext evaluate --empty-policy NAME`. Each cell: Dice, IoU, "
        "sensitivity and precision / surface Dice / distances in mm. A missing prediction gives 0 "
        "for all shares, whatever the reference holds, and the distance of a missed region.",
        _policy_table(),
        "## summary.csv\nOne row per region and metric, by `mednext evaluate`.",
        _table(SUMMARY_COLUMNS),
        "## leaderboard.csv\nOne row per dataset, metric, region and method, by "
        "`mednext leaderboard`.",
        _table(LEADERBOARD_COLUMNS),
        "## pairwise.csv\nOne row per dataset, metric, region and ordered pair of methods.",
        _table(PAIRWISE_COLUMNS),
        "## consensus.csv\nOne row per ranking, metric and method: the regions of all datasets "
        "together.",
        _table(CONSENSUS_COLUMNS),
    ]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[Column], *, with_empty: bool = False) -> str:
    header = ["column", "meaning", "unit", *(["empty mask"] if with_empty else [])]
    rows = [
        [f"`{one.name}`", one.meaning, one.unit, *([one.empty] if with_empty else [])]
        for one in columns
    ]
    return _markdown(header, rows)


def _policy_table() -> str:
    header = ["name", "whose", "both empty", "reference empty", "prediction empty"]
    rows = [
        [f"`{name}`", one.description, *map(_cell, (one.both, one.reference, one.prediction))]
        for name, one in EMPTY_POLICIES.items()
    ]
    return _markdown(header, rows)


def _cell(scores: EmptyScores) -> str:
    values = (scores.overlap, scores.surface_dice, scores.distance_mm)
    return " / ".join(f"{value:.8g}" for value in values)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |"
                     for line in lines)  # fmt: skip
