"""Which patches are turned within their planes alone: anisotropic ones, and slices ("dummy 2D")."""

from collections.abc import Sequence
from dataclasses import dataclass

from mednext_cli.settings.recipe import AugmentationSettings

THRESHOLD = 3.0  # nnU-Net's ANISO_THRESHOLD


@dataclass(frozen=True)
class Planes:
    """Planes that voxels stay in.

    Attributes:
        across: the axis of (D, H, W) that is perpendicular to them.
        rotation_degrees: largest rotation within them.
    """

    across: int
    rotation_degrees: float


def choose_planes(
    settings: AugmentationSettings, patch_voxels: Sequence[int], spacing_mm: Sequence[float]
) -> Planes | None:
    """The planes of a patch; None where it is turned and zoomed in all directions.

    They lie across the coarsest axis, by the plan where the patch is more than three times as long
    as it is thick there.

    Source: ``configure_rotation_dummyDA_mirroring_and_inital_patch_size`` of nnU-Net 2, whose
    first axis is the coarsest.

    Args:
        settings: say whether that is by the plan.
        patch_voxels: (D, H, W).
        spacing_mm: along them.
    """
    if patch_voxels[0] == 1:  # slices, for a network of these
        return Planes(0, settings.rotation_degrees)
    across = max(range(3), key=lambda axis: (spacing_mm[axis], -patch_voxels[axis]))
    chosen = settings.dummy_2d
    if chosen == "auto":
        chosen = max(patch_voxels) / patch_voxels[across] > THRESHOLD
    return Planes(across, settings.dummy_2d_degrees) if chosen else None
