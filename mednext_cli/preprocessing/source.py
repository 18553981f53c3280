"""Read a case's files with every check that makes preprocessing trustworthy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case, Channel, LabelSet
from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.nifti import read_label_map, read_volume
from mednext_cli.volumes.orientation import to_canonical
from mednext_cli.volumes.volume import Affine, Grid, Spacing, Volume

_TOLERANCE = 1e-3  # of each entry of an affine


@dataclass(frozen=True, eq=False)
class SourceCase:
    """A case as read, in canonical orientation.

    Attributes:
        image: (C, D, H, W) float32.
        label: (D, H, W) original label values, or None.
        affine: of the canonical grid.
        file_grid: of the file, in its own axis order.
    """

    image: NDArray[np.float32]
    label: NDArray[Any] | None
    affine: Affine
    file_grid: Grid

    @property
    def spacing_mm(self) -> Spacing:
        """Of the canonical grid (D, H, W), mm."""
        return Volume(self.image[0], self.affine).spacing_mm


def read_channels(channels: tuple[Channel, ...]) -> SourceCase:
    """Read the channels of a case, which must share one grid.

    Raises:
        ScanError: a file cannot be read, grids differ, or intensities are NaN, infinite or all
            the same; names the file.
    """
    volumes = [read_volume(channel.path, channel.index) for channel in channels]
    first = volumes[0].grid
    for channel, volume in zip(channels, volumes, strict=True):
        _check_grid(channel.path, volume.grid, channels[0].path, first)
        _check_intensities(channel, volume.array)
    canonical = [to_canonical(volume) for volume in volumes]
    image = np.stack([volume.array for volume in canonical])
    return SourceCase(image, None, canonical[0].affine, first)


def read_case(case: Case, labels: LabelSet) -> SourceCase:
    """Read channels and label map, which must share one grid.

    Raises:
        ScanError: as `read_channels`; or label values that the dataset does not have.
    """
    source = read_channels(case.channels)
    if case.label is None:
        return source
    label = read_label_map(case.label)
    _check_grid(case.label, label.grid, case.channels[0].path, source.file_grid)
    _check_values(case.label, label.array, labels)
    return SourceCase(source.image, to_canonical(label).array, source.affine, source.file_grid)


def _check_grid(path: Path, grid: Grid, other: Path, expected: Grid) -> None:
    if grid.shape != expected.shape:
        raise ScanError(
            f"{path} has shape {_times(grid.shape)}, {other.name} has {_times(expected.shape)}",
            "Resample one to the other's grid.",
        )
    if not grid.same_as(expected, _TOLERANCE):
        worst = float(np.abs(grid.affine - expected.affine).max())
        raise ScanError(
            f"{path} has another affine than {other.name} (largest difference {worst:.3g})",
            "Correct the header of the wrong one, or resample it.",
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_intensities(channel: Channel, array: NDArray[np.float32]) -> None:
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise ScanError(
            f"{channel.path} has {count} voxels that are NaN or infinite",
            "Replace them (by 0, or -1024 in CT).",
        )
    if low == high:
        raise ScanError(
            f"{channel.path} is constant: every voxel is {low:g}", "Export the scan again."
        )


def _check_values(path: Path, array: NDArray[Any], labels: LabelSet) -> None:
    present = np.flatnonzero(np.bincount(array.ravel()))
    unknown = sorted({int(value) for value in present} - set(labels.values))
    if unknown:
        raise ScanError(
            f"{path} has the label {', '.join(map(str, unknown[:5]))}, the dataset has "
            f"{', '.join(map(str, labels.values))}",
            "Correct the label map, or the labels of dataset.json.",
        )
