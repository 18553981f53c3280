"""One training run, from a cache to a validated checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.files import hash_file
from mednext_cli.foundation.leftovers import remove_leftovers
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.machine import free_memory_bytes, usable_cores
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.building import build_plain, move_network
from mednext_cli.networks.choice import choose_network, completed
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.recipe_files import write_recipe
from mednext_cli.training.checks import check_names
from mednext_cli.training.distributed import find_processes
from mednext_cli.training.initialise import initialise
from mednext_cli.training.loop import LoopSpec, run_epochs
from mednext_cli.training.memory import Demand, check_memory, explained_memory
from mednext_cli.training.patch_size import choose_patch
from mednext_cli.training.precision import Precision
from mednext_cli.training.resume import resume
from mednext_cli.training.run_folder import empty, has_begun, run_folder, set_best_aside
from mednext_cli.training.splits import Split, choose_split, fold_name
from mednext_cli.training.state import TrainingState, build_optimiser
from mednext_cli.training.validate import validate_fold

_MEMORY_SHARE = 0.25  # of the free memory may hold cases, over all workers
_MOST_WORKERS = 12
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSpec:
    """What `mednext train` is asked to do.

    Attributes:
        cache: the dataset's cache folder, ``CACHE/NAME``.
        recipe: resolved.
        fold: "0" to the number of folds - 1, or "all" (every case, no validation).
        runs: where run folders are made.
        init: checkpoint whose weights to start from.
        restart: throw an earlier run of the same folder away.
        extend: go on with a run that was begun with another number of epochs.
        device: auto, cpu, cuda, cuda:N or mps.
    """

    cache: Path
    recipe: Recipe
    fold: str = "0"
    runs: Path = Path("runs")
    init: Path | None = None
    restart: bool = False
    extend: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class TrainResult:
    """Where the run is, how long it took, and its mean Dice per region on the fold's cases."""

    folder: Path
    seconds: float
    dice: Mapping[str, float]


def train(spec: TrainSpec) -> TrainResult:
    """Train, or resume, one fold; then predict its cases whole and score them.

    Raises:
        CacheError: no usable cache. CheckpointError: `init` or the run's checkpoint does not fit.
        SettingsError: the recipe, fold or device cannot be used with this dataset, or not with
            the run that has begun.
        StorageError: the run's folder cannot be written, or another process trains in it.
        KeyboardInterrupt: interrupted; the same call carries on.
    """
    find_processes()
    spec = replace(spec, recipe=completed(spec.recipe))
    label = choose_network(spec.recipe.model).label
    cached = open_cache(spec.cache)
    check_names(cached)
    plan = fitted_plan(cached.plan, spec.recipe)
    device = pick_device(spec.device)
    if device.type == "cpu":
        keep_freed_memory(large=False)
    settings = spec.recipe.training
    split = choose_split(cached.labelled_ids, spec.fold, settings.folds, spec.cache / "splits.json")
    folder = run_folder(spec.runs, cached.name, label, fold_name(spec.fold))
    resuming = has_begun(folder) and not spec.restart
    demand = training_demand(spec.recipe, plan, device)
    with explained_memory(demand, "the network"):
        state = prepare_state(spec, plan, device, _origin(cached, split), resuming)
    workers = count_loaders(settings.workers, device)
    loop = LoopSpec(
        cache=spec.cache,
        split=split,
        folder=folder,
        device=device,
        patch_voxels=state.plan.patch_voxels,
        batch_size=state.plan.batch_size,
        workers=workers,
        in_memory=_fits_in_memory(cached, split, workers),
    )
    _describe(state, loop, label)
    if not resuming:
        check_memory(demand)
    with locked(folder.path, wait=False):
        with explained_memory(demand, "training"):
            _begin(state, loop, spec, demand, resuming)
            run_epochs(state, loop)
        with explained_memory(demand, "the validation of whole cases"):
            dice = validate_fold(state, loop, cached) if split.validation else {}
    return TrainResult(folder.path, state.progress.seconds, dice)


def _begin(
    state: TrainingState, loop: LoopSpec, spec: TrainSpec, demand: Demand, resuming: bool
) -> None:
    """Bring state and folder to where training goes on; all that can be refused is, before."""
    folder, changed = loop.folder, False
    if has_begun(folder) and not spec.restart:
        changed = resume(state, folder, spec.init, spec.extend)
        if not state.finished:
            check_memory(demand)
    elif resuming:
        raise StorageError(f"{folder.last} was removed meanwhile", "Run the same command again.")
    for place in (folder.path, folder.validation):
        remove_leftovers(place, alone=True)
    if spec.restart:
        empty(folder)
    elif not has_begun(folder):
        set_best_aside(folder)
    if changed:
        state.save(folder.last)
    write_recipe(folder.recipe, state.recipe, state.remarks)


def fitted_plan(plan: Plan, recipe: Recipe) -> Plan:
    """The plan as it is trained with, which checkpoints carry: by the recipe and its network.

    Raises:
        SettingsError: the network cannot take the recipe's patch.
    """
    settings = recipe.training
    network = choose_network(recipe.model).spec(len(plan.channels), plan.output_channels)
    patch = choose_patch(settings.patch_voxels, plan.patch_voxels, network.patch_rule)
    batch_size = settings.batch_size or plan.batch_size
    return plan.model_copy(update={"patch_voxels": patch, "batch_size": batch_size})


def prepare_state(
    spec: TrainSpec, plan: Plan, device: torch.device, origin: Origin, resuming: bool
) -> TrainingState:
    """The state a run begins with; of one that goes on, to be filled with its weights.

    Args:
        spec: what is asked for; its recipe has every value of its network.
        plan: as `fitted_plan` gives it.
        device: where the network goes.
        origin: what the run begins with.
        resuming: whether it goes on.
    """
    settings, chosen = spec.recipe.training, choose_network(spec.recipe.model)
    made_of = chosen.spec(len(plan.channels), plan.output_channels)
    precision = Precision(settings.precision, device)
    torch.manual_seed(settings.seed)
    network = build_plain(made_of)
    chosen.family.set_checkpointing(network, chosen.checkpointing)
    chosen.family.set_operators(network, chosen.operators, device)
    if spec.init is not None and not resuming:
        initialise(network, made_of, spec.init)
        origin = origin.model_copy(update={"init": hash_file(spec.init)})
    network = move_network(network, device)
    optimiser = build_optimiser(network, spec.recipe, precision)
    return TrainingState(made_of, network, optimiser, precision, plan, spec.recipe, origin)


def _origin(cached: CachedDataset, split: Split) -> Origin:
    return Origin(
        training_cases=split.training,
        validation_cases=split.validation,
        case_keys=cached.keys((*split.training, *split.validation)),
    )


def training_demand(recipe: Recipe, plan: Plan, device: torch.device) -> Demand:
    """What a step takes, with patch and batch of the plan, which is `fitted_plan`'s."""
    chosen = choose_network(recipe.model)
    return Demand(
        network=chosen.spec(len(plan.channels), plan.output_channels),
        patch_voxels=plan.patch_voxels,
        batch_size=plan.batch_size,
        checkpointing=chosen.checkpointing,
        dtype=Precision(recipe.training.precision, device).dtype,
        device=device,
    )


def count_loaders(requested: int | None, device: torch.device) -> int:
    """Processes that prepare batches; on the CPU the network itself needs every core."""
    if requested is not None:
        return requested
    return 0 if device.type == "cpu" else min(_MOST_WORKERS, max(1, usable_cores() - 1))


def _fits_in_memory(cached: CachedDataset, split: Split, workers: int) -> bool:
    bytes_per_voxel = 4 * len(cached.plan.channels) + 1
    voxels = 0
    for case_id in (*split.training, *split.validation):
        _, depth, height, width = cached.case(case_id).image_shape
        voxels += depth * height * width
    return voxels * bytes_per_voxel * max(1, workers) < _MEMORY_SHARE * free_memory_bytes()


def _describe(state: TrainingState, loop: LoopSpec, label: str) -> None:
    parameters = sum(weights.numel() for weights in state.network.parameters())
    logger.info(
        "%s: %s, %.2f M parameters, patch %s, batch %d, %d training and %d validation cases, "
        "%s, %s",
        loop.folder.path,
        label,
        parameters / 1e6,
        " x ".join(map(str, loop.patch_voxels)),
        loop.batch_size,
        len(loop.split.training),
        len(loop.split.validation),
        loop.device,
        str(state.precision.dtype).removeprefix("torch."),
    )
