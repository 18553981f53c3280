"""What is drawn for a sample: as often, and from the same ranges, as by batchgeneratorsv2."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from batchgeneratorsv2.helpers.scalar_type import sample_scalar
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.stats import ks_2samp

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.parameters import Parameters, draw_parameters
from mednext_cli.training.augmentation.planes import Planes

SETTINGS = AugmentationSettings()
MANY = 4000
IMAGE = torch.zeros(2, 4, 4, 4)


@pytest.fixture(scope="module")
def drawn() -> list[Parameters]:
    return [draw_parameters(seed, SETTINGS, 2, (0, 1, 2)) for seed in range(MANY)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)  # noqa: NPY002 - what the peer draws from
    torch.manual_seed(0)


SHARES: dict[str, tuple[float, Callable[[Parameters], object]]] = {
    "rotation": (SETTINGS.rotation, lambda one: any(one.rotation)),
    "zoom": (SETTINGS.scaling, lambda one: one.zoom != (1, 1, 1)),
    "noise": (SETTINGS.noise, lambda one: one.noise is not None),
    "blur": (SETTINGS.blur, lambda one: one.blur),
    "blur of a channel": (SETTINGS.blur / 2, lambda one: one.blur and one.blur[1]),
    "brightness": (SETTINGS.brightness, lambda one: one.brightness),
    "contrast": (SETTINGS.contrast, lambda one: one.contrast),
    "low resolution": (SETTINGS.low_resolution, lambda one: one.low_resolution),
    "low resolution of a channel": (
        SETTINGS.low_resolution / 2,
        lambda one: one.low_resolution and one.low_resolution[0],
    ),
    "inverted gamma": (SETTINGS.gamma_inverted, lambda one: one.gamma_inverted),
    "gamma": (SETTINGS.gamma, lambda one: one.gamma),
    "mirroring of an axis": (0.5, lambda one: 1 in one.mirrored),
    "rotation and zoom": (
        SETTINGS.rotation * SETTINGS.scaling,
        lambda one: any(one.rotation) and one.zoom != (1, 1, 1),
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_transforms_are_applied_as_often_as_published(name: str, drawn: list[Parameters]) -> None:
    probability, applied = SHARES[name]
    share = np.mean([bool(applied(one)) for one in drawn])
    assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / MANY)


def _spatial() -> SpatialTransform:
    angle = np.deg2rad(SETTINGS.rotation_degrees)
    return SpatialTransform(
        (4, 4, 4),
        0,
        random_crop=False,
        p_rotation=1,
        rotation=(-angle, angle),
        p_scaling=1,
        scaling=BGContrast(SETTINGS.scaling_range),
        p_synchronize_scaling_across_axes=1,
    )


def _peer_zooms() -> list[float]:
    found = (_spatial().get_parameters(image=IMAGE)["affine"] for _ in range(500))
    return [float(np.linalg.norm(affine, axis=0)[0]) for affine in found]


def _peer_blurs() -> list[float]:
    transform = GaussianBlurTransform(SETTINGS.blur_sigma_voxels, False, False, 0.5)
    found = (transform.get_parameters(image=IMAGE)["sigmas"] for _ in range(500))
    return [float(sigma) for sigmas in found for channel in sigmas for sigma in channel]


def _peer_low_resolutions() -> list[float]:
    scale = SETTINGS.low_resolution_range
    transform = SimulateLowResolutionTransform(scale, False, True, None, None, 0.5)
    found = (transform.get_parameters(image=IMAGE)["scales"] for _ in range(500))
    return [float(zooms[0]) for of_channels in found for zooms in of_channels]


def _factors(limits: tuple[float, float]) -> Callable[[], list[float]]:
    return lambda: [float(BGContrast(limits)()) for _ in range(1000)]


def _scalars(limits: tuple[float, float]) -> Callable[[], list[float]]:
    return lambda: [float(sample_scalar(limits)) for _ in range(1000)]


DRAWN: dict[str, tuple[Callable[[Parameters], list[float]], Callable[[], list[float]]]] = {
    "zoom": (lambda one: [one.zoom[0]] if one.zoom[0] != 1 else [], _peer_zooms),
    "noise": (
        lambda one: [] if one.noise is None else [one.noise],
        _scalars(SETTINGS.noise_range),
    ),
    "blur": (lambda one: [s for channel in one.blur if channel for s in channel], _peer_blurs),
    "brightness": (lambda one: list(one.brightness), _factors(SETTINGS.brightness_range)),
    "contrast": (lambda one: list(one.contrast), _factors(SETTINGS.contrast_range)),
    "low_resolution": (
        lambda one: [zoom for zoom in one.low_resolution if zoom],
        _peer_low_resolutions,
    ),
    "gamma_inverted": (lambda one: list(one.gamma_inverted), _factors(SETTINGS.gamma_range)),
    "gamma": (lambda one: list(one.gamma), _factors(SETTINGS.gamma_range)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_values_are_distributed_as_those_of_batchgeneratorsv2(
    name: str, drawn: list[Parameters]
) -> None:
    """Neither Kolmogorov and Smirnov nor the ends of the range tell them apart."""
    ours_of, peers = DRAWN[name]
    ours, theirs = np.array([value for one in drawn for value in ours_of(one)]), np.array(peers())
    assert len(ours) > 300
    assert ks_2samp(ours, theirs).pvalue > 1e-3
    ends = np.array([[values.min(), values.max()] for values in (ours, theirs)])
    assert np.abs(ends[0] - ends[1]).max() < 0.03 * np.ptp(theirs)


def test_angles_are_uniform_about_every_axis(drawn: list[Parameters]) -> None:
    angles = np.array([one.rotation for one in drawn if any(one.rotation)])
    largest = np.deg2rad(SETTINGS.rotation_degrees)
    for axis in range(3):
        peers = np.random.default_rng(axis).uniform(-largest, largest, 2000)
        assert ks_2samp(angles[:, axis], peers).pvalue > 1e-3
    assert np.abs(np.corrcoef(angles.T)[np.triu_indices(3, 1)]).max() < 0.15


def test_within_a_slice_only_its_own_axes_are_turned_and_zoomed() -> None:
    always = AugmentationSettings(rotation=1.0, scaling=1.0)
    drawn = draw_parameters(3, always, 1, (1, 2), Planes(0, 30.0))
    assert drawn.rotation[0] != 0
    assert drawn.rotation[1:] == (0, 0)
    assert drawn.zoom[0] == 1
    assert drawn.zoom[1] == drawn.zoom[2] != 1


@pytest.mark.parametrize("limits", [(0.5, 0.8), (1.2, 1.5), (1.0, 1.0)])
def test_factors_stay_in_a_range_that_does_not_hold_one(limits: tuple[float, float]) -> None:
    always = AugmentationSettings(brightness=1.0, brightness_range=limits)
    for seed in range(50):
        (factor,) = draw_parameters(seed, always, 1, ()).brightness
        assert limits[0] <= factor <= limits[1]
