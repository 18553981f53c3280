"""Nearest voxels against SciPy's distance transform, near, far and on strange grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mednext_cli.evaluation.metrics.nearest_voxels import REACH, nearest_distances

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.5, 3.0, 1.25)]


def check(source, target, spacing_mm):
    found = nearest_distances(np.pad(source, REACH), np.pad(target, REACH), spacing_mm)
    expected = ndimage.distance_transform_edt(~target, sampling=spacing_mm)[source]
    assert found == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SPACINGS), st.sampled_from([0.001, 0.02, 0.4]))
def test_scattered_voxels(seed, spacing_mm, density):
    random = np.random.default_rng(seed)
    source, target = random.random((2, 11, 17, 23)) < density
    target[5, 8, 11] = True
    check(source, target, spacing_mm)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("shift", [0, 1, 4, 9, 20])
def test_shifted_shells(spacing_mm, shift):
    source, target = np.zeros((2, 14, 30, 34), bool)
    source[2:12, 3:23, 2:12] = target[2:12, 3:23, 2 + shift : 12 + shift] = True
    check(source & ~ndimage.binary_erosion(source), target & ~ndimage.binary_erosion(target),
          spacing_mm)  # fmt: skip


def test_one_far_voxel_among_near_ones():
    source, target = np.zeros((2, 40, 40, 60), bool)
    source[5:35, 5:35, 4] = target[5:35, 5:35, 5] = True
    source[20, 20, 58] = True
    check(source, target, (1.0, 1.0, 1.0))


def test_nothing_to_look_for():
    source, target = np.zeros((2, 20, 20, 20), bool)
    target[10, 10, 10] = True
    assert len(nearest_distances(source, target, (1.0, 1.0, 1.0))) == 0


@pytest.mark.parametrize("near", [7, 9])
def test_many_thin_voxels_may_be_nearer_than_one_thick_one(near):
    """Seven of 0.7 mm are 4.9 mm, less than one of 5 mm, which is looked at first."""
    source, target = np.zeros((2, 5, 5, 14), bool)
    source[1, 2, 2] = target[2, 2, 2] = target[1, 2, 2 + near] = True
    check(source, target, (5.0, 0.7, 0.7))
