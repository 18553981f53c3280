"""Polygons around masks: filled again, by any rule, they are the masks."""

import numpy as np
import pytest
from matplotlib.path import Path
from scipy import ndimage

from mednext_cli.volumes.formats.contours import outline

Ring = np.ndarray


def even_odd(ring: Ring, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres a ray to the right leaves through an odd number of edges."""
    rows, columns = np.indices(shape)
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > rows) != (y1 > rows)
            inside ^= crosses & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return inside


def winding(ring: Ring, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that the ring goes round, as matplotlib has it."""
    rows, columns = np.indices(shape)
    closed = Path(np.concatenate([ring, ring[:1]]))
    return closed.contains_points(np.stack([columns, rows], -1).reshape(-1, 2)).reshape(shape)


def check(mask: np.ndarray) -> list[Ring]:
    """Each polygon lies apart from the others, and together they are the mask."""
    rings = outline(mask)
    for fill in (even_odd, winding):
        filled = [fill(ring, mask.shape) for ring in rings]
        np.testing.assert_array_equal(np.sum(filled, axis=0), mask.astype(int))
    return rings


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9])
def test_noise(share: float) -> None:
    random = np.random.default_rng(int(share * 10))
    for shape in ((9, 13), (24, 17)):
        check(random.random(shape) < share)


def test_smooth_shapes_with_holes() -> None:
    noise = np.random.default_rng(0).normal(size=(80, 96))
    smooth = ndimage.gaussian_filter(noise, 2.5)
    mask = np.abs(smooth) > np.percentile(np.abs(smooth), 40)
    assert len(check(mask)) > 5


def test_an_island_in_a_lake_on_an_island() -> None:
    rows, columns = np.indices((41, 41)) - 20
    distance = np.hypot(rows, columns)
    mask = (distance < 5) | ((distance > 9) & (distance < 16))
    assert len(check(mask)) == 2


def test_many_holes_make_one_polygon() -> None:
    mask = np.ones((31, 31), bool)
    mask[3:-3:4, 3:-3:4] = False
    assert len(check(mask)) == 1


def test_the_polygon_of_a_rectangle_has_no_needless_corners() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:20, 7:33] = True
    (ring,) = check(mask)
    assert len(ring) == 8  # two at each corner, which is cut off
    assert ring.min(axis=0).tolist() == [6.5, 4.5]
    assert ring.max(axis=0).tolist() == [32.5, 19.5]


def test_masks_may_touch_the_border_or_be_empty() -> None:
    check(np.ones((3, 4), bool))
    assert outline(np.zeros((3, 4), bool)) == []
