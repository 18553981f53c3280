"""How a phantom is scanned: grid, slice thickness, orientation, blur, noise, phase of contrast."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mednext_cli.datasets.phantom.canvas import Canvas

_COVERED_MM = 128.0  # by default: the kidneys and a little more
_PIXELS = 96
_FIELD_OF_VIEW_MM = (350.0, 390.0)
# Eight cases in a row have these, in an order of their own for every seed.
_THICKNESS_MM = (1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0)
_SLICE_BLUR, _PIXEL_BLUR = 0.35, 0.55  # standard deviations in voxels: partial volume, focus
# In-plane blur leaves this share of the noise's standard deviation (white noise, two axes).
_NOISE_LEFT = 0.56

ScannerName = Literal["arterial", "venous"]


@dataclass(frozen=True)
class Scanner:
    """A scanner and its protocol: the same patients look otherwise on another one.

    Attributes:
        noise: times the noise of the first one.
        pixel_blur: of its focus, standard deviation in voxels.
        drawn_hu: densities as they are drawn, ascending; between them they are interpolated.
        scanned_hu: what each of them becomes.
    """

    noise: float
    pixel_blur: float
    drawn_hu: tuple[float, ...] = ()
    scanned_hu: tuple[float, ...] = ()


SCANNERS: dict[ScannerName, Scanner] = {
    "arterial": Scanner(1.0, _PIXEL_BLUR),  # as KiTS19
    # Later after the injection, vessels and kidneys are darker and differ less from a tumour.
    "venous": Scanner(
        1.8, 0.4, (-1100.0, 60.0, 100.0, 200.0, 340.0, 450.0, 3100.0),
        (-1100.0, 60.0, 110.0, 135.0, 180.0, 450.0, 3100.0),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Acquisition:
    """One scan's settings.

    Attributes:
        shape: (slices, rows, columns), as KiTS19 stores its arrays.
        to_patient: (4, 4), array indices to millimetres of the patient (origin in his middle).
        affine: (4, 4), array indices to the millimetres the file states; the same but for the
            origin, which is wherever the scanner's table stood.
        noise_hu: standard deviation of the noise.
    """

    shape: tuple[int, int, int]
    to_patient: NDArray[np.float64]
    affine: NDArray[np.float64]
    noise_hu: float


def plan_acquisition(
    seed: int, index: int, shape: tuple[int, int, int] | None, rng: np.random.Generator
) -> Acquisition:
    """Settings of the scan with that number: the first as KiTS19, others flipped or oblique.

    Args:
        seed: of the whole set; decides the order of slice thicknesses.
        index: number of the case.
        shape: (slices, rows, columns); None for 96 x 96 pixels and as many slices as cover the
            kidneys.
        rng: source of the choices.
    """
    order = np.random.default_rng(seed).permutation(_THICKNESS_MM)
    thickness = float(order[index % len(order)])
    size = shape or (round(_COVERED_MM / thickness), _PIXELS, _PIXELS)
    pixel = float(rng.uniform(*_FIELD_OF_VIEW_MM)) / max(size[1:])
    # KiTS19: slices downwards, rows to the back, columns to the left, origin 0.
    linear = np.array([[0.0, 0.0, -pixel], [0.0, -pixel, 0.0], [-thickness, 0.0, 0.0]])
    flips = rng.choice((1.0, -1.0), 3)
    tilt = _rotation(rng)
    origin = rng.uniform(-200.0, 200.0, 3)
    if index > 0:
        linear = tilt @ linear @ np.diag(flips) if index % 2 else linear @ np.diag(flips)
    else:
        origin = np.zeros(3)
    middle = rng.uniform(-6.0, 6.0, 3) - linear @ ((np.array(size) - 1.0) / 2.0)
    noise = float(rng.uniform(7.0, 11.0)) * np.sqrt(5.0 / thickness) ** 0.7
    return Acquisition(size, _affine(linear, middle), _affine(linear, origin), noise)


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A turn by up to 12 degrees about any axis (Rodrigues' formula)."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(4.0, 12.0))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    )
    return turned


def _affine(linear: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, origin
    return affine


def scan(
    canvas: Canvas, noise_hu: float, rng: np.random.Generator, scanner: ScannerName = "arterial"
) -> NDArray[np.int16]:
    """What the scanner makes of a drawing: phase, partial volume, noise, focus; whole HU.

    Works in place, a slice or a row at a time, so that it needs little beside the drawing.

    Returns:
        The drawing's shape; the drawing itself is used up.
    """
    hu, style = canvas.hu, SCANNERS[scanner]
    for row in range(hu.shape[1]):
        if style.drawn_hu:
            hu[:, row] = np.interp(hu[:, row], style.drawn_hu, style.scanned_hu)
        hu[:, row] = gaussian_filter1d(hu[:, row], _SLICE_BLUR, axis=0)
    scanned = np.empty(hu.shape, np.int16)
    for number, plane in enumerate(hu):
        noise = rng.standard_normal(plane.shape, dtype=np.float32)
        noisy = plane + np.float32(style.noise * noise_hu / _NOISE_LEFT) * noise
        for axis in (0, 1):
            noisy = gaussian_filter1d(noisy, style.pixel_blur, axis=axis)
        scanned[number] = np.rint(np.clip(noisy, -1024, 3071))
    return scanned
