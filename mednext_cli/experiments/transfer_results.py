"""What an experiment's arms are on the other dataset: transfer.csv."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

from mednext_cli.experiments.columns import SCORES, TRANSFER
from mednext_cli.experiments.notes import FailedNote, WholeNote, read_note
from mednext_cli.experiments.plan import ExperimentPlan, ExperimentSpec
from mednext_cli.experiments.transfer import (
    Target,
    TransferRun,
    is_whole,
    scores_file,
    transfer_runs,
)
from mednext_cli.foundation.locks import locked


@dataclass(frozen=True)
class TransferRow:
    """One row of transfer.csv; `columns.TRANSFER` says what each field means."""

    arm: str
    seed: int
    fold: int
    training_cases: int
    status: str
    dataset: str
    region: str = ""
    dice: float = nan
    surface_dice: float = nan
    hd95_mm: float = nan
    minutes: float = nan
    steps: int | None = None


def write_transfer(
    plan: ExperimentPlan, spec: ExperimentSpec, target: Target
) -> tuple[TransferRow, ...]:
    """Write transfer.csv.

    Raises:
        StorageError: the disk refuses.
    """
    runs = transfer_runs(plan, spec, target)
    rows = tuple(row for run in runs for row in _rows(run, plan, target))
    with locked(plan.out.path, briefly=True):
        TRANSFER.write(plan.out.path / TRANSFER.title, map(asdict, rows))
    return rows


def _rows(run: TransferRun, plan: ExperimentPlan, target: Target) -> Iterator[TransferRow]:
    note = read_note(plan.out.transfer, run.task.key)
    key, name = run.start, target.cached.name
    if not isinstance(note, WholeNote) or not is_whole(run, target):
        status = "failed" if isinstance(note, FailedNote) else "missing"
        yield TransferRow(key.arm, key.seed, key.fold, run.cases, status, name)
        return
    for region, scores in _means(scores_file(run, note, target)).items():
        yield TransferRow(
            key.arm, key.seed, key.fold, run.cases, "ok", name, region, **scores,
            minutes=note.minutes, steps=note.steps,
        )  # fmt: skip


def _means(summary: Path) -> dict[str, dict[str, float]]:
    """Means over the cases by region and score, of a summary.csv of ours."""
    wanted = {column.name for column in SCORES}
    found: dict[str, dict[str, float]] = {}
    with summary.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["metric"] in wanted:
                found.setdefault(row["region"], {})[row["metric"]] = float(row["mean"])
    return found
