"""The runs on another dataset, here or on a cluster: fine-tuned, predicted, scored."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.datasets.label_map import LabelMap, within_target
from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.experiments.layout import ExperimentFolder
from mednext_cli.experiments.notes import FailedNote, WholeNote, cases_file, read_note, write_note
from mednext_cli.experiments.one_run import RunTask, explain_failure
from mednext_cli.experiments.plan import ExperimentPlan, ExperimentSpec
from mednext_cli.experiments.processes import run_in_process
from mednext_cli.experiments.sharing import Share
from mednext_cli.experiments.transfer import (
    SHARED,
    Target,
    TransferRun,
    is_whole,
    transfer_runs,
)
from mednext_cli.inference.predict import predict
from mednext_cli.inference.specification import PredictSpec
from mednext_cli.training.folds import choose_fold, splits_file_of
from mednext_cli.training.splits import draw_cases
from mednext_cli.training.validate import raw_case

logger = logging.getLogger(__name__)


def run_transfer(
    plan: ExperimentPlan, spec: ExperimentSpec, target: Target
) -> Mapping[str, FailedNote]:
    """Score all whole runs of an experiment on the other dataset; those done are kept.

    Returns:
        Runs that failed, by name.

    Raises:
        SettingsError: no scheduler answers. StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays.
    """
    folder = ExperimentFolder(plan.out.transfer.path.resolve())
    runs = [run for run in transfer_runs(plan, spec, target) if run.chosen]
    todo = [run for run in runs if not is_whole(run, target)]
    if todo:
        folder.path.mkdir(parents=True, exist_ok=True)
    if todo and spec.scheduler is not None:
        _on_cluster(folder, todo, target, spec.scheduler)
    elif todo:
        _share(folder, todo, target)
    notes = {run.task.key.name: read_note(folder, run.task.key) for run in runs}
    for run in runs:
        note = notes[run.task.key.name]
        if isinstance(note, WholeNote) and note.is_behind(run.start.note):
            logger.warning(
                "%s is of weights that have been trained anew since: to do it again, remove %s",
                run.task.key.name,
                folder.runs(run.task.key),
            )
    return {name: note for name, note in notes.items() if isinstance(note, FailedNote)}


def _on_cluster(
    folder: ExperimentFolder, todo: Sequence[TransferRun], target: Target, address: str
) -> None:
    from mednext_cli.foundation.cluster import on_cluster

    work: Callable[[TransferRun], None] = partial(do_elsewhere, folder, target)
    for name, _, error in on_cluster(work, todo, _name, address):
        if error is not None:
            logger.warning("%s: %s", name, error)
        else:
            logger.info("%s: over", name)


def _name(run: TransferRun) -> str:
    return run.task.key.name


def do_elsewhere(folder: ExperimentFolder, target: Target, run: TransferRun) -> None:
    """Do one run on whichever machine this is; what fails is in its note."""
    _share(folder, [run], target)


def _share(folder: ExperimentFolder, todo: Sequence[TransferRun], target: Target) -> None:
    runs = {run.task.key: run for run in todo}

    def work(task: RunTask) -> None:
        try:
            _do(runs[task.key], target)
        except Exception as error:
            logger.debug("%s", task.key.name, exc_info=error)
            write_note(task.folder, task.key, explain_failure(error))

    tasks = [run.task for run in todo]
    Share(folder, tasks, {}, lambda key: is_whole(runs[key], target)).work(work)


def _do(run: TransferRun, target: Target) -> None:
    task = run.task
    names = _validation_cases(task, target.cached)
    if run.cases:
        if not isinstance(read_note(task.folder, task.key), WholeNote):
            run_in_process(task)
        note = read_note(task.folder, task.key)
        if isinstance(note, WholeNote) and target.label_map is not None:
            made = cases_file(task.folder, note).parent
            label_map = within_target(target.label_map, target.cached.plan.label_set)
            _score(made, made.parent / SHARED, target, names, label_map)
        return
    made = task.folder.runs(task.key) / f"fold{task.fold}" / "validation"
    cases = tuple(raw_case(target.cached, name) for name in names)
    predict(PredictSpec(cases, (run.start.folder.last.resolve(),), made, device=task.device))
    _score(made, made, target, names, target.label_map)
    assert isinstance(run.start.note, WholeNote)  # noqa: S101 - only whole runs are transferred
    folder = made.parent.relative_to(task.out).as_posix()
    note = run.start.note
    update = {"folder": folder, "minutes": 0.0, "all_minutes": 0.0, "steps": 0}
    update["start_token"] = note.token
    write_note(task.folder, task.key, note.model_copy(update=update))


def _validation_cases(task: RunTask, cached: CachedDataset) -> tuple[str, ...]:
    """Those of the fold; fewer training cases than asked for are refused before anything else."""
    training = task.recipe.training
    whole = choose_fold(cached, str(task.fold), training, splits_file_of(cached.folder))
    return draw_cases(whole, training.cases, task.seed).validation


def _score(
    predictions: Path,
    out: Path,
    target: Target,
    names: tuple[str, ...],
    label_map: LabelMap | None,
) -> None:
    labels = {name: Path(target.cached.case(name).label_path or "") for name in names}
    known = target.cached.plan.label_set
    spec = EvaluateSpec(
        predictions, labels, out, label_set=known, label_map=label_map, resample=True
    )
    evaluate(spec).raise_failed()
