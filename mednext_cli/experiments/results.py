"""What an experiment has found so far: its tables and its page, written anew after every call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import nan

from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.arm_rows import ArmRow, summarise_arm
from mednext_cli.experiments.columns import COMPARISON, EXPERIMENT, SCORES
from mednext_cli.experiments.comparison import ComparisonRow, compare_arms
from mednext_cli.experiments.notes import FailedNote, WholeNote, cases_file
from mednext_cli.experiments.plan import ExperimentPlan, PlannedRun
from mednext_cli.experiments.report import write_experiment_report
from mednext_cli.experiments.scores import FoldScores, read_scores
from mednext_cli.experiments.transfer_results import NOTHING_TRANSFERRED, TransferResults

_NOT_SCORED: dict[str, object] = {
    "region": "",
    **{column.name: nan for column in SCORES},
    **dict.fromkeys(("cases", "steps", "threads", "device")),
    **dict.fromkeys(("minutes", "charged_minutes", "peak_gib")),
}


def write_results(
    plan: ExperimentPlan, transfer: TransferResults = NOTHING_TRANSFERRED
) -> tuple[tuple[ArmRow, ...], tuple[ComparisonRow, ...]]:
    """Write experiment.csv, comparison.csv and report.html; call it under the folder's lock.

    Args:
        plan: with what became of each run.
        transfer: what the arms are on the other dataset, for the report.

    Raises:
        DatasetError: the scores of a run cannot be read.
        StorageError: the disk refuses.
    """
    folds = read_scores({
        run.key: cases_file(plan.out, run.note)
        for run in plan.runs
        if isinstance(run.note, WholeNote)
    })  # fmt: skip
    comparison = compare_arms(folds, list(plan.arms))
    arms = tuple(summarise_arm(plan, name, folds, comparison) for name in plan.arms)
    EXPERIMENT.write(plan.out.path / EXPERIMENT.title, _rows(plan, folds))
    COMPARISON.write(plan.out.path / COMPARISON.title, map(asdict, comparison))
    report = plan.out.path / "report.html"
    write_experiment_report(report, plan, arms, comparison, folds, transfer)
    return arms, comparison


def _rows(plan: ExperimentPlan, folds: Sequence[FoldScores]) -> Iterator[Mapping[str, object]]:
    by_fold = {fold.fold: fold for fold in folds}
    for run in plan.runs:
        shared = {
            **_NOT_SCORED,
            **asdict(run.key),
            "dataset": plan.experiment.dataset,
            "network": run.needs.label,
            "parameters": run.needs.parameters,
            "multiply_adds": run.needs.multiply_adds,
        }
        if not isinstance(run.note, WholeNote):
            yield {**shared, "status": "failed" if isinstance(run.note, FailedNote) else "missing"}
            continue
        scores = by_fold[run.key.fold]
        for region in (*scores.regions, OVERALL):
            yield {**shared, **_of_whole(run, run.note), **scores.means(run.key, region),
                   "region": region, "cases": len(scores.cases)}  # fmt: skip


def _of_whole(run: PlannedRun, note: WholeNote) -> dict[str, object]:
    return {
        "status": "ok",
        "parameters": note.parameters,
        "minutes": note.minutes,
        "charged_minutes": run.charged_minutes,
        "peak_gib": note.peak_gib,
        "steps": note.steps,
        "device": note.device,
        "threads": note.threads,
    }
