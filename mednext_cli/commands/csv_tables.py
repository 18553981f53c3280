"""Every CSV file that a command writes, and the page of docs/ that describes them."""

from collections.abc import Sequence

from mednext_cli.cache.columns import VERIFIED_CACHE
from mednext_cli.datasets.columns import PHANTOMS, VERIFIED
from mednext_cli.deployment.table import CLINICAL
from mednext_cli.doctor.columns import OPERATORS
from mednext_cli.evaluation.metrics.empty_masks import EMPTY_POLICIES, EmptyScores
from mednext_cli.evaluation.ranking.columns import CONSENSUS, LEADERBOARD, PAIRWISE
from mednext_cli.evaluation.tables.columns import CASES, SUMMARY
from mednext_cli.experiments.columns import (
    COMPARISON,
    EXPERIMENT,
    TRANSFER,
    TRANSFER_COMPARISON,
)
from mednext_cli.foundation.columns import Column, Table
from mednext_cli.inference.catalogue.columns import MODEL_CARD, MODELS
from mednext_cli.inference.findings.columns import VOLUMES
from mednext_cli.inference.postprocessing.columns import CHANGES, FITTED
from mednext_cli.scaling.table import BUDGET, SCALE_REPORT
from mednext_cli.training.columns import CROSS_VALIDATION, LOG, PROFILE
from mednext_cli.training.overview.columns import COMPARED, RUNS, SHOWN

TABLES: tuple[Table, ...] = (
    CASES, SUMMARY, LEADERBOARD, PAIRWISE, CONSENSUS, LOG, CROSS_VALIDATION, PROFILE,
    RUNS, SHOWN, COMPARED, MODELS, MODEL_CARD, SCALE_REPORT, BUDGET,
    CLINICAL, OPERATORS, VOLUMES, CHANGES, FITTED, VERIFIED, VERIFIED_CACHE, PHANTOMS,
    EXPERIMENT, COMPARISON, TRANSFER, TRANSFER_COMPARISON,
)  # fmt: skip
_HEAD = """# The columns of the CSV files

Written by `mednext_cli.commands.csv_tables`; `make docs` writes it anew.

`nan` is an undefined value, `inf` an infinite one: the distance to a surface that is not there. \
A is the reference, B the prediction."""
_POLICIES = """## Empty-mask policies
`mednext evaluate --empty-policy NAME`. Each cell: Dice, IoU, sensitivity and precision / surface \
Dice / distances in mm. A missing prediction gives 0 for all shares, whatever the reference holds, \
and the distance of a missed region."""


def columns_page() -> str:
    """docs/csv_columns.md: every table with its columns, and what the policies give."""
    parts = [_HEAD, *_section(CASES), _POLICIES, _policy_table()]
    for table in TABLES:
        if table is not CASES:
            parts += _section(table)
    return "\n\n".join(parts) + "\n"


def _section(table: Table) -> list[str]:
    columns = (*table.columns, *table.further)
    with_empty = any(column.empty for column in columns)
    parts = [f"## {table.title}\n{table.about}", _columns(table.columns, with_empty)]
    if table.further:
        parts += [table.condition, _columns(table.further, with_empty)]
    return parts


def _columns(columns: Sequence[Column], with_empty: bool) -> str:
    header = ["column", "meaning", "unit", *(["empty mask"] if with_empty else [])]
    rows = [
        [f"`{column.name}`", column.meaning, column.unit, *([column.empty] if with_empty else [])]
        for column in columns
    ]
    return _markdown(header, rows)


def _policy_table() -> str:
    header = ["name", "whose", "both empty", "reference empty", "prediction empty"]
    rows = [
        [f"`{name}`", policy.description]
        + [_cell(scores) for scores in (policy.both, policy.reference, policy.prediction)]
        for name, policy in EMPTY_POLICIES.items()
    ]
    return _markdown(header, rows)


def _cell(scores: EmptyScores) -> str:
    values = (scores.overlap, scores.surface_dice, scores.distance_mm)
    return " / ".join(f"{value:.8g}" for value in values)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |"
                     for line in lines)  # fmt: skip
