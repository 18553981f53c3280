import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mednext_cli.volumes.orientation import (
    empty_as_canonical,
    from_canonical,
    laid_as_canonical,
    to_canonical,
)
from mednext_cli.volumes.volume import Grid, Volume


def turned(axes: tuple[int, ...], signs: tuple[int, ...], degrees: float) -> np.ndarray:
    """An affine with permuted and flipped axes, tilted about x, with three spacings."""
    angle = np.deg2rad(degrees)
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = tilt @ (np.eye(3)[:, list(axes)] * signs) @ np.diag([0.7, 1.3, 4.0])
    affine[:3, 3] = 5, -20, 30
    return affine


orientations = st.tuples(
    st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.floats(-20, 20)
)


@settings(max_examples=40, deadline=None)
@given(orientation=orientations)
def test_every_orientation_becomes_the_same_and_comes_back(
    orientation: tuple[list[int], tuple[int, ...], float],
) -> None:
    affine = turned(tuple(orientation[0]), *orientation[1:])
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    made = to_canonical(Volume(array, affine))
    assert nibabel.aff2axcodes(made.affine) == ("S", "A", "R")
    assert np.array_equal(from_canonical(made.array, Volume(array, affine).grid), array)


@settings(max_examples=20, deadline=None)
@given(orientation=orientations)
def test_every_voxel_stays_where_it_is_in_the_world(
    orientation: tuple[list[int], tuple[int, ...], float],
) -> None:
    affine = turned(tuple(orientation[0]), *orientation[1:])
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    made = to_canonical(Volume(array, affine))
    for number in (0, 7, 23):
        before = affine @ (*np.argwhere(array == number)[0], 1)
        after = made.affine @ (*np.argwhere(made.array == number)[0], 1)
        assert np.allclose(before, after)


def test_slices_first_arrays_of_kits19() -> None:
    """Slices, rows, columns from head to foot, front to back, right to left."""
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
    made = to_canonical(Volume(np.zeros((10, 20, 30)), affine))
    assert made.array.shape == (10, 20, 30)
    assert made.spacing_mm == pytest.approx((3.0, 0.8, 0.8))


@settings(max_examples=40, deadline=None)
@given(orientation=orientations, scaling=st.sampled_from([None, (2.0, -1000.0)]))
def test_what_is_laid_as_canonical_is_turned_without_a_copy(
    orientation: tuple[list[int], tuple[int, ...], float], scaling: tuple[float, float] | None
) -> None:
    grid = Grid((4, 5, 6), turned(tuple(orientation[0]), *orientation[1:]))
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6, order="F")
    laid = laid_as_canonical(array, grid, scaling)
    slope, inter = scaling or (1, 0)
    assert laid.dtype == np.float32
    assert np.array_equal(laid, array * slope + inter)
    made = to_canonical(Volume(laid, grid.affine)).array
    assert made.flags.c_contiguous
    assert np.shares_memory(made, laid)
    empty = empty_as_canonical(grid, np.float32)
    assert (empty.shape, empty.strides) == (laid.shape, laid.strides)
