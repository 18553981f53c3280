"""nnU-Net's augmentations, through batchgeneratorsv2 (MIC-DKFZ, Apache-2.0)."""

from collections.abc import Sequence

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.volumes.turning import UNTURNED, Turn

# v1 enlarges for +-30 degrees and a zoom of 0.85, whatever the recipe: facts of its trainer.
_ENLARGE_DEGREES, _ENLARGE_ZOOM = 30.0, 0.85
_OUTSIDE = -1  # nnU-Net's label of voxels outside the non-zero mask


def enlarged_patch(patch: Sequence[int], settings: AugmentationSettings) -> tuple[int, ...]:
    """Voxels to read, so that a rotated and zoomed patch rarely leaves what was read.

    Source: ``get_patch_size`` of nnU-Net v1; 128^3 becomes 205^3. Without rotation and scaling the
    patch itself. A slice is rotated and zoomed within itself.
    """
    if settings.rotation == settings.scaling == 0:
        return tuple(patch)
    size = np.asarray(patch, dtype=float)
    angle = np.deg2rad(_ENLARGE_DEGREES)
    largest = size.copy()
    for axis in (0,) if _is_slice(patch) else range(3):
        a, b = (other for other in range(3) if other != axis)
        rotated = size.copy()
        rotated[a] = np.cos(angle) * size[a] + np.sin(angle) * size[b]
        rotated[b] = np.cos(angle) * size[b] + np.sin(angle) * size[a]
        largest = np.maximum(largest, rotated)
    enlarged = [int(length) for length in largest / _ENLARGE_ZOOM]
    return (1, *enlarged[1:]) if _is_slice(patch) else tuple(enlarged)


def _is_slice(patch: Sequence[int]) -> bool:
    return patch[0] == 1


def build_augmentation(
    patch: Sequence[int],
    settings: AugmentationSettings,
    masked_channels: Sequence[int] = (),
    turn: Turn = UNTURNED,
) -> BasicTransform:
    """The transforms in nnU-Net v1's order; they take and yield ``image`` and ``segmentation``.

    Args:
        patch: (D, H, W) after augmentation, voxels; the input may be larger. With D 1 it is a
            slice, which is turned, zoomed and mirrored within itself.
        settings: probabilities and ranges.
        masked_channels: channels that stay 0 outside the non-zero mask; see `mark_outside`.
        turn: that its images were turned by; the axes that `settings` mirror are those before.
    """
    mirrored = turn.axes(settings.mirrored)
    if _is_slice(patch):
        within = [axis - 1 for axis in mirrored if axis > 0]
        return _WithinSlices(_build(patch[1:], settings, within, masked_channels))
    return _build(patch, settings, mirrored, masked_channels)


class _WithinSlices:
    """Transforms of two dimensions, applied to a patch that is one slice."""

    def __init__(self, transform: BasicTransform) -> None:
        self._transform = transform

    def __call__(self, **data: Tensor) -> dict[str, Tensor]:
        """Image (C, 1, H, W) and segmentation (1, 1, H, W), to the same axes."""
        flat = {name: value.squeeze(1) for name, value in data.items()}
        made: dict[str, Tensor] = self._transform(**flat)
        return {name: value.unsqueeze(1) for name, value in made.items()}


def _build(
    patch: Sequence[int],
    settings: AugmentationSettings,
    mirrored: Sequence[int],
    masked_channels: Sequence[int],
) -> BasicTransform:
    """For patches of two axes (H, W) or three."""
    angle = np.deg2rad(settings.rotation_degrees)
    spatial = SpatialTransform(
        tuple(patch),
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=settings.rotation,
        rotation=(-angle, angle),
        p_scaling=settings.scaling,
        scaling=BGContrast(settings.scaling_range),
        p_synchronize_scaling_across_axes=1,
        border_mode_seg="constant" if masked_channels else "zeros",
        padding_value_seg=_OUTSIDE if masked_channels else 0,
    )
    low_resolution = SimulateLowResolutionTransform(
        scale=settings.low_resolution_range,
        synchronize_channels=False,
        synchronize_axes=True,
        ignore_axes=None,
        allowed_channels=None,
        p_per_channel=0.5,
    )
    steps: list[tuple[BasicTransform, float]] = [
        (GaussianNoiseTransform(settings.noise_range, 1, True), settings.noise),
        (GaussianBlurTransform(settings.blur_sigma_voxels, False, False, 0.5), settings.blur),
        (
            MultiplicativeBrightnessTransform(BGContrast(settings.brightness_range), False, 1),
            settings.brightness,
        ),
        (ContrastTransform(BGContrast(settings.contrast_range), True, False, 1), settings.contrast),
        (low_resolution, settings.low_resolution),
        (_gamma(settings, inverted=True), settings.gamma_inverted),
        (_gamma(settings, inverted=False), settings.gamma),
    ]
    used = [
        RandomTransform(transform, probability) for transform, probability in steps if probability
    ]
    mirror = [MirrorTransform(tuple(mirrored))] if mirrored else []
    mask = [MaskImageTransform(list(masked_channels)), RemoveLabelTransform(_OUTSIDE, 0)]
    return ComposeTransforms([spatial, *used, *mirror, *(mask if masked_channels else [])])


def mark_outside(
    label: NDArray[np.uint8], image: NDArray[np.float32], masked_channels: Sequence[int]
) -> NDArray[np.int16]:
    """Class indices (D, H, W), -1 for background outside the non-zero mask as in nnU-Net.

    Outside is where every masked channel is exactly 0, which is what preprocessing writes there.

    Args:
        label: (D, H, W) class indices.
        image: (C, D, H, W), normalised.
        masked_channels: channels whose normalisation uses the non-zero mask.
    """
    marked = label.astype(np.int16)
    if masked_channels:
        outside = ~image[list(masked_channels)].any(axis=0)
        marked[outside & (label == 0)] = _OUTSIDE
    return marked


def _gamma(settings: AugmentationSettings, inverted: bool) -> BasicTransform:
    return GammaTransform(
        BGContrast(settings.gamma_range),
        p_invert_image=float(inverted),
        synchronize_channels=False,
        p_per_channel=1,
        p_retain_stats=1,
    )


def seed_augmentation(seed: int) -> None:
    """Seed both generators that batchgeneratorsv2 draws from (numpy's and torch's global ones)."""
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the library draws from the global generator
    torch.manual_seed(seed)
