"""What a run of a recipe needs, before any memory is taken."""

from dataclasses import dataclass

import torch

from mednext_cli.networks.choice import ChosenNetwork, choose_network
from mednext_cli.networks.patches import Patch, shown_patch
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.scaling.memory import MemoryEstimate, estimate_memory
from mednext_cli.settings.recipe import InitSettings, Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.optimiser import count_kept

DEFAULT_PATCH, DEFAULT_BATCH = (128, 128, 128), 2


@dataclass(frozen=True)
class EstimateRow:
    """One line of `mednext recipes check`."""

    what: str
    value: str


def estimate_run(recipe: Recipe, channels: int, classes: int) -> list[EstimateRow]:
    """Steps or minutes of a run, and parameters, multiply-adds and memory where they can be told.

    Args:
        recipe: resolved; where it leaves patch and batch to the data, 128^3 and 2 are taken.
        channels: of the scans.
        classes: background included, or regions.

    Raises:
        SettingsError: the network cannot be built, or cannot take the patch.
    """
    training = recipe.training
    chosen = choose_network(recipe.model)
    network = chosen.planned(training.patch_voxels or DEFAULT_PATCH).spec(channels, classes)
    patch = training.patch_voxels or network.patch_rule.fit(DEFAULT_PATCH)
    batch = training.batch_size or DEFAULT_BATCH
    network.patch_rule.check(patch)
    return [
        EstimateRow("network", chosen.label),
        EstimateRow("patch (voxels)", shown_patch(patch)),
        EstimateRow("batch", str(batch)),
        EstimateRow("gradient checkpointing", "on" if chosen.checkpointing else "off"),
        *_beginning(recipe.init),
        *_needs(chosen, network, patch, batch, training),
        _length(training),
    ]


def _beginning(init: InitSettings) -> list[EstimateRow]:
    """Which weights a run begins with, where they are not drawn."""
    grown = f", kernels grown ({init.growth})" if init.upkern else ""
    return [EstimateRow("first weights", f"{init.path}{grown}")] if init.path else []


def _length(training: TrainingSettings) -> EstimateRow:
    if training.minutes is not None:
        return EstimateRow("minutes of steps (epochs are not used)", f"{training.minutes:g}")
    return EstimateRow("steps", f"{training.epochs * training.iterations_per_epoch:,}")


def _needs(
    chosen: ChosenNetwork,
    network: NetworkSpec,
    patch: Patch,
    batch: int,
    training: TrainingSettings,
) -> list[EstimateRow]:
    """What is told by running the network without memory; nothing where it cannot be."""
    if not chosen.family.runs_without_memory:
        return []
    complexity = count_complexity(network, patch)
    moments = count_kept(training)
    memory = estimate_memory(network, patch, batch, moments)
    half = estimate_memory(network, patch, batch, moments, dtype=torch.bfloat16)
    step_gib, half_gib = (
        one.training_checkpointed_gib if chosen.checkpointing else one.training_gib
        for one in (memory, half)
    )
    return [
        EstimateRow("parameters (M)", f"{complexity.parameters / 1e6:.2f}"),
        EstimateRow("multiply-adds a patch (G)", f"{complexity.multiply_adds / 1e9:.1f}"),
        EstimateRow("memory of a float32 step (GiB)", f"{step_gib:.2f}"),
        EstimateRow("the same with checkpointing", f"{memory.training_checkpointed_gib:.2f}"),
        EstimateRow("memory of a bfloat16 or float16 step (GiB)", f"{half_gib:.2f}"),
        EstimateRow("the same step with checkpointing", f"{half.training_checkpointed_gib:.2f}"),
        *_fused(half),
        EstimateRow("memory of a float32 prediction (GiB)", f"{memory.inference_gib:.2f}"),
    ]


def _fused(half: MemoryEstimate) -> list[EstimateRow]:
    if half.training_fused_gib is None:
        return []
    name = "the same step by fused operators, without checkpointing"
    return [EstimateRow(name, f"{half.training_fused_gib:.2f}")]
