"""summary.csv: what the scores of many cases come to, by region and overall."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.scoring.scores import FAILED, MISSING, RegionScore
from mednext_cli.evaluation.tables.bootstrap import (
    Values,
    draw_weights,
    mean_where_defined,
    weighted_means,
)
from mednext_cli.evaluation.tables.columns import LESION_COLUMNS, METRIC_COLUMNS, SUMMARY

OVERALL = "overall"
_SAMPLES, _SEED = 2000, 0


@dataclass(frozen=True)
class SummaryRow:
    """One row of summary.csv; `columns.SUMMARY` says what each field means."""

    region: str
    metric: str
    mean: float
    standard_deviation: float
    median: float
    quartile_1: float
    quartile_3: float
    ci95_low: float
    ci95_high: float
    cases: int
    nan: int
    inf: int
    missing: int
    failed: int


def summarise(scores: Sequence[RegionScore]) -> tuple[SummaryRow, ...]:
    """Summarise the rows of cases.csv by region and overall, metric by metric.

    Infinite and undefined values are left out and counted; one value alone has no interval. Cases
    are the unit: the overall interval resamples cases with all their regions.
    """
    metrics = _metrics(scores)
    regions = list(dict.fromkeys(score.region for score in scores))
    counted = [score for score in scores if score.status != FAILED]
    table = _table(counted, regions, metrics)
    weights = draw_weights(len(table), _SAMPLES, _SEED)
    by_region = [weighted_means(weights, table[:, r]) for r in range(len(regions))]
    counts = _counts(scores)
    rows = []
    for r, region in enumerate(regions):
        rows += _rows(region, table[:, r], table[:, [r]], by_region[r], counts, metrics)
    overall = mean_where_defined(np.stack(by_region), axis=0)
    per_case = mean_where_defined(table, axis=1)
    return (*rows, *_rows(OVERALL, per_case, table, overall, counts, metrics))


def write_summary(path: Path, rows: Sequence[SummaryRow]) -> None:
    """Write summary.csv."""
    SUMMARY.write(path, map(asdict, rows))


def _metrics(scores: Sequence[RegionScore]) -> list[str]:
    """The columns that are there: lesions are scored on request."""
    scored = set(scores[0].values) if scores else set()
    lesions = [column.name for column in LESION_COLUMNS if column.name in scored]
    return [*(column.name for column in METRIC_COLUMNS), *lesions]


@dataclass(frozen=True)
class _Counts:
    cases: int
    missing: int
    failed: int


def _counts(scores: Sequence[RegionScore]) -> _Counts:
    by_status: dict[str, set[str]] = {}
    for score in scores:
        by_status.setdefault(score.status, set()).add(score.case)
    missing, failed = (len(by_status.get(status, ())) for status in (MISSING, FAILED))
    return _Counts(sum(map(len, by_status.values())) - failed, missing, failed)


def _table(scores: Sequence[RegionScore], regions: Sequence[str], metrics: Sequence[str]) -> Values:
    """Scores as (cases, regions, metrics)."""
    names = dict.fromkeys(score.case for score in scores)
    cases = {name: index for index, name in enumerate(names)}
    places = {region: index for index, region in enumerate(regions)}
    table = np.full((len(cases), len(regions), len(metrics)), np.nan)
    for score in scores:
        table[cases[score.case], places[score.region]] = [score.values[name] for name in metrics]
    return table


def _rows(
    region: str,
    spread: Values,
    table: Values,
    bootstrapped: Values,
    counts: _Counts,
    metrics: Sequence[str],
) -> list[SummaryRow]:
    """The rows of one region, or of all together.

    Args:
        region: its name.
        spread: (cases, metrics), the values whose spread over cases is described.
        table: (cases, regions, metrics), the values whose mean of means is taken.
        bootstrapped: (samples, metrics), that mean under each bootstrap sample.
        counts: of cases.
        metrics: their names.
    """
    means = mean_where_defined(mean_where_defined(table, axis=0), axis=0)
    rows = []
    for m, metric in enumerate(metrics):
        finite = spread[np.isfinite(spread[:, m]), m]
        samples = bootstrapped[np.isfinite(bootstrapped[:, m]), m]
        quartile_1, median, quartile_3 = _percentiles(finite, (25, 50, 75))
        ci95_low, ci95_high = _percentiles(samples if len(finite) > 1 else finite[:0], (2.5, 97.5))
        row = SummaryRow(
            region=region,
            metric=metric,
            mean=float(means[m]),
            standard_deviation=float(finite.std(ddof=1)) if len(finite) > 1 else np.nan,
            median=median,
            quartile_1=quartile_1,
            quartile_3=quartile_3,
            ci95_low=ci95_low,
            ci95_high=ci95_high,
            cases=counts.cases,
            nan=int(np.isnan(table[..., m]).sum()),
            inf=int(np.isinf(table[..., m]).sum()),
            missing=counts.missing,
            failed=counts.failed,
        )
        rows.append(row)
    return rows


def _percentiles(values: Values, percents: Sequence[float]) -> list[float]:
    if len(values) == 0:
        return [float("nan")] * len(percents)
    return [float(value) for value in np.percentile(values, percents)]
