"""Volume, intensities and extent of every structure of a case."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mednext_cli.inference.findings.columns import DEVIATION, EXTENT, MEAN, intensity
from mednext_cli.volumes.volume import Affine, Grid

Box = tuple[slice, ...]


class Statistics:
    """The rows of a case in volumes.csv; one structure's box is looked at at a time.

    Args:
        case_id: of the case.
        labels: (X, Y, Z) label values.
        grid: where they lie.
        structures: label value by name.
    """

    def __init__(
        self, case_id: str, labels: NDArray[Any], grid: Grid, structures: Mapping[str, int]
    ) -> None:
        self._labels = labels
        boxes = ndimage.find_objects(labels)
        self._boxes: dict[str, Box | None] = {
            name: boxes[value - 1] if value <= len(boxes) else None
            for name, value in structures.items()
        }
        self.rows: list[dict[str, Any]] = [
            {"case": case_id, "structure": name, "label": value}
            | _size(self._mask(name, value), self._boxes[name], grid)
            for name, value in structures.items()
        ]

    def add(self, channel: str, image: NDArray[np.float32]) -> None:
        """Add the intensities of a channel, (X, Y, Z) on the label map's grid."""
        for row in self.rows:
            box = self._boxes[row["structure"]]
            found = np.empty(0) if box is None else image[box][self._mask_in(box, row["label"])]
            known = len(found) > 0
            mean = float(found.mean(dtype=np.float64)) if known else np.nan
            row[intensity(MEAN, channel)] = mean
            row[intensity(DEVIATION, channel)] = (
                float(found.std(dtype=np.float64)) if known else np.nan
            )

    def _mask(self, name: str, value: int) -> NDArray[np.bool_]:
        box = self._boxes[name]
        return np.zeros((0, 0, 0), np.bool_) if box is None else self._mask_in(box, value)

    def _mask_in(self, box: Box, value: int) -> NDArray[np.bool_]:
        return np.asarray(self._labels[box] == value)


def _size(mask: NDArray[np.bool_], box: Box | None, grid: Grid) -> dict[str, Any]:
    voxels = int(np.count_nonzero(mask))
    ends = [np.nan] * len(EXTENT)
    if box is not None:
        start = (box[0].start, box[1].start, box[2].start)
        ends = [float(end) for end in extent_mm(mask, start, grid.affine).ravel()]
    return {"voxels": voxels, "volume_ml": voxels * grid.voxel_ml} | dict(
        zip(EXTENT, ends, strict=True)
    )


def extent_mm(
    mask: NDArray[np.bool_], start: tuple[int, int, int], affine: Affine
) -> NDArray[np.float64]:
    """How far a mask reaches along x, y and z of the world, whichever way its axes run.

    A coordinate of the world is linear along the last axis, so of every line of voxels only the
    first and the last can be the outermost.

    Args:
        mask: (X, Y, Z), not empty.
        start: index of its first voxel in the scan.
        affine: of the scan, to millimetres.

    Returns:
        (3, 2) least and largest coordinate of voxels' corners, mm.
    """
    lines = np.nonzero(mask.any(axis=2))
    first = mask.argmax(axis=2)[lines]
    last = mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)[lines]
    ends = [np.stack([*lines, places], axis=1) + start for places in (first, last)]
    centres = np.concatenate(ends) @ affine[:3, :3].T + affine[:3, 3]
    half = np.abs(affine[:3, :3]).sum(axis=1) / 2
    return np.stack([centres.min(axis=0) - half, centres.max(axis=0) + half], axis=1)
