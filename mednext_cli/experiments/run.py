"""An experiment: planned, run, compared."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mednext_cli.experiments.arm_rows import ArmRow
from mednext_cli.experiments.comparison import ComparisonRow
from mednext_cli.experiments.layout import ExperimentFolder, RunKey
from mednext_cli.experiments.notes import FailedNote, read_note
from mednext_cli.experiments.one_run import RunTask
from mednext_cli.experiments.parts import group_runs
from mednext_cli.experiments.plan import (
    ExperimentPlan,
    ExperimentSpec,
    PlannedRun,
    plan_experiment,
)
from mednext_cli.experiments.processes import run_in_process
from mednext_cli.experiments.results import write_results
from mednext_cli.experiments.saved import join_saved, save_experiment
from mednext_cli.experiments.sharing import Share
from mednext_cli.experiments.transfer import find_target
from mednext_cli.experiments.transfer_results import (
    NOTHING_TRANSFERRED,
    TransferResults,
    write_transfer,
)
from mednext_cli.experiments.transferring import run_transfer
from mednext_cli.foundation.errors import CacheError, MednextError, SettingsError
from mednext_cli.foundation.files import make_folder
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.torchrun import count_processes
from mednext_cli.settings.recipe import InitSettings, Recipe

logger = logging.getLogger(__name__)


class FailedRuns(MednextError):
    """Some runs failed; the exit code is 1 where one of them by a fault of ours.

    Args:
        reasons: one line a run, by its name.
        total: how many this call was to do.
        ours: whether one failed by a fault of ours.
    """

    def __init__(self, reasons: Mapping[str, str], total: int, ours: bool) -> None:
        listed = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in reasons.items())
        super().__init__(
            f"{len(reasons)} of {total} runs failed ({listed})",
            "The others are done. The same command tries these again.",
        )
        self.reasons = dict(reasons)
        self.total, self.exit_code = total, 1 if ours else 2

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reasons, self.total, self.exit_code == 1)


@dataclass(frozen=True)
class ExperimentResult:
    """What was run and found.

    Attributes:
        folder: holds experiment.csv, comparison.csv and report.html.
        plan: with what became of each run.
        arms: a row an arm: mean and spread over seeds, against the first arm.
        comparison: the rows of comparison.csv.
        failed: runs of this call that failed, by key.
        elsewhere: runs that other processes are at work on.
        transfer: what the arms are on the dataset of [transfer].
        failed_transfer: runs on the other dataset that failed, by name.
    """

    folder: Path
    plan: ExperimentPlan
    arms: tuple[ArmRow, ...]
    comparison: tuple[ComparisonRow, ...]
    failed: Mapping[RunKey, FailedNote]
    elsewhere: tuple[RunKey, ...]
    transfer: TransferResults = NOTHING_TRANSFERRED
    failed_transfer: Mapping[str, FailedNote] = field(default_factory=dict)

    def raise_failed(self) -> None:
        """Raise `FailedRuns` where some have failed."""
        notes = {key.name: note for key, note in self.failed.items()} | dict(self.failed_transfer)
        if notes:
            reasons = {name: note.reason for name, note in notes.items()}
            further = {(r.arm, r.seed, r.fold, r.training_cases) for r in self.transfer.rows}
            total = sum(run.chosen for run in self.plan.runs) + len(further)
            raise FailedRuns(reasons, total, any(note.ours for note in notes.values()))


def experiment(spec: ExperimentSpec) -> ExperimentResult:
    """Do the runs of an experiment that are not done, and compare its arms.

    A run that fails, in whatever way, takes no other along but those that start from it. Processes
    that are given the same folder share the runs.

    Raises:
        SettingsError, CacheError: see `plan_experiment`; or the dataset has no cache, or torchrun
            started this.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    if count_processes() > 1:
        raise SettingsError(
            "the processes of torchrun train one network, and an experiment has many",
            "Start mednext experiment several times on one --out: they share the runs.",
        )
    plan = plan_experiment(spec)
    if plan.cache is None:
        raise CacheError(
            f"{spec.cache} has no cache of {plan.experiment.dataset}",
            "Make it with mednext preprocess, or say where it is with --cache.",
        )
    target = find_target(plan, plan.cache, spec.cache)
    _save(plan)
    elsewhere = _do(plan, spec) if plan.todo else ()
    with locked(plan.out.path, briefly=True):  # whoever writes last has seen all runs
        plan = plan_experiment(spec)
        arms, comparison = write_results(plan)
    _warn_of_those_behind(plan)
    failed = {
        run.key: run.note for run in plan.runs if run.chosen and isinstance(run.note, FailedNote)
    }
    result = ExperimentResult(plan.out.path, plan, arms, comparison, failed, elsewhere)
    if target is None:
        return result
    failed_transfer = run_transfer(plan, spec, target)
    with locked(plan.out.path, briefly=True):
        plan = plan_experiment(spec)
        found = write_transfer(plan, spec, target)
        write_results(plan, found)
    return replace(result, transfer=found, failed_transfer=failed_transfer)


def _warn_of_those_behind(plan: ExperimentPlan) -> None:
    for run in plan.runs:
        if run.is_behind:
            logger.warning(
                "%s began from weights that have been trained anew since: to do it again, "
                "remove %s",
                run.key.name,
                plan.out.runs(run.key),
            )


def _save(plan: ExperimentPlan) -> None:
    make_folder(plan.out.path)
    with locked(plan.out.path, briefly=True):  # of two that begin at once, one is refused
        joined = join_saved(plan.out, plan.experiment, plan.arms)
        save_experiment(plan.out, joined, plan.arms)


def _do(plan: ExperimentPlan, spec: ExperimentSpec) -> tuple[RunKey, ...]:
    tasks = [_task(plan, run, spec) for run in plan.todo]
    starts = {run.key: start for run in plan.todo if (start := _start(plan, run.key)) is not None}
    if spec.scheduler is None:
        return Share(plan.out, tasks, starts).work(run_in_process)
    return _on_cluster(plan, tasks, starts, spec.scheduler)


def _start(plan: ExperimentPlan, key: RunKey) -> RunKey | None:
    start = plan.arms[key.arm].start
    return None if start is None else RunKey(start, key.seed, key.fold)


def _task(plan: ExperimentPlan, run: PlannedRun, spec: ExperimentSpec) -> RunTask:
    start = _start(plan, run.key)
    return RunTask(
        out=plan.out.path.resolve(),
        start_note=None if start is None else plan.out.note(start).resolve(),
        cache=(spec.cache / plan.experiment.dataset).resolve(),
        arm=run.key.arm,
        seed=run.key.seed,
        fold=run.key.fold,
        recipe=_recipe(plan, run.key),
        device=spec.device,
        level=logging.getLogger("mednext_cli").getEffectiveLevel(),
    )


def _recipe(plan: ExperimentPlan, key: RunKey) -> Recipe:
    """With the seed, and the first weights where they are another run's."""
    recipe, start = plan.arms[key.arm].seeded(key.seed), _start(plan, key)
    if start is None:
        return recipe
    folder = next(run.folder.path for run in plan.runs if run.key == start)
    init = InitSettings(upkern=str(folder.resolve()), growth=plan.experiment.arms[key.arm].growth)
    return recipe.model_copy(update={"init": init})


def _on_cluster(
    plan: ExperimentPlan, tasks: Sequence[RunTask], starts: dict[RunKey, RunKey], address: str
) -> tuple[RunKey, ...]:
    """Runs that start from each other go to one worker, one after the other."""
    from mednext_cli.foundation.cluster import on_cluster

    by_key = {task.key: task for task in tasks}
    groups = group_runs(list(by_key), {name: arm.chain for name, arm in plan.arms.items()})
    work: Callable[[tuple[RunKey, ...]], None] = partial(
        do_group, plan.out.path.resolve(), by_key, starts
    )
    for name, _, error in on_cluster(work, groups, _name_of_group, address):
        if error is not None:
            logger.warning("%s: %s", name, error)
        else:
            logger.info("%s: over", name)
    return tuple(key for key in by_key if read_note(plan.out, key) is None)


def _name_of_group(group: tuple[RunKey, ...]) -> str:
    arms = ", ".join(key.arm for key in group)
    return f"{arms}, seed {group[0].seed}, fold {group[0].fold}"


def do_group(
    out: Path,
    tasks: Mapping[RunKey, RunTask],
    starts: Mapping[RunKey, RunKey],
    group: tuple[RunKey, ...],
) -> None:
    """Do some runs of an experiment, on whichever machine this is; failures are in their notes."""
    of_group = {key: start for key, start in starts.items() if key in group}
    Share(ExperimentFolder(out), [tasks[key] for key in group], of_group).work(run_in_process)
