import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mednext_cli.evaluation.metrics.surface_distances import compute_surface_distances
from mednext_cli.evaluation.metrics.surface_elements import (
    element_areas,
    is_surface,
    neighbour_codes,
)

ONE_MM = (1.0, 1.0, 1.0)


def surface_of(mask, spacing_mm=ONE_MM):
    codes = neighbour_codes(mask)
    areas = element_areas(spacing_mm)[codes[is_surface(codes)]]
    return len(areas), areas.sum()


@pytest.mark.parametrize(
    ("shape", "elements", "area_mm2"),
    [((1, 1, 1), 8, 1.7321), ((3, 3, 3), 56, 42.7026), ((4, 4, 4), 98, 81.188)],
)
def test_area_of_full_cubes_is_that_of_surface_distance(shape, elements, area_mm2):
    found = surface_of(np.ones(shape, bool))
    assert found == (elements, pytest.approx(area_mm2, abs=1e-3))


def test_single_areas_are_those_of_surface_distance():
    areas = element_areas(ONE_MM)
    assert areas[1] == pytest.approx(0.21650635)
    assert areas[0b00001111] == pytest.approx(1.0)
    assert areas[0] == areas[255] == 0.0
    assert (areas[1:255] > 0).all()


def test_flat_element_has_the_area_of_the_voxel_face():
    areas = element_areas((3.0, 0.7, 1.3))
    assert areas[0b00001111] == pytest.approx(0.7 * 1.3)
    assert areas[0b00110011] == pytest.approx(3.0 * 1.3)
    assert areas[0b01010101] == pytest.approx(3.0 * 0.7)


def test_codes_name_the_eight_voxels_round_a_corner():
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    padded = np.pad(mask, 1).astype(int)
    codes = neighbour_codes(mask)
    assert codes.shape == (4, 5, 6)
    for (i, j, k), code in np.ndenumerate(codes):
        bits = padded[i : i + 2, j : j + 2, k : k + 2].ravel()
        assert code == int("".join(map(str, bits)), 2)


@pytest.mark.parametrize(("spacing", "share", "hd95"), [(1.0, 1.0, 1.0), (5.0, 0.8297, 5.0)])
def test_shifted_cube_scores_as_in_surface_distance(spacing, share, hd95):
    reference, prediction = np.zeros((2, 6, 5, 5), bool)
    reference[1:4, 1:4, 1:4] = prediction[2:5, 1:4, 1:4] = True
    found = compute_surface_distances(reference, prediction, (spacing, 1.0, 1.0))
    assert found.surface_dice(1.0) == pytest.approx(share, abs=1e-4)
    assert found.hausdorff_mm(95) == pytest.approx(hd95)


masks = arrays(bool, (4, 5, 3), elements=st.booleans()).filter(np.any)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3)


def figures(reference, prediction, spacing_mm):
    found = compute_surface_distances(reference, prediction, spacing_mm)
    percentiles = [found.hausdorff_mm(percent) for percent in (50, 95, 100)]
    return [found.mean_mm, *percentiles, *(found.surface_dice(mm) for mm in (0.4, 1.0, 2.5))]


@settings(max_examples=30, deadline=None)
@given(masks, masks, spacings, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_scores_do_not_depend_on_axis_order_and_direction(first, second, mm, axes, flips):
    """The area table and the boxes treat all axes and directions alike."""
    flipped = tuple(axis for axis, flip in enumerate(flips) if flip)
    turned = [
        np.ascontiguousarray(np.flip(one, flipped).transpose(axes)) for one in (first, second)
    ]
    expected = figures(first, second, mm)
    assert figures(*turned, tuple(mm[axis] for axis in axes)) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(masks, masks, spacings)
def test_scores_are_symmetric_and_zero_on_equal_masks(first, second, spacing_mm):
    there = figures(first, second, spacing_mm)
    assert figures(second, first, spacing_mm) == pytest.approx(there, abs=1e-9)
    assert figures(first, first, spacing_mm) == pytest.approx([0, 0, 0, 0, 1, 1, 1])


@settings(max_examples=15, deadline=None)
@given(masks, masks, spacings)
def test_distances_are_those_of_every_pair_of_elements(first, second, spacing_mm):
    corners = [
        np.argwhere(is_surface(neighbour_codes(one))) * spacing_mm for one in (first, second)
    ]
    pairs = np.linalg.norm(corners[0][:, None] - corners[1][None], axis=2)
    found = compute_surface_distances(first, second, spacing_mm)
    assert found.from_reference.distances_mm == pytest.approx(np.sort(pairs.min(1)), abs=1e-5)
    assert found.from_prediction.distances_mm == pytest.approx(np.sort(pairs.min(0)), abs=1e-5)


@pytest.mark.parametrize(
    ("tolerance_mm", "within"), [(0.3, True), (0.2999, False), (0.30001, True)]
)
def test_rounding_does_not_decide_what_lies_within_the_tolerance(tolerance_mm, within):
    """Three voxels of 0.1 mm are 0.30000000000000004 mm."""
    first, second = np.zeros((12, 6, 6), bool), np.zeros((12, 6, 6), bool)
    first[1:7, 1:5, 1:5] = second[4:10, 1:5, 1:5] = True
    found = compute_surface_distances(first, second, (0.1, 0.1, 0.1))
    assert found.hausdorff_mm() == pytest.approx(0.3)
    assert (found.surface_dice(tolerance_mm) == 1.0) is within
