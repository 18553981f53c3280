"""Which runs there are to be on another dataset: arms as they are, and fine-tuned on a few cases.

Whatever an arm was fine-tuned on, the cases that are scored are the same: those of the fold. Labels
that only one of the datasets has are not scored. A network that is fine-tuned learns the labels of
the other dataset; where these are not the experiment's, its output layer begins anew.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.datasets.label_map import (
    LabelMap,
    read_label_map,
    share_labels,
)
from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.notes import WholeNote, cases_file, read_note
from mednext_cli.experiments.one_run import RunTask
from mednext_cli.experiments.plan import ExperimentPlan, ExperimentSpec, PlannedRun
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.recipes import check_recipe
from mednext_cli.settings.experiment import Transfer
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.recipe import InitSettings, Recipe
from mednext_cli.settings.recipe_files import RecipeSource, lay_over
from mednext_cli.training.folds import choose_fold, splits_file_of
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.splits import draw_cases

SHARED = "shared"  # scores by the labels of both datasets, beside those by all of the other's
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferRun:
    """An arm's run on the other dataset.

    Attributes:
        start: the run of the experiment that gives the network; whole.
        cases: of the other dataset, that it is fine-tuned on; 0 for none.
        task: what is to be done.
        chosen: whether this call is to do it, if nobody has.
    """

    start: PlannedRun
    cases: int
    task: RunTask
    chosen: bool


@dataclass(frozen=True, eq=False)
class Target:
    """The other dataset.

    Attributes:
        transfer: what the recipe says of it.
        cached: its cache.
        label_map: None where both have the same labels.
    """

    transfer: Transfer
    cached: CachedDataset
    label_map: LabelMap | None


def find_target(plan: ExperimentPlan, source: CachedDataset, cache: Path) -> Target | None:
    """The dataset of [transfer], checked before anything is trained; None where there is none.

    Args:
        plan: of the experiment.
        source: cache of its dataset.
        cache: folder that holds the caches.

    Raises:
        CacheError: it has no cache.
        SettingsError: its labels, channels or number of cases do not do.
    """
    if (transfer := plan.experiment.transfer) is None:
        return None
    cached = open_cache((Path(transfer.cache or cache) / transfer.dataset).resolve())
    label_map = None
    if transfer.label_map:
        label_map = _of_source(read_label_map(transfer.label_map), source.plan.label_set)
    _check_labels(label_map, source.plan.label_set, cached.plan.label_set)
    if len(cached.plan.channels) != len(source.plan.channels):
        raise SettingsError(
            f"transfer: {cached.name} has {len(cached.plan.channels)} channels, {source.name} has "
            f"{len(source.plan.channels)}",
            "Choose a dataset with the same channels.",
        )
    _check_cases(plan, cached, max(transfer.cases))
    for run in {run.key.arm: run for run in plan.runs}.values():  # before hours of training
        _recipe(plan, run.key, run.folder, transfer, max(transfer.cases))
    return Target(transfer, cached, label_map)


def check_transfer(plan: ExperimentPlan, spec: ExperimentSpec) -> None:
    """Refuse a [transfer] that cannot be; what lacks a cache so far cannot be told yet.

    Raises:
        CacheError: a cache is damaged.
        SettingsError: see `find_target`.
    """
    transfer = plan.experiment.transfer
    if transfer is None or plan.cache is None:
        return
    if (Path(transfer.cache or spec.cache) / transfer.dataset).exists():
        find_target(plan, plan.cache, spec.cache)
    else:
        logger.warning("no cache of %s yet: what is scored on it is not checked", transfer.dataset)


def _of_source(label_map: LabelMap, source: LabelSet) -> LabelMap:
    """With the values that the networks learned, whatever a layout of that name has."""
    return LabelMap(source=dict(source.names), label_map=dict(label_map.label_map))


def _check_labels(label_map: LabelMap | None, source: LabelSet, target: LabelSet) -> None:
    if label_map is not None:
        share_labels(label_map, source, target)
    elif source.names != target.names or source.region_training != target.region_training:
        raise SettingsError(
            "transfer: the datasets have different labels", "Give transfer.label_map."
        )


def _check_cases(plan: ExperimentPlan, cached: CachedDataset, most: int) -> None:
    splits = splits_file_of(cached.folder)
    for arm in plan.arms.values():
        for fold in plan.experiment.folds:
            draw_cases(choose_fold(cached, str(fold), arm.recipe.training, splits), most, 0)


def transfer_runs(
    plan: ExperimentPlan, spec: ExperimentSpec, target: Target
) -> Iterator[TransferRun]:
    """The runs on the other dataset, of those of the experiment that are whole.

    Raises:
        SettingsError: a recipe for fine-tuning cannot be.
    """
    for run in plan.runs:
        if not run.is_whole:
            continue
        for cases in target.transfer.cases:
            task = RunTask(
                out=plan.out.transfer.path.resolve(),
                cache=target.cached.folder.resolve(),
                arm=f"{run.key.arm}-cases{cases}",
                seed=run.key.seed,
                fold=run.key.fold,
                recipe=_recipe(plan, run.key, run.folder, target.transfer, cases),
                device=spec.device,
                start_note=plan.out.note(run.key).resolve(),
                level=logging.getLogger("mednext_cli").getEffectiveLevel(),
            )
            yield TransferRun(run, cases, task, run.chosen)


def _recipe(
    plan: ExperimentPlan, key: RunKey, folder: RunFolder, transfer: Transfer, cases: int
) -> Recipe:
    """For fine-tuning: the arm's, begun from its run, with its share of the budget."""
    recipe = plan.arms[key.arm].seeded(key.seed)
    if not cases:
        return recipe
    began = InitSettings(checkpoint=str(folder.last.resolve()))
    values = recipe.model_copy(update={"init": began}).model_dump(mode="json", exclude_none=True)
    share = plan.experiment.budget.times(transfer.budget)
    values = lay_over(values, {"training": {**share, "cases": cases}})
    return check_recipe(RecipeSource(lay_over(values, transfer.settings), "[transfer]"))


def is_whole(run: TransferRun, target: Target) -> bool:
    """Whether it is scored, by the labels that are to be."""
    note = read_note(run.task.folder, run.task.key)
    return isinstance(note, WholeNote) and scores_file(run, note, target).is_file()


def scores_file(run: TransferRun, note: WholeNote, target: Target) -> Path:
    """summary.csv by the shared labels, or by all where the datasets have the same.

    A network that was fine-tuned has been validated by all labels of the other dataset already.
    """
    validation = cases_file(run.task.folder, note).parent
    apart = run.cases and target.label_map is not None
    return (validation.parent / SHARED if apart else validation) / "summary.csv"
