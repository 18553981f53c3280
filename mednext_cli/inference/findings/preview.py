"""A picture of a case: three planes through its largest structure, with every structure's outline.

Drawn to scale, whatever the voxels' shape, and turned as radiologists look at slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mednext_cli.foundation.files import replacing
from mednext_cli.inference.findings.structures import COLOURS, colour_of, count_voxels
from mednext_cli.settings.plan import ChannelNormalisation
from mednext_cli.volumes.orientation import to_canonical
from mednext_cli.volumes.planes import PLANES, on_screen
from mednext_cli.volumes.volume import Volume

_LONGEST_PIXELS = 384  # of the longest extent of the scan
_GAP, _LINE = 6, 14  # pixels
_MOST_NAMED = 12
_SOFT_TISSUE_HU = (-160.0, 240.0)
_PERCENTILES = (1.0, 99.5)
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is drawn.

    Attributes:
        image: the scan's first channel.
        labels: label map on its grid.
        structures: label value by name.
        normalisation: of that channel, which tells a CT.
    """

    image: Volume
    labels: Volume
    structures: Mapping[str, int]
    normalisation: ChannelNormalisation


def write_preview(path: Path, subject: Subject) -> None:
    """Write the picture as PNG.

    Raises:
        StorageError: the disk refuses.
    """
    with replacing(path) as beside:
        draw_preview(subject).save(beside, "PNG", optimize=True)


def draw_preview(subject: Subject) -> Image.Image:
    """Axial, coronal and sagittal slice where the largest structure is largest, and a legend.

    A CT is shown from -160 to 240 HU, and farther where its network looks farther (lungs, bone);
    other scans between the 1st and the 99.5th percentile of the slices that are shown.
    """
    image, labels = to_canonical(subject.image), to_canonical(subject.labels)
    counts = count_voxels(labels.array)
    largest = int(counts[1:].argmax()) + 1 if counts[1:].any() else None
    places = _places(labels.array, largest)
    shown = [on_screen(image.array, axis, places[axis]) for _, axis in PLANES]
    low, high = _window(shown, subject.normalisation)
    panels = []
    for (_, axis), grey in zip(PLANES, shown, strict=True):
        size = _pixels(labels, axis)
        outlined = on_screen(labels.array, axis, places[axis])
        panels.append(_panel(grey, outlined, size, (low, high)))
    found = {name: value for name, value in subject.structures.items() if value < len(counts)}
    return _side_by_side(panels, {name: v for name, v in found.items() if counts[v]})


def _places(labels: Array, largest: int | None) -> tuple[int, ...]:
    """The slice of every axis that holds most of a label; the middle ones for none."""
    if largest is None:
        return tuple(length // 2 for length in labels.shape)
    mask = labels == largest
    others = ((1, 2), (0, 2), (0, 1))
    return tuple(int(np.count_nonzero(mask, axis=pair).argmax()) for pair in others)


def _window(shown: Sequence[Array], settings: ChannelNormalisation) -> tuple[float, float]:
    if settings.scheme == "ct":
        return min(_SOFT_TISSUE_HU[0], settings.lower), max(_SOFT_TISSUE_HU[1], settings.upper)
    low, high = np.percentile(np.concatenate([grey.ravel() for grey in shown]), _PERCENTILES)
    return float(low), float(high)


def _pixels(labels: Volume, axis: int) -> tuple[int, int]:
    """Width and height of a plane's panel, in one scale for all three."""
    extents = [n * mm for n, mm in zip(labels.array.shape, labels.spacing_mm, strict=True)]
    scale = _LONGEST_PIXELS / max(extents)
    rows, columns = (extents[other] for other in range(3) if other != axis)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _panel(
    grey: Array, labels: Array, size: tuple[int, int], window: tuple[float, float]
) -> Image.Image:
    low, high = window
    shades = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = Image.fromarray(shades.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    rows = np.arange(size[1]) * labels.shape[0] // size[1]
    columns = np.arange(size[0]) * labels.shape[1] // size[0]
    enlarged = labels[rows][:, columns]
    coloured = np.array(picture.convert("RGB"))
    edge = _edges(enlarged)
    coloured[edge] = np.array(COLOURS, np.uint8)[(enlarged[edge] - 1) % len(COLOURS)]
    return Image.fromarray(coloured)


def _edges(labels: Array) -> NDArray[np.bool_]:
    """Pixels of a structure beside which there is none of it."""
    padded = np.pad(labels, 1)
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray((labels != 0) & np.any([other != labels for other in beside], axis=0))


def _side_by_side(panels: Sequence[Image.Image], found: Mapping[str, int]) -> Image.Image:
    """The panels on black, and below them the structures that were found, by colour."""
    named = list(found.items())[:_MOST_NAMED]
    lines = [(name, colour_of(value)) for name, value in named]
    if len(found) > len(named):
        lines.append((f"and {len(found) - len(named)} more", (200, 200, 200)))
    lines = lines or [("nothing was found", (200, 200, 200))]
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) + 1)
    height = max(panel.height for panel in panels)
    whole = Image.new("RGB", (width, height + 3 * _GAP + _LINE * len(lines)))
    left = _GAP
    for panel in panels:
        whole.paste(panel, (left, _GAP + (height - panel.height) // 2))
        left += panel.width + _GAP
    pen = ImageDraw.Draw(whole)
    for number, (text, colour) in enumerate(lines):
        plain = text.encode("latin-1", "replace").decode("latin-1")  # all that the font has
        pen.text((_GAP, height + 2 * _GAP + _LINE * number), plain, fill=colour)
    return whole
