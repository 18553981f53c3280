"""What an experiment's arms are on the other dataset: transfer.csv, and paired tests."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from pathlib import Path
from statistics import fmean, stdev

from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.columns import SCORES, TRANSFER, TRANSFER_COMPARISON
from mednext_cli.experiments.comparison import ComparisonRow, compare_arms
from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.notes import FailedNote, WholeNote, read_note
from mednext_cli.experiments.plan import ExperimentPlan, ExperimentSpec
from mednext_cli.experiments.scores import read_scores
from mednext_cli.experiments.transfer import (
    Target,
    TransferRun,
    is_whole,
    scores_file,
    transfer_runs,
)


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


@dataclass(frozen=True)
class TransferResults:
    """What an experiment's arms are on the other dataset.

    Attributes:
        rows: of transfer.csv.
        comparison: the rows of transfer_comparison.csv, by number of training cases.
    """

    rows: tuple[TransferRow, ...] = ()
    comparison: Mapping[int, tuple[ComparisonRow, ...]] = field(default_factory=dict)


NOTHING_TRANSFERRED = TransferResults()


@dataclass(frozen=True)
class TransferSummary:
    """What an arm came to on the other dataset, over its seeds.

    Attributes:
        arm: its name.
        training_cases: that it was fine-tuned on.
        whole: runs that are whole.
        total: runs there are to be.
        dice: mean over seeds, of the mean over folds; nan without any whole run.
        spread: sample standard deviation over seeds of the same; nan for one seed.
        surface_dice: mean over the whole runs.
    """

    arm: str
    training_cases: int
    whole: int
    total: int
    dice: float
    spread: float
    surface_dice: float


def write_transfer(plan: ExperimentPlan, spec: ExperimentSpec, target: Target) -> TransferResults:
    """Write transfer.csv and transfer_comparison.csv; call it under the folder's lock.

    Raises:
        DatasetError: the scores of a run cannot be read.
        StorageError: the disk refuses.
    """
    runs = tuple(transfer_runs(plan, spec, target))
    rows = tuple(row for run in runs for row in _rows(run, plan, target))
    found = TransferResults(rows, _compare(runs, plan, target))
    TRANSFER.write(plan.out.path / TRANSFER.title, map(asdict, rows))
    TRANSFER_COMPARISON.write(
        plan.out.path / TRANSFER_COMPARISON.title,
        [
            {"training_cases": cases, **asdict(row)}
            for cases, compared in found.comparison.items()
            for row in compared
        ],
    )
    return found


def summarise_transfer(rows: Sequence[TransferRow]) -> Iterator[TransferSummary]:
    """A summary for each arm and number of training cases, in the order of transfer.csv."""
    for arm, cases in dict.fromkeys((row.arm, row.training_cases) for row in rows):
        these = [row for row in rows if (row.arm, row.training_cases) == (arm, cases)]
        whole = [row for row in these if row.region == OVERALL]
        of_seed: dict[int, list[float]] = {}
        for row in whole:
            of_seed.setdefault(row.seed, []).append(row.dice)
        dice = [fmean(values) for values in of_seed.values()]
        yield TransferSummary(
            arm=arm,
            training_cases=cases,
            whole=len(whole),
            total=len({(row.seed, row.fold) for row in these}),
            dice=fmean(dice) if dice else nan,
            spread=stdev(dice) if len(dice) > 1 else nan,
            surface_dice=fmean(row.surface_dice for row in whole) if whole else nan,
        )


def _compare(
    runs: Sequence[TransferRun], plan: ExperimentPlan, target: Target
) -> dict[int, tuple[ComparisonRow, ...]]:
    """Arms against each other, paired over cases, apart for each number of training cases."""
    tables: dict[int, dict[RunKey, Path]] = {}
    for run in runs:
        note = read_note(plan.out.transfer, run.task.key)
        if isinstance(note, WholeNote) and is_whole(run, target):
            scores = scores_file(run, note, target).with_name("cases.csv")
            tables.setdefault(run.cases, {})[run.start.key] = scores
    arms = list(plan.arms)
    return {cases: compare_arms(read_scores(tables[cases]), arms) for cases in sorted(tables)}


def _rows(run: TransferRun, plan: ExperimentPlan, target: Target) -> Iterator[TransferRow]:
    note = read_note(plan.out.transfer, run.task.key)
    key, name = run.start.key, target.cached.name
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
