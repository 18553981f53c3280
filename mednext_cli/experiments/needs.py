"""What a step of an arm's training takes, told by its shapes alone."""

from dataclasses import dataclass, replace
from math import nan

import torch

from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.patches import Patch
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.scaling.memory import step_gib
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.optimiser import count_kept
from mednext_cli.training.starting import Setup


@dataclass(frozen=True)
class Needs:
    """What an arm's network is and takes.

    Attributes:
        label: of the network, the folder of its runs.
        patch_voxels: of training, (D, H, W).
        batch_size: of training.
        parameters: trainable; nan where the network cannot be run without memory.
        multiply_adds: of one forward pass of one patch; likewise.
        step_gib: peak memory of a training step in float32, with gradient checkpointing where the
            recipe has it; likewise.
    """

    label: str
    patch_voxels: Patch
    batch_size: int
    parameters: float = nan
    multiply_adds: float = nan
    step_gib: float = nan


_known: dict[str, Needs] = {}
"""By recipe and plan: an experiment is planned before and after its runs, and arms may be alike."""


def estimate_needs(recipe: Recipe, plan: Plan) -> Needs:
    """What a recipe's network takes on scans of this plan.

    Raises:
        SettingsError: the network cannot be built, or cannot take the patch.
    """
    training = recipe.training
    asked = (
        recipe.model.model_dump_json(),
        plan.model_dump_json(),
        f"{training.patch_voxels} {training.batch_size} {count_kept(training)}",
    )
    key = "\n".join(asked)
    if key not in _known:
        _known[key] = _estimate(recipe, plan)
    return _known[key]


def _estimate(recipe: Recipe, plan: Plan) -> Needs:
    chosen = choose_network(recipe.model)
    setup = Setup(recipe, chosen, plan, torch.device("cpu"))
    patch, batch = setup.plan.patch_voxels, setup.plan.batch_size
    needs = Needs(chosen.label, patch, batch)
    if not chosen.family.runs_without_memory:
        return needs
    complexity = count_complexity(setup.network, patch)
    sizes = patch, batch, count_kept(recipe.training)
    return replace(
        needs,
        parameters=complexity.parameters,
        multiply_adds=complexity.multiply_adds,
        step_gib=step_gib(
            setup.network, *sizes, "cuda", torch.float32, checkpointing=chosen.checkpointing
        ),
    )
