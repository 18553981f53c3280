"""cases.csv, as it is written."""

from collections.abc import Iterable
from pathlib import Path

from mednext_cli.evaluation.scoring.scores import RegionScore
from mednext_cli.evaluation.tables.columns import CASES, CSV_VERSION


def write_cases(path: Path, scores: Iterable[RegionScore]) -> None:
    """Write cases.csv: one row per case and region, columns as in `columns.CASES`."""
    CASES.write(path, map(_case_row, scores))


def _case_row(score: RegionScore) -> dict[str, object]:
    return {
        "case": score.case,
        "region": score.region,
        **score.values,
        "tolerance_mm": score.tolerance_mm,
        "empty": score.empty,
        "status": score.status,
        "policy": score.policy,
        "csv_version": CSV_VERSION,
        "hd95_definition": score.hd95,
        "protocol": score.protocol,
        "resampled": int(score.resampled),
    }
