"""Two kidneys with cortex and medulla, cysts in some, tumours in most patients."""

from dataclasses import dataclass

import numpy as np

from mednext_cli.datasets.phantom.body import FAT_HU, Build
from mednext_cli.datasets.phantom.canvas import Blob, Canvas, Floats, Ripple, Vector

KIDNEY, TUMOUR = 1, 2
_TUMOURS = (0, 1, 2)
_TUMOUR_SHARES = (0.15, 0.7, 0.15)  # of patients with none, one, two


@dataclass(frozen=True)
class _Kidney:
    """One kidney: its outline, the hollow that faces the spine, and its densities."""

    outline: Blob
    sinus: Blob
    cortex_hu: float
    medulla_hu: float

    def place(self, direction: Floats, share: float) -> Vector:
        """The point in a direction (own axes) at a share of the way to the surface, mm."""
        offset = self.outline.rotation @ (
            np.asarray(self.outline.half_axes_mm) * direction / np.linalg.norm(direction) * share
        )
        x, y, z = np.asarray(self.outline.centre_mm) + offset
        return (float(x), float(y), float(z))


def draw_kidneys(canvas: Canvas, build: Build, rng: np.random.Generator) -> int:
    """Draw kidneys with what grows on them and label them.

    Returns:
        The number of tumours.
    """
    phase = float(rng.uniform(0.0, 35.0))  # of enhancement: more of it, brighter cortex
    kidneys = [_random_kidney(side, build, phase, rng) for side in (1.0, -1.0)]
    for kidney in kidneys:
        _draw_kidney(canvas, kidney)
        if rng.random() < 0.25:
            _draw_cyst(canvas, kidney, rng)
    tumours = int(rng.choice(_TUMOURS, p=_TUMOUR_SHARES))
    first = int(rng.integers(2))
    for number in range(tumours):
        _draw_tumour(canvas, kidneys[(first + number) % 2], rng)
    return tumours


def _random_kidney(side: float, build: Build, phase: float, rng: np.random.Generator) -> _Kidney:
    """A kidney on the right (`side` 1) or the left (-1); its first own axis points to the hilum."""
    axes = (
        float(rng.uniform(24.0, 29.0)),
        float(rng.uniform(21.0, 27.0)),
        float(rng.uniform(46.0, 58.0)),
    )
    centre = (
        side * float(rng.uniform(63.0, 72.0)),
        build.spine_y_mm + float(rng.uniform(-4.0, 8.0)),
        float(rng.uniform(-6.0, 8.0)) - (9.0 if side > 0 else 0.0),  # the liver is above the right
    )
    rotation = _kidney_axes(
        side, np.deg2rad(rng.uniform(15.0, 40.0)), np.deg2rad(rng.uniform(5, 18))
    )
    outline = Blob(centre, axes, rotation, Ripple.random(rng, 0.07))
    hollow = np.asarray(centre) + rotation @ np.array([0.85 * axes[0], 0.0, 0.0])
    sinus = Blob(
        (float(hollow[0]), float(hollow[1]), float(hollow[2])),
        (0.6 * axes[0], 0.42 * axes[1], 0.42 * axes[2]),
        rotation,
    )
    return _Kidney(outline, sinus, 165.0 + phase, 130.0 + 0.5 * phase)


def _kidney_axes(side: float, turn: float, tilt: float) -> Floats:
    """Own axes: to the hilum (the middle, turned to the front), across, along (top inwards)."""
    hilum = np.array([-side * np.cos(turn), np.sin(turn), 0.0])
    along = np.array([-side * np.sin(tilt), 0.0, np.cos(tilt)])
    along -= hilum * (along @ hilum)
    along /= np.linalg.norm(along)
    return np.stack([hilum, np.cross(along, hilum), along], axis=1)


def _draw_kidney(canvas: Canvas, kidney: _Kidney) -> None:
    outline = kidney.outline
    fat = tuple(axis + 9.0 for axis in outline.half_axes_mm)
    canvas.fill(Blob(outline.centre_mm, (fat[0], fat[1], fat[2]), outline.rotation), FAT_HU, 0.0)
    for box, level in canvas.around(outline):
        points = canvas.points(box)
        _, v, w = outline.local(points)
        hollow = kidney.sinus.level(points)
        part, label = canvas.hu[box], canvas.label[box]
        inside = (level < 1.0) & (hollow >= 1.0)
        pyramids = (level < 0.74) & (np.sin(4.0 * np.arctan2(v, w)) * np.sin(5.0 * w) > -0.35)
        part[inside] = kidney.cortex_hu
        part[inside & pyramids] = kidney.medulla_hu
        part[(level < 1.0) & (hollow < 1.0)] = -70.0  # fat of the sinus
        part[(hollow < 0.55) & (level < 1.1)] = 95.0  # renal pelvis and vessels
        label[inside] = KIDNEY


def _draw_cyst(canvas: Canvas, kidney: _Kidney, rng: np.random.Generator) -> None:
    """Water in a thin wall; KiTS19 counts cysts as kidney."""
    direction = rng.normal(size=3)
    direction[0] = -abs(direction[0])  # away from the hilum
    radius = float(rng.uniform(5.0, 9.0))
    cyst = Blob(kidney.place(direction, 0.85), (radius, radius, radius))
    for box, level in canvas.around(cyst):
        canvas.hu[box][level < 1.0] = 8.0
        canvas.label[box][level < 1.0] = KIDNEY


def _draw_tumour(canvas: Canvas, kidney: _Kidney, rng: np.random.Generator) -> None:
    """A lump that grows out of the kidney; large ones are necrotic inside."""
    direction = rng.normal(size=3)
    direction[0] = -abs(direction[0])
    radius = float(rng.uniform(9.0, 24.0))
    axes = radius * rng.uniform(0.85, 1.15, 3)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    tumour = Blob(
        kidney.place(direction, float(rng.uniform(0.75, 1.05))),
        (float(axes[0]), float(axes[1]), float(axes[2])),
        rotation,
        Ripple.random(rng, 0.12, waves=6),
    )
    hu = float(rng.uniform(55.0, 85.0))
    core = float(rng.uniform(0.35, 0.6)) if radius > 15.0 else 0.0
    for box, level in canvas.around(tumour, margin=1.4):
        part = canvas.hu[box]
        part[level < 1.0] = hu
        part[level < core] = 28.0
        canvas.label[box][level < 1.0] = TUMOUR
