"""Images turned so that slices come first, and back; what is said of their axes goes with them."""

import numpy as np
import pytest

from mednext_cli.volumes.turning import UNTURNED, Turn, across_coarsest

every_axis = pytest.mark.parametrize("axis", [0, 1, 2])
IMAGE = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


@every_axis
def test_slices_of_the_turned_image_are_those_across_the_axis(axis: int) -> None:
    turned = Turn(axis).array(IMAGE)
    for number in range(IMAGE.shape[axis + 1]):
        assert np.array_equal(turned[:, number], IMAGE.take(number, axis + 1))


@every_axis
def test_back_is_back(axis: int) -> None:
    turn = Turn(axis)
    assert np.array_equal(turn.array_back(turn.array(IMAGE)), IMAGE)
    assert turn.triple_back(turn.triple("abc")) == ("a", "b", "c")


@every_axis
def test_shapes_points_and_axes_are_of_the_same_voxels(axis: int) -> None:
    turn = Turn(axis)
    turned = turn.array(IMAGE[0])
    assert turned.shape == turn.triple(IMAGE[0].shape)
    points = np.argwhere(IMAGE[0] % 7 == 0)
    assert np.array_equal(turned[tuple(turn.columns(points).T)], IMAGE[0][tuple(points.T)])
    for axes in ((0,), (0, 2), (1, 2)):
        flipped = turn.array(np.flip(IMAGE[0], axes))
        assert np.array_equal(flipped, np.flip(turned, turn.axes(axes)))


def test_nothing_is_turned_at_first() -> None:
    assert UNTURNED.order == (0, 1, 2)
    assert np.shares_memory(UNTURNED.array(IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("spacing_mm", "axis"), [((3, 1, 1), 0), ((1, 3, 1), 1), ((1, 1, 3), 2), ((2, 2, 2), 0)]
)
def test_slices_lie_across_the_coarsest_axis(spacing_mm: tuple[float, ...], axis: int) -> None:
    assert across_coarsest(spacing_mm) == Turn(axis)
