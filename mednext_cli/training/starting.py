"""Where a run starts: its state, new or to be filled from its checkpoint, and its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.errors import SettingsError, StorageError
from mednext_cli.foundation.leftovers import remove_leftovers
from mednext_cli.networks.building import build_plain, move_network
from mednext_cli.networks.choice import ChosenNetwork
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.networks.workload import Workload
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.recipe_files import write_recipe
from mednext_cli.training.average import WeightAverage
from mednext_cli.training.distributed import ALONE, Processes, together
from mednext_cli.training.initialise import Start, initialise
from mednext_cli.training.memory import Demand, check_memory
from mednext_cli.training.optimiser import build_optimiser, count_kept
from mednext_cli.training.patch_size import choose_patch
from mednext_cli.training.precision import Precision
from mednext_cli.training.precision_choice import choose_precision, kept_precision
from mednext_cli.training.resume import resume
from mednext_cli.training.run_folder import RunFolder, empty, has_begun, set_best_aside
from mednext_cli.training.splits import Split
from mednext_cli.training.state import TrainingState
from mednext_cli.volumes.turning import UNTURNED, Turn, across_coarsest


@dataclass(frozen=True)
class Setup:
    """What is trained on which kind of images, before anything is built.

    Attributes:
        recipe: completed.
        chosen: the network, and how it is run.
        dataset_plan: of the cases.
        device: where the network runs.
    """

    recipe: Recipe
    chosen: ChosenNetwork
    dataset_plan: Plan
    device: torch.device

    @cached_property
    def turn(self) -> Turn:
        """Networks of slices see these across the coarsest axis."""
        sliced = self.chosen.family.dimensions(self.chosen.settings) == 2
        return across_coarsest(self.dataset_plan.spacing_mm) if sliced else UNTURNED

    @cached_property
    def network(self) -> NetworkSpec:
        """What the network is built from, with what its settings leave to the plan."""
        plan = self.dataset_plan
        wished = self.recipe.training.patch_voxels or self.turn.triple(plan.patch_voxels)
        chosen = self.chosen.planned(wished, self.turn.triple(plan.spacing_mm))
        return chosen.spec(len(plan.channels), plan.output_channels)

    @cached_property
    def plan(self) -> Plan:
        """The plan as it is trained with, which checkpoints carry: by the recipe and the network.

        Raises:
            SettingsError: the network cannot take the recipe's patch.
        """
        plan, settings = self.dataset_plan, self.recipe.training
        planned = self.turn.triple(plan.patch_voxels)
        changes = {
            "patch_voxels": choose_patch(settings.patch_voxels, planned, self.network.patch_rule),
            "batch_size": settings.batch_size or plan.batch_size,
            "slice_axis": self.turn.axis,
        }
        return plan.model_copy(update=changes)

    @cached_property
    def precision(self) -> Precision:
        """The number format of the forward pass.

        Raises:
            SettingsError: the device has no arithmetic for the recipe's, or wrong gradients.
        """
        precision = Precision(self.recipe.training.precision, self.device)
        reduced_on_cpu = (self.device.type, precision.dtype) == ("cpu", torch.bfloat16)
        if reduced_on_cpu and not self.chosen.family.trains_in_bfloat16_on_cpus:
            raise SettingsError(
                f"{self.chosen.family.name} cannot be trained in bfloat16 on a CPU: PyTorch's "
                "gradients of small images are wrong there",
                "Take --set training.precision=float32.",
            )
        return precision

    def workload(self, dtype: torch.dtype) -> Workload:
        """What a step runs the network on, in a number format."""
        return Workload(
            network=self.network,
            patch_voxels=self.plan.patch_voxels,
            batch=self.plan.batch_size,
            dtype=dtype,
            training=True,
            device=self.device,
        )

    @cached_property
    def demand(self) -> Demand:
        """What decides the memory of a step."""
        return Demand(
            network=self.network,
            patch_voxels=self.plan.patch_voxels,
            batch_size=self.plan.batch_size,
            checkpointing=self.chosen.checkpointing,
            dtype=self.precision.dtype,
            device=self.device,
            moments=count_kept(self.recipe.training),
        )


@dataclass(frozen=True)
class Job(Setup):
    """A run: all that is known of it before anything is built.

    Attributes:
        cached: the dataset.
        split: the fold's cases.
        folder: of the run.
        start: weights to begin with; None draws them.
        restart: throw an earlier run of the same folder away.
        extend: go on with a run that was begun with another number of epochs.
        resuming: whether there is a run to go on with.
    """

    cached: CachedDataset
    split: Split
    folder: RunFolder
    start: Start | None
    restart: bool
    extend: bool
    resuming: bool

    @cached_property
    def precision(self) -> Precision:
        """As of any setup, but that "auto" on a CPU is measured: see `choose_precision`."""
        if not self.measures_precision:
            return super().precision
        if self.resuming:
            return Precision(kept_precision(self.folder), self.device)
        workload = self.workload(torch.bfloat16)
        return Precision(choose_precision(self.chosen.family, workload), self.device)

    @property
    def measures_precision(self) -> bool:
        """Whether the number format was left to a measurement."""
        return (self.recipe.training.precision, self.device.type) == ("auto", "cpu")


def build_state(
    setup: Setup,
    origin: Origin,
    start: Start | None = None,
    operators: Mapping[str, Any] | None = None,
) -> TrainingState:
    """A network as the recipe draws it, or with the weights of `start`, and its optimiser.

    Args:
        setup: what is trained on what.
        origin: what the run begins with.
        start: weights to begin with; None draws them.
        operators: as `training.operators` has chosen; None takes those that need no choice.

    Raises:
        CheckpointError: the weights to start from do not fit.
        SettingsError: the operators cannot run on this device.
    """
    torch.manual_seed(setup.recipe.training.seed)
    network = build_plain(setup.network)
    if start is not None:
        origin = initialise(network, setup.network, start, origin)
    network = move_network(network, setup.device)
    setup.chosen.family.set_operators(network, setup.chosen.operators, setup.device, operators)
    checkpointing = _set_checkpointing(setup, network)
    training = setup.recipe.training
    return TrainingState(
        spec=setup.network,
        network=network,
        optimiser=build_optimiser(network, training, setup.precision, setup.recipe.fine_tuning),
        precision=setup.precision,
        plan=setup.plan,
        recipe=setup.recipe,
        origin=origin,
        average=None if training.ema is None else WeightAverage(network, training.ema),
        checkpointing=checkpointing,
    )


def _set_checkpointing(setup: Setup, network: nn.Module) -> bool:
    """As the recipe says; left to the network, without where that takes no more memory."""
    family, on = setup.chosen.family, setup.chosen.checkpointing
    left, half = setup.recipe.model.checkpointing == "auto", setup.precision.dtype.itemsize == 2
    if on and left and half and family.keeps_little(network):
        on = False
    family.set_checkpointing(network, on)
    return on


def start_state(job: Job, operators: Mapping[str, Any] | None = None) -> TrainingState:
    """The state a run begins with; of one that goes on, to be filled with its weights.

    Args:
        job: the run.
        operators: see `build_state`.

    Raises:
        CheckpointError: the weights to start from do not fit.
        SettingsError: the operators cannot run on this device.
    """
    start = None if job.resuming else job.start
    return build_state(job, _origin(job), start, operators)


def _origin(job: Job) -> Origin:
    training, validation = job.split.training, job.split.validation
    return Origin(
        training_cases=training,
        validation_cases=validation,
        case_keys=job.cached.keys((*training, *validation)),
    )


def start_folder(state: TrainingState, job: Job, processes: Processes = ALONE) -> None:
    """Bring state and folder to where training goes on; all that can be refused is, before.

    Of several processes each reads its state, then the first writes.

    Raises:
        CheckpointError: the run's checkpoint is damaged or of another network.
        SettingsError: another run was begun here, or a step takes more memory than is free.
        StorageError: the disk refuses, or the run was removed meanwhile.
    """
    with together(processes):
        changed = _take_up(state, job)
    with together(processes):
        if processes.rank == 0:
            _prepare_folder(state, job, changed)


def _take_up(state: TrainingState, job: Job) -> bool:
    """Bring the state to where its run stopped; whether its recipe has changed."""
    if has_begun(job.folder) and not job.restart:
        changed = resume(state, job.folder, job.start, job.extend)
        if not state.finished:
            check_memory(job.demand)
        return changed
    if job.resuming:
        raise StorageError(
            f"{job.folder.last} was removed meanwhile", "Run the same command again."
        )
    return False


def _prepare_folder(state: TrainingState, job: Job, changed: bool) -> None:
    folder = job.folder
    for place in (folder.path, folder.validation):
        remove_leftovers(place, alone=True)
    if job.restart:
        empty(folder)
    elif not has_begun(folder):
        set_best_aside(folder)
    if changed:
        state.save(folder.last)
    write_recipe(folder.recipe, state.recipe, state.remarks)
