"""What chance decides about a sample, drawn from its seed before any voxel of it is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.planes import Planes

Triple = tuple[float, float, float]
Kind = TypeVar("Kind")
_PER_CHANNEL = 0.5  # probability of blur and low resolution in a channel, once the sample has it
_UNZOOMED: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Parameters:
    """The augmentation of one sample; what it is not given is left out.

    Attributes:
        seed: of the noise.
        rotation: about the axes of (D, H, W), radians.
        zoom: of the field of view along them; above 1 structures become smaller.
        noise: standard deviation, one for all channels.
        blur: by channel the standard deviations along (D, H, W), voxels.
        brightness: by channel the factor.
        contrast: by channel the factor about the mean.
        low_resolution: by channel the zoom down.
        gamma_inverted: by channel the exponent, of the inverted image.
        gamma: by channel the exponent.
        mirrored: the axes of (D, H, W) that are flipped.
        across: the axis of (D, H, W) along which nothing is interpolated; None for all three.
    """

    seed: int = 0
    rotation: Triple = (0.0, 0.0, 0.0)
    zoom: Triple = _UNZOOMED
    noise: float | None = None
    blur: tuple[Triple | None, ...] = ()
    brightness: tuple[float, ...] = ()
    contrast: tuple[float, ...] = ()
    low_resolution: tuple[float | None, ...] = ()
    gamma_inverted: tuple[float, ...] = ()
    gamma: tuple[float, ...] = ()
    mirrored: tuple[int, ...] = ()
    across: int | None = None

    @property
    def moves_voxels(self) -> bool:
        """Whether voxels come to lie between those of the case."""
        return any(self.rotation) or self.zoom != _UNZOOMED


def draw_parameters(
    seed: int,
    settings: AugmentationSettings,
    channels: int,
    mirror_axes: Sequence[int],
    planes: Planes | None = None,
) -> Parameters:
    """Parameters of one sample, distributed as those of nnU-Net v2's transforms.

    Source: ``get_training_transforms`` of nnU-Net 2.8.1 and batchgeneratorsv2 0.3.6, with v1's
    probabilities and ranges as `settings` has them.

    Args:
        seed: decides all of them.
        settings: probabilities and ranges.
        channels: of the image.
        mirror_axes: axes of (D, H, W) that may be flipped.
        planes: turn, zoom and lower the resolution within them alone; None in all directions.
    """
    random = np.random.default_rng(seed)
    rotated, scaled = _chance(random, settings.rotation), _chance(random, settings.scaling)
    per_channel = partial(_per_channel, random, channels)
    return Parameters(
        seed=seed,
        rotation=_draw_angles(random, settings, planes) if rotated else (0.0, 0.0, 0.0),
        zoom=_draw_zoom(random, settings, planes) if scaled else _UNZOOMED,
        noise=_uniform(random, settings.noise_range) if _chance(random, settings.noise) else None,
        blur=per_channel(settings.blur, partial(_draw_blur, random, settings)),
        brightness=per_channel(
            settings.brightness, partial(_about_one, random, settings.brightness_range)
        ),
        contrast=per_channel(
            settings.contrast, partial(_about_one, random, settings.contrast_range)
        ),
        low_resolution=per_channel(
            settings.low_resolution, partial(_draw_low_resolution, random, settings)
        ),
        gamma_inverted=per_channel(
            settings.gamma_inverted, partial(_about_one, random, settings.gamma_range)
        ),
        gamma=per_channel(settings.gamma, partial(_about_one, random, settings.gamma_range)),
        mirrored=tuple(axis for axis in mirror_axes if _chance(random, 0.5)),
        across=None if planes is None else planes.across,
    )


def _draw_angles(
    random: np.random.Generator, settings: AugmentationSettings, planes: Planes | None
) -> Triple:
    degrees = settings.rotation_degrees if planes is None else planes.rotation_degrees
    largest = float(np.deg2rad(degrees))
    first, second, third = random.uniform(-largest, largest, 3).tolist()
    return (first, second, third) if planes is None else _only(planes.across, first, 0.0)


def _draw_zoom(
    random: np.random.Generator, settings: AugmentationSettings, planes: Planes | None
) -> Triple:
    zoom = _about_one(random, settings.scaling_range)
    return (zoom, zoom, zoom) if planes is None else _only(planes.across, 1.0, zoom)


def _only(axis: int, value: float, elsewhere: float) -> Triple:
    """The value along one axis of (D, H, W), another along those beside it."""
    depth, height, width = (value if at == axis else elsewhere for at in range(3))
    return depth, height, width


def _draw_blur(random: np.random.Generator, settings: AugmentationSettings) -> Triple | None:
    if not _chance(random, _PER_CHANNEL):
        return None
    first, second, third = (_uniform(random, settings.blur_sigma_voxels) for _ in range(3))
    return first, second, third


def _draw_low_resolution(
    random: np.random.Generator, settings: AugmentationSettings
) -> float | None:
    if not _chance(random, _PER_CHANNEL):
        return None
    return _uniform(random, settings.low_resolution_range)


def _per_channel(
    random: np.random.Generator, channels: int, probability: float, draw: Callable[[], Kind]
) -> tuple[Kind, ...]:
    """One of each channel, or none where the sample is left as it is."""
    if not _chance(random, probability):
        return ()
    return tuple(draw() for _ in range(channels))


def _about_one(random: np.random.Generator, limits: Sequence[float]) -> float:
    """A factor below 1 as often as above, uniform on each side (``BGContrast``)."""
    low, high = limits
    below = _chance(random, 0.5)
    if (below and low < 1) or high <= 1:
        return _uniform(random, (low, min(1.0, high)))
    return _uniform(random, (max(1.0, low), high))


def _uniform(random: np.random.Generator, limits: Sequence[float]) -> float:
    low, high = limits
    return random.uniform(low, high)


def _chance(random: np.random.Generator, probability: float) -> bool:
    return bool(random.random() < probability)
