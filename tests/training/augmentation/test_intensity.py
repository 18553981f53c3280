"""Intensities: what batchgeneratorsv2 makes of the same image with the same parameters."""

from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from scipy.stats import kstest
from torch import Tensor

from mednext_cli.training.augmentation.intensity import blur, change_intensities
from mednext_cli.training.augmentation.parameters import Parameters

SIGMAS = [(0.5, 0.75, 1.0), (1.0, 2.4, 0.1)]
BOTH = torch.arange(2)
Peer = tuple[BasicTransform, dict[str, Any]]


def _image() -> Tensor:
    return torch.randn(2, 14, 20, 17, generator=torch.Generator().manual_seed(0)) * 2 + 0.5


def _gamma(inverted: bool) -> Peer:
    asked = {
        "apply_to_channel": BOTH,
        "retain_stats": torch.ones(2, dtype=torch.bool),
        "invert_image": torch.full((2,), inverted),
        "gamma": torch.tensor([0.7, 1.5]),
    }
    return GammaTransform((1, 1), float(inverted), False, 1, 1), asked


EQUAL: dict[str, tuple[Parameters, Peer]] = {
    "blur": (
        Parameters(blur=tuple(SIGMAS)),
        (
            GaussianBlurTransform(1, False, False, 1),
            {"apply_to_channel": torch.ones(2, dtype=torch.bool), "sigmas": SIGMAS},
        ),
    ),
    "brightness": (
        Parameters(brightness=(0.75, 1.2)),
        (
            MultiplicativeBrightnessTransform((1, 1), False),
            {"apply_to_channel": BOTH, "multipliers": torch.tensor([0.75, 1.2])},
        ),
    ),
    "contrast": (
        Parameters(contrast=(0.75, 1.25)),
        (
            ContrastTransform((1, 1), True, False),
            {"apply_to_channel": BOTH, "multipliers": torch.tensor([0.75, 1.25])},
        ),
    ),
    "low resolution": (
        Parameters(low_resolution=(None, 0.6)),
        (
            SimulateLowResolutionTransform((1, 1), False, True, None, None, 1),
            {"apply_to_channel": BOTH[1:], "scales": torch.full((1, 3), 0.6)},
        ),
    ),
    "gamma": (Parameters(gamma=(0.7, 1.5)), _gamma(inverted=False)),
    "inverted gamma": (Parameters(gamma_inverted=(0.7, 1.5)), _gamma(inverted=True)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_parameters_give_equal_images(name: str) -> None:
    parameters, (transform, asked) = EQUAL[name]
    expected = transform._apply_to_image(_image(), **asked)
    made = change_intensities(_image(), parameters)
    assert torch.allclose(made, expected, atol=2e-5)
    assert not torch.allclose(made, _image(), atol=1e-2)


def test_noise_is_gaussian_of_the_deviation_asked_for() -> None:
    image = torch.zeros(2, 20, 20, 20)
    made = change_intensities(image.clone(), Parameters(seed=5, noise=0.08))
    assert kstest(made.ravel().numpy() / 0.08, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(made[0].ravel(), made[1].ravel())[0, 1]) < 0.05
    assert torch.equal(made, change_intensities(image.clone(), Parameters(seed=5, noise=0.08)))
    other = change_intensities(image.clone(), Parameters(seed=6, noise=0.08))
    assert not torch.equal(made, other)


def test_a_wide_blur_of_a_slice_keeps_it_finite() -> None:
    """An axis of one voxel is left alone, and a kernel may be longer than the image."""
    made = blur(torch.rand(1, 6, 9), (3.0, 30.0, 30.0))
    assert made.shape == (1, 6, 9)
    assert made.std() < 0.02


def test_an_image_of_one_value_stays_finite() -> None:
    everything = Parameters(noise=None, gamma=(1.3,), gamma_inverted=(0.8,), contrast=(1.2,))
    made = change_intensities(torch.full((1, 4, 4, 4), 0.25), everything)
    assert torch.allclose(made, torch.tensor(0.25))
