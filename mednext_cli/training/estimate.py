"""What a run of a recipe needs, before any memory is taken."""

from dataclasses import dataclass

from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.scaling.memory import estimate_memory
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.train import describe_architecture

DEFAULT_PATCH, DEFAULT_BATCH = (128, 128, 128), 2


@dataclass(frozen=True)
class EstimateRow:
    """One line of `mednext recipes check`."""

    what: str
    value: str


def estimate_run(recipe: Recipe, channels: int, classes: int) -> list[EstimateRow]:
    """Parameters, multiply-adds, memory and steps of a run.

    Args:
        recipe: resolved; where it leaves patch and batch to the data, 128^3 and 2 are taken.
        channels: of the scans.
        classes: background included, or regions.

    Raises:
        SettingsError: the network cannot be built, or cannot take the patch.
    """
    architecture = describe_architecture(recipe.model, channels, classes)
    training = recipe.training
    patch = training.patch_voxels or DEFAULT_PATCH
    batch = training.batch_size or DEFAULT_BATCH
    complexity = count_complexity(architecture, patch)
    memory = estimate_memory(architecture, patch, batch)
    step_gib = (
        memory.training_checkpointed_gib if recipe.model.uses_checkpointing else memory.training_gib
    )
    steps = training.epochs * training.iterations_per_epoch
    return [
        EstimateRow("network", recipe.model.label),
        EstimateRow("patch (voxels)", " x ".join(map(str, patch))),
        EstimateRow("batch", str(batch)),
        EstimateRow("parameters (M)", f"{complexity.parameters / 1e6:.2f}"),
        EstimateRow("multiply-adds a patch (G)", f"{complexity.multiply_adds / 1e9:.1f}"),
        EstimateRow("gradient checkpointing", "on" if recipe.model.uses_checkpointing else "off"),
        EstimateRow("memory of a float32 step (GiB)", f"{step_gib:.2f}"),
        EstimateRow("the same with checkpointing", f"{memory.training_checkpointed_gib:.2f}"),
        EstimateRow("memory of a prediction (GiB)", f"{memory.inference_gib:.2f}"),
        EstimateRow("steps", f"{steps:,}"),
    ]
