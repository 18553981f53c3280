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


@dataclass(eq=False)
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

    def release(self) -> None:
        """Let go of the voxels, which nobody needs any more."""
        self.image, self.label = np.empty((1, 0, 0, 0), dtype=np.float32), None


def read_channels(channels: tuple[Channel, ...]) -> SourceCase:
    """Read the channels of a case, which must share one grid.

    Raises:
        ScanError: a file cannot be read, grids differ, or intensities are NaN, infinite or all
            the same; names the file.
    """
    file_grid, first = _read_channel(channels[0])
    image = first.array[np.newaxis]
    if len(channels) > 1:
        image = np.empty((len(channels), *first.array.shape), dtype=np.float32)
        image[0] = first.array
    for index, channel in enumerate(channels[1:], start=1):
        grid, volume = _read_channel(channel)
        _check_grid(channel.path, grid, channels[0].path, file_grid)
        image[index] = volume.array
    return SourceCase(image, None, first.affine, file_grid)


def _read_channel(channel: Channel) -> tuple[Grid, Volume]:
    """The file's grid, and the volume in canonical orientation."""
    volume = read_volume(channel.path, channel.index)
    _check_intensities(channel, volume.array)
    return volume.grid, to_canonical(volume)


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
            f"{path} has the shape {_times(grid.shape)}, {other} {_times(expected.shape)}",
            "Resample one to the other's grid.",
        )
    if not grid.same_as(expected, _TOLERANCE):
        worst = float(np.abs(grid.affine - expected.affine).max())
        raise ScanError(
            f"{path} has another affine than {other} (entries differ by up to {worst:.3g})",
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
    unknown = sorted(set(_values_in(array)) - set(labels.values))
    if unknown:
        raise ScanError(
            f"{path} has the label {', '.join(map(str, unknown[:5]))}, the dataset has "
            f"{', '.join(map(str, labels.values))}",
            "Correct the label map, or the labels of dataset.json.",
        )


def _values_in(array: NDArray[Any]) -> list[int]:
    """The values of a label map, counted plane by plane: counting takes 8 bytes a voxel."""
    present = np.zeros(int(array.max(initial=0)) + 1, dtype=np.bool_)
    for plane in array:
        present |= np.bincount(plane.ravel(), minlength=len(present)) > 0
    return [int(value) for value in np.flatnonzero(present)]
