"""report.html: one file without network that people look at before they trust a mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isinf, isnan
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.metrics.empty_masks import EMPTY_POLICIES
from mednext_cli.evaluation.pages.overlays import CaseOverlay
from mednext_cli.evaluation.pages.page import render_page, show_number, spell, spell_with_unit
from mednext_cli.evaluation.pages.plots import plot_agreements, plot_boxes
from mednext_cli.evaluation.scoring.scores import FAILED, MEDNEXT, MISSING, RegionScore
from mednext_cli.evaluation.tables.bootstrap import mean_where_defined
from mednext_cli.evaluation.tables.columns import LESION_COLUMNS, METRIC_COLUMNS, find_metric
from mednext_cli.evaluation.tables.summary import OVERALL, SummaryRow
from mednext_cli.foundation.columns import Column
from mednext_cli.foundation.files import write_text

_HEADLINES = ("dice", "surface_dice", "mean_surface_distance_mm", "hd95_mm")
_PLOTTED = ("dice", "surface_dice", "hd95_mm")
_HD95 = {
    "surface_distance": "larger of the two directions, weighted by area (surface-distance)",
    "medpy": "both directions together, by border voxels (medpy)",
}
_WORST = 10
_MOST_AGREEMENTS = 12  # regions whose volumes are plotted


@dataclass(frozen=True)
class ReportTitle:
    """What the report is about: where the label maps and the regions' names came from."""

    predictions: str
    labels: str
    label_source: str


@dataclass(frozen=True)
class _Headline:
    """One figure at the top: the overall mean with its interval."""

    name: str
    mean: str
    interval: str


@dataclass(frozen=True)
class _Cell:
    """A cell of the table of cases: what is read and what is sorted by."""

    text: str
    sort: str


@dataclass(frozen=True)
class _TableRow:
    """A row of the table of cases."""

    case: str
    region: str
    cells: tuple[_Cell, ...]
    note: str


@dataclass(frozen=True)
class _WorstCase:
    """A case to look at first."""

    case: str
    dice: str
    regions: str
    note: str


def write_report(
    path: Path,
    title: ReportTitle,
    scores: Sequence[RegionScore],
    summary: Sequence[SummaryRow],
    failed: Mapping[str, str],
    overlays: Sequence[CaseOverlay] = (),
) -> None:
    """Write report.html: head figures, plots per region, worst cases, and all cases in a table.

    Args:
        path: the file to write.
        title: what is compared.
        scores: the rows of cases.csv.
        summary: the rows of summary.csv.
        failed: why cases could not be compared, by case id.
        overlays: the worst cases, drawn.
    """
    plots = [plot_boxes(find_metric(name), scores) for name in _PLOTTED]
    regions = list(dict.fromkeys(score.region for score in scores))
    columns = _columns(scores)
    page = render_page(
        "evaluation.html.jinja",
        title=title,
        headlines=[_headline(name, summary) for name in _HEADLINES],
        facts=_facts(scores),
        failed=failed,
        plots=[plot for plot in plots if plot is not None],
        agreements=plot_agreements(scores, _MOST_AGREEMENTS),
        agreements_left_out=max(0, len(regions) - _MOST_AGREEMENTS),
        worst=_worst(scores),
        overlays=overlays,
        regions=_region_means(summary, columns),
        region_names=regions,
        columns=[(spell_with_unit(column), column.meaning) for column in columns],
        rows=[_table_row(score, columns) for score in scores],
    )
    write_text(path, page)


def _columns(scores: Sequence[RegionScore]) -> list[Column]:
    """The scores that are shown: those of lesions where they were asked for."""
    lesions = [column for column in LESION_COLUMNS if scores and column.name in scores[0].values]
    return [*METRIC_COLUMNS, *lesions]


def worst_cases(scores: Sequence[RegionScore]) -> list[tuple[float, str]]:
    """Mean Dice over the regions and case id of all cases that have one, the lowest first."""
    by_case: dict[str, list[float]] = {}
    for score in scores:
        by_case.setdefault(score.case, []).append(score.values["dice"])
    means = {
        case: float(mean_where_defined(np.array(values), axis=0))
        for case, values in by_case.items()
    }
    return sorted((mean, case) for case, mean in means.items() if not isnan(mean))


def _headline(name: str, summary: Sequence[SummaryRow]) -> _Headline:
    column = find_metric(name)
    row = next(row for row in summary if (row.region, row.metric) == (OVERALL, name))
    unit = " mm" if column.unit == "mm" and isfinite(row.mean) else ""
    ends = f"{show_number(row.ci95_low)} to {show_number(row.ci95_high)}{unit}"
    interval = "no interval" if isnan(row.ci95_low) else f"95 % interval {ends}"
    return _Headline(spell(column), show_number(row.mean) + unit, interval)


def _facts(scores: Sequence[RegionScore]) -> dict[str, str]:
    """The settings and counts a reader needs to judge the figures."""
    by_status = {status: {score.case for score in scores if score.status == status}
                 for status in (MISSING, FAILED)}  # fmt: skip
    policies = sorted({score.policy for score in scores})
    resampled = {score.case for score in scores if score.resampled}
    undefined = sum(isnan(score.values["dice"]) for score in scores if score.status != FAILED)
    infinite = sum(isinf(score.values["hd95_mm"]) for score in scores)
    return {
        "Cases": str(len({score.case for score in scores})),
        "Without a prediction": _count(by_status[MISSING], "scored as the worst"),
        "Could not be compared": _count(by_status[FAILED], "left out"),
        "Brought onto another grid": _count(resampled, "nearest voxel"),
        "Surface Dice tolerance": _tolerances(scores),
        "HD95": ", ".join(_HD95[name] for name in sorted({score.hd95 for score in scores})),
        "Empty masks": "; ".join(EMPTY_POLICIES[name].description for name in policies),
        "Left out of means": f"{undefined} undefined Dice, {infinite} infinite distances",
    }


def _tolerances(scores: Sequence[RegionScore]) -> str:
    """Of all regions, or of which regions where they differ."""
    if any(score.protocol == MEDNEXT for score in scores):
        return "1 voxel, spacing ignored"
    regions: dict[float, dict[str, None]] = {}
    for score in scores:
        regions.setdefault(score.tolerance_mm, {})[score.region] = None
    if len(regions) == 1:
        return f"{scores[0].tolerance_mm:g} mm"
    return "; ".join(f"{mm:g} mm: {', '.join(names)}" for mm, names in sorted(regions.items()))


def _count(cases: set[str], fate: str) -> str:
    return f"{len(cases)} ({fate})" if cases else "none"


def _region_means(
    summary: Sequence[SummaryRow], columns: Sequence[Column]
) -> list[tuple[str, list[str]]]:
    names = list(dict.fromkeys(row.region for row in summary))
    by_key = {(row.region, row.metric): row.mean for row in summary}
    return [
        (name, [show_number(by_key[name, column.name]) for column in columns]) for name in names
    ]


def _worst(scores: Sequence[RegionScore]) -> list[_WorstCase]:
    """The cases with the lowest mean Dice over their regions."""
    return [
        _worst_case(case, mean, [score for score in scores if score.case == case])
        for mean, case in worst_cases(scores)[:_WORST]
    ]


def _worst_case(case: str, mean: float, rows: Sequence[RegionScore]) -> _WorstCase:
    regions = ", ".join(f"{row.region} {show_number(row.values['dice'])}" for row in rows)
    notes = dict.fromkeys(_note(row) for row in rows)
    return _WorstCase(case, show_number(mean), regions, ", ".join(note for note in notes if note))


def _note(score: RegionScore) -> str:
    if score.status == MISSING:
        return "no prediction"
    if score.status == FAILED:
        return "not compared"
    notes = (score.empty.replace("_", " "), "resampled" if score.resampled else "")
    return ", ".join(note for note in notes if note)


def _table_row(score: RegionScore, columns: Sequence[Column]) -> _TableRow:
    cells = [_cell(score.values[column.name]) for column in columns]
    return _TableRow(score.case, score.region, tuple(cells), _note(score))


def _cell(value: float) -> _Cell:
    return _Cell(show_number(value), "" if isnan(value) else f"{value:.6g}".replace("inf", "1e99"))
