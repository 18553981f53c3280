"""What `mednext experiment` and `mednext recipes check` print of an experiment."""

from collections.abc import Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mednext_cli.experiments.arms import ResolvedArm
    from mednext_cli.experiments.needs import Needs

ARMS = (
    "arm", "network", "patch (voxels)", "batch", "parameters (M)", "multiply-adds a patch (G)",
    "float32 step (GiB)", "training", "starts from",
)  # fmt: skip


def arm_rows(
    arms: Mapping[str, "ResolvedArm"], needs: Mapping[str, "Needs"]
) -> Iterator[tuple[object, ...]]:
    """A row an arm, under the header `ARMS`."""
    from mednext_cli.networks.patches import shown_patch

    for name, arm in arms.items():
        need = needs[name]
        yield (
            name,
            need.label,
            shown_patch(need.patch_voxels),
            need.batch_size,
            known(need.parameters / 1e6),
            known(need.multiply_adds / 1e9),
            known(need.step_gib),
            _length(arm),
            arm.start,
        )


def known(value: float) -> float | None:
    """The number, or nothing where it is not known."""
    return None if isnan(value) else value


def _length(arm: "ResolvedArm") -> str:
    training = arm.recipe.training
    if training.minutes is not None:
        return f"{training.minutes:g} minutes"
    return f"{training.epochs:,} epochs"
