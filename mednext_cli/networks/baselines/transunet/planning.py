"""What a 3D TransUNet leaves to the plan: steps down, kernels, and the patch it is tied to."""

from collections.abc import Sequence
from math import prod

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.nnunet.topology import plan_topology
from mednext_cli.networks.baselines.transunet.settings import TransUNetSettings
from mednext_cli.networks.patches import Patch, shown_patch

_PUBLISHED_PATCH = (128, 128, 128)
_ISOTROPIC = (1.0, 1.0, 1.0)
_SHORTEST = 4  # voxels of an axis in the bottleneck


def plan_settings(
    settings: TransUNetSettings, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
) -> TransUNetSettings:
    """The settings with steps and kernels as nnU-Net chooses them, and a patch that fits both.

    Args:
        settings: what they hold stays.
        patch_voxels: (D, H, W) that is asked for; rounded up to what the steps divide
            into two voxels or more.
        spacing_mm: (D, H, W) of the prepared images.

    Raises:
        SettingsError: the settings hold a patch that the steps do not divide, or the spacing allows
            too few steps.
    """
    wanted, planned = settings.patch_voxels or patch_voxels, settings
    if settings.strides is None:
        wanted = _long_enough(wanted, settings.least_steps)
        planned = _with_steps(settings, wanted, spacing_mm)
    if not settings.attends:
        return planned
    divisors = divisors_of(planned)
    depth, height, width = (
        -(-length // step) * step for length, step in zip(wanted, divisors, strict=True)
    )
    if (depth, height, width) == divisors:
        width *= 2  # instance norm needs two voxels in the bottleneck
    if settings.patch_voxels not in (None, (depth, height, width)):
        raise SettingsError(
            f"a patch of {shown_patch(settings.patch_voxels)} voxels cannot be halved as planned",
            f"Take {shown_patch((depth, height, width))}, or give other strides.",
        )
    return planned.model_copy(update={"patch_voxels": (depth, height, width)})


def _with_steps(
    settings: TransUNetSettings, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
) -> TransUNetSettings:
    topology = plan_topology(patch_voxels, spacing_mm)
    strides = topology.strides[1:]
    if len(strides) < settings.least_steps:
        raise SettingsError(
            f"a patch of {shown_patch(patch_voxels)} voxels of such spacing is halved "
            f"{len(strides)} times; this TransUNet needs {settings.least_steps}",
            "Take a larger patch, or give strides.",
        )
    return settings.model_copy(update={"strides": strides, "kernels": topology.kernel_sizes})


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
