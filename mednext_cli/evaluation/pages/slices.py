"""A case as a few slices in three planes: compressed images with outlines as SVG paths."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mednext_cli.volumes.crop import box_of
from mednext_cli.volumes.planes import PLANES, on_screen
from mednext_cli.volumes.volume import Spacing

MOST_SLICES = 15  # per plane
_LONGEST_SIDE = 256  # pixels
_MARGIN_MM = 12.0
_QUALITY = 60
_BRIGHTEST_LABEL, _DARKEST_LABEL = 175, 70
Array = NDArray[Any]


@dataclass(frozen=True)
class Slice:
    """One slice.

    Attributes:
        position: index from 1 in the whole scan, for people.
        image: data URI of the grey image.
        reference: SVG path along the borders of the reference's labels, in pixels.
        prediction: the same for the prediction.
    """

    position: int
    image: str
    reference: str
    prediction: str

    @property
    def size(self) -> int:
        """Characters it takes in a page."""
        return len(self.image) + len(self.reference) + len(self.prediction)


@dataclass(frozen=True)
class Plane:
    """The slices of one direction.

    Attributes:
        name: axial, coronal or sagittal.
        columns: pixels across.
        rows: pixels down.
        width_mm: extent across.
        height_mm: extent down.
        slices: in the order of the scan.
        first: which of them shows the largest disagreement.
    """

    name: str
    columns: int
    rows: int
    width_mm: float
    height_mm: float
    slices: tuple[Slice, ...]
    first: int


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """What is drawn, all on one grid, axes (D, H, W) as `volumes.orientation` has them.

    Attributes:
        reference: label map.
        prediction: label map.
        image: intensities, None to draw the reference's labels as shades.
        spacing_mm: along D, H, W.
    """

    reference: Array
    prediction: Array
    image: Array | None
    spacing_mm: Spacing


def draw_planes(scan: LabelledScan, slices: int = MOST_SLICES) -> tuple[Plane, ...]:
    """Draw the surroundings of all labels in three planes, as `planes.on_screen` turns them.

    Nothing is drawn where neither map has a label.

    Args:
        scan: the label maps and the image.
        slices: how many at most in each plane.
    """
    labelled = (scan.reference != 0) | (scan.prediction != 0)
    if not labelled.any():
        return ()
    box = _surroundings(labelled, scan.spacing_mm)
    start = (box[0].start, box[1].start, box[2].start)
    reference, prediction = scan.reference[box], scan.prediction[box]
    grey = _shades(reference) if scan.image is None else _window(scan.image[box])
    return tuple(
        _plane(name, axis, start[axis], (grey, reference, prediction), scan, slices)
        for name, axis in PLANES
    )


def _surroundings(labelled: Array, spacing_mm: Spacing) -> tuple[slice, slice, slice]:
    sides = []
    for axis, (start, stop) in enumerate(box_of(labelled)):
        margin = ceil(_MARGIN_MM / spacing_mm[axis])
        sides.append(slice(max(0, start - margin), min(labelled.shape[axis], stop + margin)))
    return (sides[0], sides[1], sides[2])


def _shades(labels: Array) -> Array:
    """Each label its own grey, brightest the lowest."""
    values = np.unique(labels)
    greys = np.linspace(_BRIGHTEST_LABEL, _DARKEST_LABEL, max(1, len(values) - 1))
    table = np.concatenate([[0], greys])[: len(values)] if values[0] == 0 else greys
    table = np.resize(table, len(values))
    return np.asarray(table[np.searchsorted(values, labels)], dtype=np.uint8)


def _window(image: Array) -> Array:
    """Grey values between the 1st and the 99.5th percentile of what is finite."""
    finite = np.isfinite(image)
    low, high = np.percentile(image[finite], (1, 99.5)) if finite.any() else (0.0, 1.0)
    scaled = (np.where(finite, image, low) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0, 1) * 255, dtype=np.uint8)


def _plane(
    name: str,
    axis: int,
    start: int,
    arrays: tuple[Array, Array, Array],
    scan: LabelledScan,
    slices: int,
) -> Plane:
    _, reference, prediction = arrays
    others = tuple(other for other in range(3) if other != axis)
    differing = (reference != prediction).sum(axis=others)
    labelled = np.flatnonzero(((reference != 0) | (prediction != 0)).any(axis=others))
    worst = int(differing.argmax()) if differing.any() else int(labelled[len(labelled) // 2])
    chosen = _choose(labelled, worst, slices)
    rows, columns = (reference.shape[other] for other in others)
    lossless = scan.image is None
    return Plane(
        name=name,
        columns=columns,
        rows=rows,
        width_mm=round(columns * scan.spacing_mm[others[1]], 2),
        height_mm=round(rows * scan.spacing_mm[others[0]], 2),
        slices=tuple(
            Slice(
                position=start + index + 1,
                image=_encode(on_screen(arrays[0], axis, index), lossless=lossless),
                reference=outline(on_screen(reference, axis, index)),
                prediction=outline(on_screen(prediction, axis, index)),
            )
            for index in chosen
        ),
        first=chosen.index(worst),
    )


def _choose(labelled: Array, worst: int, slices: int) -> list[int]:
    """Evenly spread slices that hold a label, the worst among them."""
    places = np.linspace(0, len(labelled) - 1, min(slices, len(labelled))).round().astype(int)
    chosen = [int(index) for index in labelled[places]]
    nearest = min(range(len(chosen)), key=lambda place: abs(chosen[place] - worst))
    chosen[nearest] = worst
    return chosen


def _encode(grey: Array, *, lossless: bool) -> str:
    """A data URI: PNG for flat shades, JPEG for scans."""
    image = Image.fromarray(grey)
    if max(image.size) > _LONGEST_SIDE:
        scale = _LONGEST_SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        how = Image.Resampling.NEAREST if lossless else Image.Resampling.BILINEAR
        image = image.resize(size, how)
    stream = io.BytesIO()
    if lossless:
        image.save(stream, "PNG", optimize=True)
    else:
        image.save(stream, "JPEG", quality=_QUALITY)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def outline(labels: Array) -> str:
    """An SVG path along the borders between labels (rows, columns), in pixels from the top left."""
    padded = np.pad(labels, 1)
    beneath = padded[1:, 1:-1] != padded[:-1, 1:-1]  # (rows + 1, columns)
    beside = padded[1:-1, 1:] != padded[1:-1, :-1]  # (rows, columns + 1)
    flat = "".join(f"M{start} {line}h{length}" for line, start, length in _runs(beneath))
    steep = "".join(f"M{line} {start}v{length}" for line, start, length in _runs(beside.T))
    return flat + steep


def _runs(edges: Array) -> Iterator[tuple[int, int, int]]:
    """Line, start and length of every unbroken run of edges along the second axis."""
    changes = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    for line in np.flatnonzero(edges.any(axis=1)):
        places = np.flatnonzero(changes[line])
        for number, (start, end) in enumerate(pairwise(places)):
            if number % 2 == 0:
                yield int(line), int(start), int(end - start)
