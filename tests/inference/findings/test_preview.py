"""Previews: drawn to scale, turned as radiologists do, in the window of the modality."""

import numpy as np
import pytest
from PIL import Image

from mednext_cli.inference.findings.preview import Subject, draw_preview
from mednext_cli.settings.plan import ChannelNormalisation
from mednext_cli.volumes.volume import Volume

CT = ChannelNormalisation(scheme="ct", lower=-100.0, upper=200.0)
MR = ChannelNormalisation(scheme="z_score")
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])  # (X, Y, Z) = (right, front, up); slices 4 mm apart


def subject(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray = AFFINE,
    scheme: ChannelNormalisation = MR,
) -> Subject:
    names = {"small": 1, "large": 2}
    return Subject(Volume(image, affine), Volume(labels, affine), names, scheme)


@pytest.fixture
def labels() -> np.ndarray:
    """96 x 64 x 24 voxels: 96 x 64 x 96 mm; the large one right, in front and above."""
    made = np.zeros((96, 64, 24), np.uint8)
    made[70:90, 44:60, 16:22] = 2
    made[4:8, 4:8, 2:4] = 1
    return made


def panels(picture: Image.Image) -> list[np.ndarray]:
    """Axial 384 x 256, coronal 384 x 384, sagittal 256 x 384 pixels, with gaps of 6 between."""
    pixels = np.array(picture)
    axial = pixels[6 + 64 : 6 + 64 + 256, 6:390]
    return [axial, pixels[6:390, 396:780], pixels[6:390, 786:1042]]


def coloured(panel: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.nonzero(panel.max(axis=2) != panel.min(axis=2))


def test_outlines_lie_where_radiologists_expect_them(labels: np.ndarray) -> None:
    image = np.zeros(labels.shape, np.float32)
    picture = draw_preview(subject(image, labels))
    assert picture.width == 384 + 384 + 256 + 4 * 6
    axial, coronal, sagittal = panels(picture)
    # 4 pixels a mm: rows and columns of the screen, from the top left
    expected = (
        (axial, (64 - 60, 64 - 44), (96 - 90, 96 - 70)),  # front above, the right on the left
        (coronal, (4 * (24 - 22), 4 * (24 - 16)), (96 - 90, 96 - 70)),  # head above
        (sagittal, (4 * (24 - 22), 4 * (24 - 16)), (64 - 60, 64 - 44)),  # front on the left
    )
    for panel, rows_mm, columns_mm in expected:
        rows, columns = coloured(panel)
        assert (rows.min(), rows.max() + 1) == (4 * rows_mm[0], 4 * rows_mm[1])
        assert (columns.min(), columns.max() + 1) == (4 * columns_mm[0], 4 * columns_mm[1])


def test_the_order_of_the_files_axes_changes_nothing(labels: np.ndarray) -> None:
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    expected = np.array(draw_preview(subject(image, labels)))
    turned = AFFINE.copy()
    turned[:3] = turned[:3][:, [2, 0, 1, 3]]
    turned[:3, 3] += turned[:3, 0] * 23
    turned[:3, 0] *= -1
    image, labels = (np.transpose(array, (2, 0, 1))[::-1] for array in (image, labels))
    np.testing.assert_array_equal(np.array(draw_preview(subject(image, labels, turned))), expected)


def test_a_ct_is_shown_in_its_window(labels: np.ndarray) -> None:
    for value, grey in ((40.0, 127), (-1000.0, 0), (240.0, 255)):
        image = np.full(labels.shape, value, np.float32)
        axial = panels(draw_preview(subject(image, labels, scheme=CT)))[0]
        assert axial[200, 200].tolist() == [grey] * 3


def test_nothing_found_is_said_and_the_middle_is_shown() -> None:
    image = np.zeros((20, 20, 20), np.float32)
    image[:, :, 10] = 1.0  # the middle slice
    picture = draw_preview(subject(image, np.zeros(image.shape, np.uint8), np.eye(4)))
    pixels = np.array(picture)
    assert pixels[6:390, 6:390].min() == 255
    assert pixels[-16:].any()  # the line that says so
