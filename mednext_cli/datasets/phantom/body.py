"""Everything but the kidneys: skin, fat, muscle, ribs, spine, vessels, liver, spleen, bowel.

Coordinates are millimetres of the patient: x to the right, y to the front, z upwards, the origin
in the middle of the body at the height of the kidneys. Densities are those of a CT in the late
arterial phase, as in KiTS19.
"""

from dataclasses import dataclass

import numpy as np

from mednext_cli.datasets.phantom.canvas import Blob, Canvas, Floats, Mask, Points, Ripple

FAT_HU, MUSCLE_HU = -105.0, 55.0
_LONG_MM = 1e4  # longer than any scan: a tube rather than an ellipsoid
_VERTEBRA_MM = 33.0
_INSIDE_HU = -300.0  # organs are drawn where there is body already, never into air or table


@dataclass(frozen=True)
class Build:
    """The size of a patient, mm.

    Attributes:
        width_mm: half of it, left to right.
        depth_mm: half of it, front to back.
        fat_mm: thickness of the fat under the skin.
        wall_mm: thickness of the muscles below it.
    """

    width_mm: float
    depth_mm: float
    fat_mm: float
    wall_mm: float

    @staticmethod
    def random(rng: np.random.Generator) -> "Build":
        """A patient between slim and stout."""
        fat = rng.uniform(8.0, 26.0)
        return Build(
            width_mm=rng.uniform(132.0, 148.0) + fat,
            depth_mm=rng.uniform(88.0, 100.0) + fat,
            fat_mm=fat,
            wall_mm=rng.uniform(10.0, 14.0),
        )

    @property
    def spine_y_mm(self) -> float:
        """Where the middle of the vertebral bodies lies."""
        return -(self.depth_mm - self.fat_mm) + 58.0


def draw_body(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Draw the table and the patient, kidneys excepted."""
    for box in canvas.slabs():
        x, y, z = canvas.points(box)
        part = canvas.hu[box]
        _draw_table(part, x, y, build)
        _draw_layers(part, x, y, z, build)
    _draw_organs(canvas, build, rng)
    _draw_bowel(canvas, build, rng)
    _draw_back(canvas, build)
    _draw_vessels(canvas, build, rng)


def _draw_table(part: Floats, x: Floats, y: Floats, build: Build) -> None:
    """A curved carbon shell filled with foam."""
    height = y + np.float32(build.depth_mm + 14.0) - x * x * np.float32(4e-4)
    shell = (height < 0.0) & (height > -22.0) & (np.abs(x) < 210.0)
    part[shell] = -930.0
    part[shell & ((height > -3.5) | (height < -18.5))] = -180.0


def _draw_layers(part: Floats, x: Floats, y: Floats, z: Floats, build: Build) -> None:
    """Skin, fat, muscles with ribs in them, and the fat that holds the organs."""
    u, v = np.abs(x) / np.float32(build.width_mm), np.abs(y) / np.float32(build.depth_mm)
    radius = np.sqrt(np.sqrt(u**4 + v**4 + 1.2 * (u * v) ** 2))  # between ellipse and rectangle
    inwards = (1.0 - radius) * np.float32(build.depth_mm)  # mm below the skin, near enough
    part[inwards > 0.0] = 20.0
    part[inwards > 2.5] = FAT_HU
    part[inwards > build.fat_mm] = MUSCLE_HU
    cavity = build.fat_mm + build.wall_mm
    part[inwards > cavity] = FAT_HU
    # Ribs run downwards to the front, one every 26 mm, and end above the navel.
    along = np.mod(z - np.float32(0.35) * y + 200.0, np.float32(26.0)) - 13.0
    across = inwards - np.float32(build.fat_mm + build.wall_mm * 0.55)
    within = along**2 / 36.0 + across**2 / 18.0
    rib = (within < 1.0) & (z > np.float32(-10.0) + 0.6 * y) & (np.abs(x) > 45.0)
    part[rib] = 480.0
    part[rib & (within < 0.35)] = 300.0


def _draw_organs(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Lungs, liver, spleen and stomach, no further out than the abdominal wall."""
    side = build.width_mm - build.fat_mm - build.wall_mm
    shift = float(rng.uniform(-8.0, 8.0))
    for sign in (1.0, -1.0):
        lung = Blob((sign * 0.5 * side, 0.0, 205.0), (0.48 * side, 78.0, 105.0))
        canvas.fill(lung, -860.0, _INSIDE_HU)
    liver = Blob(
        (0.44 * side, 6.0, 62.0 + shift),
        (0.55 * side, 74.0, 72.0),
        ripple=Ripple.random(rng, 0.12),
    )
    _fill_cavity(canvas, build, liver, float(rng.uniform(75.0, 95.0)))
    spleen = Blob(
        (-0.74 * side, -28.0, 58.0 + shift),
        (0.21 * side, 38.0, 46.0),
        ripple=Ripple.random(rng, 0.1),
    )
    _fill_cavity(canvas, build, spleen, float(rng.uniform(100.0, 118.0)))
    stomach = Blob(
        (-0.38 * side, 34.0, 55.0), (0.36 * side, 30.0, 40.0), ripple=Ripple.random(rng, 0.15)
    )
    _fill_cavity(canvas, build, stomach, 35.0)
    canvas.fill(Blob((-0.38 * side, 50.0, 55.0), (0.22 * side, 11.0, 26.0)), -900.0, _INSIDE_HU)


def _fill_cavity(canvas: Canvas, build: Build, blob: Blob, hu: float) -> None:
    """Fill a blob as far as it lies inside the abdominal wall."""
    for box, level in canvas.around(blob):
        canvas.hu[box][(level < 1.0) & _inside_wall(canvas.points(box), build)] = hu


def _inside_wall(points: Points, build: Build) -> Mask:
    reach = build.fat_mm + build.wall_mm + 2.0
    wide, deep = np.float32(build.width_mm - reach), np.float32(build.depth_mm - reach)
    inside: Mask = (points[0] / wide) ** 2 + (points[1] / deep) ** 2 < 1.0
    return inside


def _draw_bowel(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Loops with a bright wall; gas collects in front. Colon on both sides."""
    side = build.width_mm - build.fat_mm - build.wall_mm
    front = build.depth_mm - build.fat_mm - build.wall_mm
    for _ in range(60):
        radius = float(rng.uniform(10.0, 18.0))
        centre = (
            float(rng.uniform(-0.66, 0.66)) * side,
            float(rng.uniform(0.05, 0.78)) * front,
            float(rng.uniform(-200.0, 22.0)),
        )
        axes = (
            radius * float(rng.uniform(1.0, 1.7)),
            radius,
            radius * float(rng.uniform(1.0, 1.8)),
        )
        _draw_loop(canvas, build, Blob(centre, axes, ripple=Ripple.random(rng, 0.1)), rng)
    for sign in (1.0, -1.0):
        radius = float(rng.uniform(15.0, 21.0))
        centre = (sign * 0.74 * side, 0.12 * front, -110.0)
        colon = Blob(centre, (radius, radius, 130.0), ripple=Ripple.random(rng, 0.3, waves=6))
        _draw_loop(canvas, build, colon, rng)


def _draw_loop(canvas: Canvas, build: Build, blob: Blob, rng: np.random.Generator) -> None:
    """A loop where there is fat so far: wall, content and, in some, gas on top."""
    content, gas = float(rng.uniform(0.0, 45.0)), rng.random() < 0.35
    x, y, z = blob.centre_mm
    wide, deep, long = (axis - 3.0 for axis in blob.half_axes_mm)
    inner = Blob(blob.centre_mm, (wide, deep, long), ripple=blob.ripple)
    bubble = Blob((x, y + 0.45 * deep, z), (0.6 * wide, 0.4 * deep, 0.6 * long))
    for box, level in canvas.around(blob):
        points, part = canvas.points(box), canvas.hu[box]
        free = (level < 1.0) & (part < -50.0) & _inside_wall(points, build)
        part[free] = 85.0
        part[free & (inner.level(points) < 1.0)] = content
        if gas:
            part[free & (bubble.level(points) < 1.0)] = -880.0


def _draw_back(canvas: Canvas, build: Build) -> None:
    """Vertebrae with discs, spinal canal, processes, psoas and the muscles along the spine."""
    y = build.spine_y_mm
    for sign in (1.0, -1.0):
        canvas.fill(Blob((sign * 32.0, y - 40.0, 0.0), (29.0, 20.0, _LONG_MM)), 58.0, _INSIDE_HU)
        canvas.fill(Blob((sign * 37.0, y - 4.0, -60.0), (17.0, 20.0, 120.0)), 62.0, _INSIDE_HU)
        canvas.fill(Blob((sign * 66.0, y - 28.0, -60.0), (24.0, 12.0, 110.0)), 58.0, _INSIDE_HU)
    body = Blob((0.0, y, 0.0), (23.0, 17.5, _LONG_MM))
    for box, level in canvas.around(body, margin=1.0):
        points = canvas.points(box)
        height = np.abs(np.mod(points[2] + 500.0, np.float32(_VERTEBRA_MM)) - _VERTEBRA_MM / 2)
        part = canvas.hu[box]
        part[level < 1.0] = 430.0
        part[(level < 0.88) & (height < 11.5)] = 255.0
        part[(level < 1.0) & (height > 13.0)] = 75.0  # discs
    canvas.fill(Blob((0.0, y - 27.0, 0.0), (15.0, 12.0, _LONG_MM)), 420.0, _INSIDE_HU)
    canvas.fill(Blob((0.0, y - 26.0, 0.0), (9.5, 8.0, _LONG_MM)), 25.0, _INSIDE_HU)
    for number in range(-8, 9):
        z = number * _VERTEBRA_MM + 6.0
        canvas.fill(Blob((0.0, y - 47.0, z), (3.5, 13.0, 10.0)), 400.0, _INSIDE_HU)
        canvas.fill(Blob((0.0, y - 27.0, z), (42.0, 3.5, 5.0)), 380.0, 0.0)
        canvas.fill(Blob((0.0, y - 26.0, z), (9.5, 8.0, 8.0)), 25.0, _INSIDE_HU)


def _draw_vessels(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    front = build.spine_y_mm + 17.0
    aorta_mm, cava_mm = float(rng.uniform(8.5, 12.0)), float(rng.uniform(9.0, 13.0))
    aorta = Blob((-9.0, front + aorta_mm, 0.0), (aorta_mm, aorta_mm, _LONG_MM))
    cava = Blob((17.0, front + 0.7 * cava_mm, 0.0), (cava_mm, 0.75 * cava_mm, _LONG_MM))
    canvas.fill(cava, float(rng.uniform(100.0, 140.0)), _INSIDE_HU)
    canvas.fill(aorta, float(rng.uniform(240.0, 330.0)), _INSIDE_HU)
