"""Drawing shapes, given in millimetres of the patient, into an array of any orientation."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Points = tuple[Floats, Floats, Floats]  # x, y, z in mm of the patient
Vector = tuple[float, float, float]
Box = tuple[slice, slice, slice]

_SLAB_VOXELS = 2**21  # what is drawn at a time: keeps memory bounded at any size


@dataclass(frozen=True)
class Ripple:
    """A smooth unevenness of a surface: a sum of sine waves over normalised coordinates.

    Attributes:
        amplitudes: (n,), share of the radius.
        frequencies: (n, 3), radians per half-axis.
        phases: (n,), radians.
    """

    amplitudes: Floats = field(default_factory=lambda: np.zeros(0))
    frequencies: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    phases: Floats = field(default_factory=lambda: np.zeros(0))

    @staticmethod
    def random(rng: np.random.Generator, amplitude: float, waves: int = 4) -> "Ripple":
        """Waves of random direction whose amplitudes are `amplitude` together, on average."""
        return Ripple(
            amplitudes=rng.uniform(0.5, 1.5, waves) * amplitude / waves,
            frequencies=rng.normal(0.0, 2.2, (waves, 3)),
            phases=rng.uniform(0.0, 2.0 * np.pi, waves),
        )


@dataclass(frozen=True)
class Blob:
    """An ellipsoid with an uneven surface.

    Attributes:
        centre_mm: (x, y, z) in the patient: to the right, to the front, upwards.
        half_axes_mm: along its own three axes.
        rotation: (3, 3), its own axes as columns, in patient coordinates.
        ripple: how uneven it is.
    """

    centre_mm: Vector
    half_axes_mm: Vector
    rotation: Floats = field(default_factory=lambda: np.eye(3))
    ripple: Ripple = field(default_factory=Ripple)

    def local(self, points: Points) -> tuple[Floats, Floats, Floats]:
        """Patient coordinates (x, y, z), mm, in units of the half-axes along its own axes."""
        offsets = [axis - np.float32(c) for axis, c in zip(points, self.centre_mm, strict=True)]
        u, v, w = (
            sum(np.float32(self.rotation[k, axis] / self.half_axes_mm[axis]) * offsets[k]
                for k in range(3))
            for axis in range(3)
        )  # fmt: skip
        return u, v, w  # type: ignore[return-value]

    def level(self, points: Points) -> Floats:
        """How far out points lie: 0 in the centre, 1 on the surface."""
        u, v, w = self.local(points)
        radius = np.sqrt(u * u + v * v + w * w)
        for amplitude, (f, g, h), phase in zip(
            self.ripple.amplitudes, self.ripple.frequencies, self.ripple.phases, strict=True
        ):
            radius -= np.float32(amplitude) * np.sin(
                np.float32(f) * u + np.float32(g) * v + np.float32(h) * w + np.float32(phase)
            )
        return radius


class Canvas:
    """A scan while it is drawn.

    Attributes:
        hu: (slices, rows, columns), Hounsfield units, air to begin with.
        label: the same shape, 0 background.
        affine: (4, 4), array indices to millimetres of the patient.
    """

    def __init__(self, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> None:
        self.hu = np.full(shape, -1000.0, np.float32)
        self.label = np.zeros(shape, np.uint8)
        self.affine = affine

    def points(self, box: Box) -> Points:
        """Patient coordinates (x, y, z), mm, of the voxels of a box, each of the box's shape."""
        grids = [
            np.arange(part.start, part.stop, dtype=np.float32).reshape(
                [-1 if axis == k else 1 for k in range(3)]
            )
            for axis, part in enumerate(box)
        ]
        x, y, z = (
            sum((np.float32(row[axis]) * grids[axis] for axis in range(3)), np.float32(row[3]))
            for row in self.affine[:3]
        )
        return x, y, z  # type: ignore[return-value]

    def slabs(self) -> Iterator[Box]:
        """The whole array, a few slices at a time."""
        depth, height, width = self.hu.shape
        step = max(1, _SLAB_VOXELS // (height * width))
        for start in range(0, depth, step):
            yield (slice(start, min(start + step, depth)), slice(0, height), slice(0, width))

    def box(self, centre_mm: Vector, radii_mm: Vector) -> Box | None:
        """The part of the array that an axis-aligned box of the patient can touch, if any."""
        inverse = np.linalg.inv(self.affine)
        middle = inverse[:3, :3] @ np.asarray(centre_mm) + inverse[:3, 3]
        reach = np.abs(inverse[:3, :3]) @ np.asarray(radii_mm) + 1.0
        parts = []
        for at, radius, length in zip(middle, reach, self.hu.shape, strict=True):
            start, stop = max(0, int(at - radius)), min(length, int(at + radius) + 2)
            if start >= stop:
                return None
            parts.append(slice(start, stop))
        return (parts[0], parts[1], parts[2])

    def around(self, blob: Blob, margin: float = 1.25) -> Iterator[tuple[Box, Floats]]:
        """Where a blob lies and its level there, a slab at a time; nothing where it is outside."""
        reach = np.abs(blob.rotation) @ np.asarray(blob.half_axes_mm) * margin
        whole = self.box(blob.centre_mm, (float(reach[0]), float(reach[1]), float(reach[2])))
        if whole is None:
            return
        rows, columns = (part.stop - part.start for part in whole[1:])
        step = max(1, _SLAB_VOXELS // (rows * columns))
        for start in range(whole[0].start, whole[0].stop, step):
            box = (slice(start, min(start + step, whole[0].stop)), whole[1], whole[2])
            yield box, blob.level(self.points(box))

    def fill(self, blob: Blob, hu: float, only_above: float = -2000.0) -> None:
        """Give the inside of a blob a density, where there is at least `only_above` HU so far."""
        for box, level in self.around(blob):
            part = self.hu[box]
            part[(level < 1.0) & (part > only_above)] = hu
