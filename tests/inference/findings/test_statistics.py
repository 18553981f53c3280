"""Volumes, intensities and extents against counting voxel by voxel, on oblique grids."""

import numpy as np
import pytest

from mednext_cli.inference.findings.columns import EXTENT
from mednext_cli.inference.findings.statistics import Statistics, extent_mm
from mednext_cli.volumes.volume import Grid

STRUCTURES = {"liver": 3, "spleen": 7, "kidney": 300, "heart": 5000}


def oblique(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Axes turned about two of the world's, one of them flipped, voxels as long as is said."""
    a, b = np.deg2rad(25), np.deg2rad(-40)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-spacing_mm[0], *spacing_mm[1:]])
    affine[:3, 3] = (12.5, -80.0, 40.0)
    return affine


@pytest.fixture
def labels() -> np.ndarray:
    random = np.random.default_rng(0)
    made = np.zeros((17, 14, 11), np.uint16)
    made[2:9, 3:12, 1:7] = 3
    made[4:6, 4:9, 2:5] = 7
    made[random.random(made.shape) > 0.97] = 300
    return made


def test_rows_are_what_counting_gives(labels: np.ndarray) -> None:
    affine = oblique((0.7, 0.9, 4.0))
    image = np.random.default_rng(1).normal(40, 30, labels.shape).astype(np.float32)
    found = Statistics("a", labels, Grid(labels.shape, affine), STRUCTURES)
    found.add("CT", image)
    for row in found.rows[:3]:
        places = np.argwhere(labels == row["label"])
        values = np.array([image[tuple(place)] for place in places], float)
        assert row["voxels"] == len(places)
        assert row["volume_ml"] == pytest.approx(len(places) * 0.7 * 0.9 * 4.0 / 1000)
        assert row["intensity_mean_CT"] == pytest.approx(values.mean())
        assert row["intensity_sd_CT"] == pytest.approx(values.std())
        corners = [
            affine[:3, :3] @ (place + np.array(corner) - 0.5) + affine[:3, 3]
            for place in places
            for corner in np.ndindex(2, 2, 2)
        ]
        expected = np.stack([np.min(corners, axis=0), np.max(corners, axis=0)], axis=1)
        np.testing.assert_allclose([row[name] for name in EXTENT], expected.ravel())


def test_what_is_not_there_has_no_intensity_and_no_place(labels: np.ndarray) -> None:
    found = Statistics("a", labels, Grid(labels.shape, np.eye(4)), STRUCTURES)
    found.add("CT", np.ones(labels.shape, np.float32))
    heart = found.rows[3]
    assert (heart["structure"], heart["voxels"], heart["volume_ml"]) == ("heart", 0, 0)
    nowhere = [heart[name] for name in ("intensity_mean_CT", "intensity_sd_CT", *EXTENT)]
    assert np.isnan(nowhere).all()


def test_one_voxel_has_no_spread_and_its_own_extent() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 3] = 1
    affine = np.diag([2.0, 3.0, -5.0, 1.0])
    found = Statistics("a", labels, Grid(labels.shape, affine), {"dot": 1})
    found.add("MR", np.full(labels.shape, 7.0, np.float32))
    row = found.rows[0]
    assert (row["intensity_mean_MR"], row["intensity_sd_MR"]) == (7.0, 0.0)
    assert [row[name] for name in EXTENT] == [1.0, 3.0, 4.5, 7.5, -17.5, -12.5]


def test_the_outermost_voxel_of_a_line_may_be_its_first_or_its_last() -> None:
    mask = np.zeros((3, 3, 6), bool)
    mask[1, 1, [0, 3, 5]] = True
    for slope in (2.0, -2.0):
        affine = np.eye(4)
        affine[0, 2] = slope  # sheared: x grows or falls along the last axis
        x = [1 + slope * place for place in (0, 5)]
        half = (1 + abs(slope)) / 2
        found = extent_mm(mask, (0, 0, 0), affine)
        assert found[0].tolist() == [min(x) - half, max(x) + half]
