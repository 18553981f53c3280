"""Made-up scans on any grid: an abdominal CT and a brain MR with its background set to zero."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mednext_cli.datasets.phantom.body import Build, draw_body
from mednext_cli.datasets.phantom.canvas import Blob, Canvas, Ripple
from mednext_cli.datasets.phantom.kidneys import draw_kidneys
from mednext_cli.datasets.phantom.scanner import scan
from mednext_cli.volumes.volume import Affine, Grid

_NOISE_HU = 12.0
_MR_NOISE, _MR_BLUR = 25.0, 0.6  # intensities, voxels
_TISSUES = 5  # with the background
_BRIGHTNESS = (250.0, 1100.0)


def draw_ct(grid: Grid, channels: int) -> list[NDArray[np.int16]]:
    """The phantom of `mednext phantom`, with a table and air around it.

    Args:
        grid: (X, Y, Z) of the file.
        channels: one.

    Returns:
        Hounsfield units (X, Y, Z).
    """
    assert channels == 1  # noqa: S101 - as `made_up_scan` has seen
    rng = np.random.default_rng(0)
    canvas = _canvas(grid)
    build = Build.random(rng)
    draw_body(canvas, build, rng)
    draw_kidneys(canvas, build, rng)
    return [scan(canvas, _NOISE_HU, rng).transpose(2, 1, 0)]


def draw_mr(grid: Grid, channels: int) -> list[NDArray[np.int16]]:
    """A head without its skull: brain, white matter, ventricles and a tumour; zero around it.

    Args:
        grid: (X, Y, Z) of the file.
        channels: each of other contrasts.

    Returns:
        Intensities (X, Y, Z) of each channel.
    """
    rng = np.random.default_rng(1)
    canvas = _canvas(grid)
    canvas.hu[...] = 0.0
    extent = np.abs(grid.affine[:3, :3]).sum(axis=1) * grid.shape
    wide, deep, high = (0.5 * extent * (0.58, 0.72, 0.9)).tolist()  # as BraTS's heads fill it
    canvas.fill(Blob((0, 0, 0), (wide, deep, high), ripple=Ripple.random(rng, 0.06)), 1.0)
    inner = (0.75 * wide, 0.78 * deep, 0.75 * high)
    canvas.fill(Blob((0, 0, 0), inner, ripple=Ripple.random(rng, 0.2, waves=8)), 2.0, 0.5)
    for side in (-1, 1):
        ventricle = (0.12 * wide, 0.35 * deep, 0.2 * high)
        canvas.fill(Blob((side * 0.18 * wide, 0, 0.1 * high), ventricle), 3.0, 0.5)
    tumour = Blob((0.4 * wide, 0.3 * deep, 0.2 * high), (0.22 * wide,) * 3)
    canvas.fill(tumour, 4.0, 0.5)
    tissue = canvas.hu.astype(np.uint8)
    return [_contrast(tissue, rng).transpose(2, 1, 0) for _ in range(channels)]


def _contrast(tissue: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int16]:
    """One channel (slices, rows, columns): tissues of random brightness, blurred and noisy."""
    brightness = rng.uniform(*_BRIGHTNESS, _TISSUES).astype(np.float32)
    image = gaussian_filter(brightness[tissue], _MR_BLUR)
    image += np.float32(_MR_NOISE) * rng.standard_normal(image.shape, dtype=np.float32)
    made = np.rint(np.clip(image, 1, None)).astype(np.int16)
    made[tissue == 0] = 0
    return made


def _canvas(grid: Grid) -> Canvas:
    """A canvas (slices, rows, columns) for a file (X, Y, Z), the patient in its middle."""
    columns, rows, slices = grid.shape
    to_patient: Affine = np.eye(4)
    to_patient[:3, :3] = grid.affine[:3, 2::-1]
    middle = (np.array([slices, rows, columns]) - 1.0) / 2.0
    to_patient[:3, 3] = -to_patient[:3, :3] @ middle
    return Canvas((slices, rows, columns), to_patient)
