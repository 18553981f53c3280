"""Counting without allocating."""

import math

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.scaling.published import PUBLISHED
from tests.networks.made import mednext


@pytest.mark.parametrize(("size", "kernel"), PUBLISHED)
def test_the_published_figures(size, kernel):
    millions, giga = PUBLISHED[size, kernel]
    complexity = count_complexity(mednext(size, kernel, 1, 3), (128, 128, 128))
    assert complexity.parameters / 1e6 == pytest.approx(millions, rel=0.02)
    assert complexity.multiply_adds / 1e9 == pytest.approx(giga, rel=0.021)
    assert complexity.multiply_adds_and_norms / 1e9 == pytest.approx(giga, rel=0.005)


def test_a_count_by_hand():
    """One block a stage, no residuals, 2 channels, (16, 16, 16): every term written out."""
    description = mednext(
        "S", 3, 1, 2, 2, norm="layer", resampling="inverted", deep_supervision=False
    )
    counted = count_complexity(description, (16, 16, 16))
    voxels = [16**3, 8**3, 4**3, 2**3, 1]
    odd = [15**3, 7**3, 3**3, 1]
    width = [2 * 2**level for level in range(5)]
    expected = voxels[0] * 2 * 1 + voxels[0] * 2 * 2  # stem and head
    for level in range(5):  # two blocks a stage, encoder and decoder
        stages = 1 if level == 4 else 2
        expected += 2 * stages * voxels[level] * width[level] * (27 + 2 * 2 * width[level])
    for level in range(4):
        down = voxels[level + 1] * width[level] * (27 + 2 * width[level] + 2 * width[level + 1])
        spread = voxels[level + 1] * width[level + 1] * 27
        pointwise = odd[level] * width[level + 1] * 2 * (width[level + 1] + width[level])
        expected += down + spread + pointwise
    assert counted.multiply_adds == expected
    norms = sum(2 * (1 if i == 4 else 2) * voxels[i] * width[i] for i in range(5))
    norms += sum(voxels[i + 1] * width[i] + odd[i] * width[i + 1] for i in range(4))
    assert counted.normalised_values == norms


def test_it_scales_with_the_patch_and_allocates_nothing():
    small, large = (count_complexity(mednext("L", 5, 1, 3), (size, 64, 64)) for size in (64, 128))
    assert small.parameters == large.parameters
    assert math.isclose(large.multiply_adds / small.multiply_adds, 2, rel_tol=0.02)
    assert not torch.cuda.is_available() or torch.cuda.memory_allocated() == 0


def test_a_patch_that_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="divisible by 8"):
        count_complexity(mednext("S", 3, 1, 3), (100, 128, 128))
