"""One training run, from a cache to a validated checkpoint."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.choice import choose_network, completed
from mednext_cli.settings.fingerprint import swaps_in_words
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.best_weights import take_best
from mednext_cli.training.callbacks.calling import Callbacks, told
from mednext_cli.training.checks import check_names
from mednext_cli.training.data import count_workers
from mednext_cli.training.distributed import (
    ALONE,
    Processes,
    explained_loss,
    find_processes,
    together,
)
from mednext_cli.training.folds import (
    check_splits_file,
    choose_fold,
    splits_file_of,
    warn_of_lacking_classes,
)
from mednext_cli.training.initialise import choose_start
from mednext_cli.training.loop import LoopSpec, run_epochs
from mednext_cli.training.loss import check_loss
from mednext_cli.training.memory import check_memory, explained_memory
from mednext_cli.training.operators import choose_operators, keep_operators
from mednext_cli.training.precision_choice import keep_precision
from mednext_cli.training.run_folder import RunFolder, has_begun, run_folder
from mednext_cli.training.splits import Split, draw_cases, fold_name
from mednext_cli.training.starting import Job, start_folder, start_state
from mednext_cli.training.state import TrainingState
from mednext_cli.training.supply_memory import batch_bytes, check_shared_memory, fits_in_memory
from mednext_cli.training.validate import validate_fold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSpec:
    """What `mednext train` is asked to do.

    Attributes:
        cache: the dataset's cache folder, ``CACHE/NAME``.
        recipe: resolved.
        fold: "0" to the number of folds - 1, or "all" (every case, no validation).
        runs: where run folders are made.
        init: checkpoint, run, or name of a model, whose weights to start from; not beside the
            recipe's `[init]`.
        restart: throw an earlier run of the same folder away.
        extend: go on with a run that was begun with another number of epochs.
        device: auto, cpu, cuda, cuda:N or mps.
        splits: a file with the folds, as nnU-Net's splits_final.json; None takes the splits.json
            of the cache, if it has one.
    """

    cache: Path
    recipe: Recipe
    fold: str = "0"
    runs: Path = Path("runs")
    init: Path | None = None
    restart: bool = False
    extend: bool = False
    device: str = "auto"
    splits: Path | None = None

    @property
    def splits_file(self) -> Path:
        """That has the folds; the cache's need not be there."""
        return self.splits or splits_file_of(self.cache)


@dataclass(frozen=True)
class TrainResult:
    """Where the run is, how long it took, and its mean Dice per region on the fold's cases."""

    folder: Path
    seconds: float
    dice: Mapping[str, float]


def check_run(spec: TrainSpec) -> RunFolder:
    """The folder of a run, and all of `train`'s refusals that need no network.

    Raises:
        CacheError, CheckpointError, SettingsError, StorageError: see `train`.
    """
    processes = find_processes()
    with together(processes):
        job = describe_job(spec, processes)
        _ = job.plan  # refuses a patch
        # Nothing is measured for what may still be refused.
        if job.resuming or not job.measures_precision:
            _ = job.precision
    return job.folder


def train(spec: TrainSpec) -> TrainResult:
    """Train, or resume, one fold; then predict its cases whole and score them.

    Raises:
        CacheError: no usable cache. CheckpointError: `init` or the run's checkpoint does not fit.
        SettingsError: the recipe, fold or device cannot be used with this dataset, or not with
            the run that has begun.
        StorageError: the run's folder cannot be written, or another process trains in it.
        KeyboardInterrupt: interrupted; the same call carries on.
    """
    processes = find_processes()
    with explained_loss(processes):
        return _train(spec, processes)


def _train(spec: TrainSpec, processes: Processes) -> TrainResult:
    with together(processes):
        job = describe_job(spec, processes)
        operators = choose_operators(job)  # before the network takes the device's memory
        with explained_memory(job.demand, "the network"):
            state = start_state(job, operators)
        demand = replace(job.demand, checkpointing=state.checkpointing)
        loop = describe_loop(job, processes)
        _announce(state, loop, job.chosen.label)
        if not job.resuming:
            check_memory(demand)
    with _locked(job.folder, processes):
        with explained_memory(demand, "training"):
            start_folder(state, job, processes)
            if processes.rank == 0:
                keep_operators(job.folder, operators)
                if job.measures_precision:
                    keep_precision(job.folder, job.precision.dtype)
            if not state.finished:
                warn_of_lacking_classes(job.cached, job.split, fold_name(spec.fold))
                _warn_of_swaps(job)
        dice = _run(job, state, loop)
    return TrainResult(job.folder.path, state.progress.seconds, dice)


def _run(job: Job, state: TrainingState, loop: LoopSpec) -> dict[str, float]:
    """Steps, then the final validation, of which rank 0's callbacks are told; Dice by region."""
    callbacks = Callbacks(job.recipe.callbacks, job.folder) if loop.processes.rank == 0 else None
    recipe = state.recipe.model_dump(mode="json", exclude_none=True)
    with told(callbacks, job.cached.name, recipe, state.epoch) as ending:
        with explained_memory(job.demand, "training"):
            run_epochs(state, replace(loop, callbacks=callbacks))
            take_best(state, loop.folder, loop.processes)
        with explained_memory(job.demand, "the validation of whole cases"), state.with_average():
            if job.split.validation:
                ending.update(validate_fold(state, loop, job.cached))
    return ending


@contextmanager
def _locked(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """The run's folder, held by the first process for all of them."""
    with ExitStack() as held:
        with together(processes):
            if processes.rank == 0:
                held.enter_context(locked(folder.path, wait=False))
        yield


def describe_job(spec: TrainSpec, processes: Processes = ALONE) -> Job:
    """All that is known of a run before anything is built.

    Raises:
        CacheError, SettingsError, StorageError: see `train`.
    """
    cached = open_cache(spec.cache)
    recipe = completed(spec.recipe).with_planned_axes(cached.plan.mirror_axes)
    chosen = choose_network(recipe.model)
    check_names(cached)
    check_loss(cached.plan, recipe.loss)
    device = pick_device(processes.device_name(spec.device))
    if device.type == "cpu":
        keep_freed_memory(large=False)
    folder = run_folder(spec.runs, cached.name, chosen.label, fold_name(spec.fold))
    start = choose_start(spec.init, recipe.init, fold_name(spec.fold))
    resuming = has_begun(folder) and not spec.restart
    if start is None and not resuming:
        _refuse_fine_tuning(recipe)
    return Job(
        recipe=recipe,
        chosen=chosen,
        dataset_plan=cached.plan,
        cached=cached,
        split=_choose_cases(spec, recipe.training, cached),
        folder=folder,
        device=device,
        start=start,
        restart=spec.restart,
        extend=spec.extend,
        resuming=resuming,
    )


def _warn_of_swaps(job: Job) -> None:
    for axis, pairs in job.cached.fingerprint.mirror_swaps.items():
        if axis in job.recipe.augmentation.mirror_axes:
            logger.warning(
                "the recipe mirrors along %s, which puts %s: the network will not tell them apart "
                "by where they lie. --set augmentation.mirror_axes=plan leaves that axis out",
                axis,
                swaps_in_words(pairs),
            )


def _refuse_fine_tuning(recipe: Recipe) -> None:
    if recipe.fine_tuning.factors:
        raise SettingsError(
            "the recipe's [fine_tuning] is of weights to begin with, and the run draws its own",
            "Add --init RUN or [init], or leave [fine_tuning] out.",
        )


def _choose_cases(spec: TrainSpec, training: TrainingSettings, cached: CachedDataset) -> Split:
    check_splits_file(spec.splits)
    whole = choose_fold(cached, spec.fold, training, spec.splits_file)
    return draw_cases(whole, training.cases, training.seed)


def describe_loop(job: Job, processes: Processes) -> LoopSpec:
    """What the loop of a run needs beside its state."""
    workers = count_workers(job.recipe.training.workers, job.device, processes.local_size)
    augmented_later = job.recipe.augmentation.device == "network"
    parts = job.recipe.training.accumulate
    batch = parts * batch_bytes(job.cached, job.plan, augmented_later)
    check_shared_memory(batch, workers)
    return LoopSpec(
        cache=job.cached.folder,
        split=job.split,
        folder=job.folder,
        device=job.device,
        workers=workers,
        in_memory=fits_in_memory(job.cached, job.split.training, batch, workers),
        processes=processes,
    )


def _announce(state: TrainingState, loop: LoopSpec, label: str) -> None:
    parameters = sum(weights.numel() for weights in state.network.parameters())
    logger.info(
        "%s: %s, %.2f M parameters, patch %s, batch %d%s, %d training and %d validation cases, "
        "%s, %s",
        loop.folder.path,
        label,
        parameters / 1e6,
        " x ".join(map(str, state.plan.patch_voxels)),
        state.plan.batch_size,
        f" in each of {count} processes" if (count := loop.processes.world_size) > 1 else "",
        len(loop.split.training),
        len(loop.split.validation),
        loop.device,
        str(state.precision.dtype).removeprefix("torch."),
    )
    if state.recipe.training.patience is not None and not loop.split.validation:
        logger.warning(
            "training.patience has no effect: no case is left to validate on, and the run ends as "
            "its epochs or minutes say"
        )
    if (minutes := state.recipe.training.minutes) is not None:
        logger.info("training ends after %g minutes of steps; training.epochs is not used", minutes)
