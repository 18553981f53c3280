"""What a 3D TransUNet leaves to the plan: steps down, kernels, and the patch it is tied to."""

from collections.abc import Sequence
from math import prod
from typing import Any

from mednext_cli.networks.baselines.nnunet.topology import plan_topology
from mednext_cli.networks.baselines.transunet.settings import TransUNetSettings
from mednext_cli.networks.patches import Patch

_PUBLISHED_PATCH = (128, 128, 128)
_ISOTROPIC = (1.0, 1.0, 1.0)
_SHORTEST = 4  # voxels of an axis in the bottleneck


def plan_settings(
    settings: TransUNetSettings, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
) -> TransUNetSettings:
    """The settings with steps and kernels as nnU-Net chooses them, and a patch that fits both.

    Args:
        settings: what they hold stays.
        patch_voxels: (D, H, W) that is asked for; rounded up to what the steps divide.
        spacing_mm: (D, H, W) of the prepared images.
    """
    wanted = settings.patch_voxels or _long_enough(patch_voxels, settings.least_steps)
    update: dict[str, Any] = {}
    if settings.strides is None:
        topology = plan_topology(wanted, spacing_mm)
        update |= {"strides": topology.strides[1:], "kernels": topology.kernel_sizes}
    planned = settings.model_copy(update=update)
    if settings.attends and settings.patch_voxels is None:
        steps = divisors_of(planned)
        fitted = tuple(
            -(-length // step) * step for length, step in zip(wanted, steps, strict=True)
        )
        planned = planned.model_copy(update={"patch_voxels": fitted})
    return planned


def _long_enough(patch_voxels: Sequence[int], steps: int) -> Patch:
    depth, height, width = (max(length, _SHORTEST * 2**steps) for length in patch_voxels)
    return depth, height, width


def complete(settings: TransUNetSettings) -> TransUNetSettings:
    """Where nothing is planned, for a cube of 128 isotropic voxels, as published."""
    return plan_settings(settings, _PUBLISHED_PATCH, _ISOTROPIC)


def divisors_of(settings: TransUNetSettings) -> Patch:
    """How many voxels of (D, H, W) are one in the bottleneck."""
    depth, height, width = map(prod, zip(*complete_strides(settings), strict=True))
    return depth, height, width


def complete_strides(settings: TransUNetSettings) -> Sequence[Sequence[int]]:
    """Of each step down, (D, H, W)."""
    return settings.strides or complete(settings).strides or ()
