"""Read a case's files with every check that makes preprocessing trustworthy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.case_labels import read_case_label
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import ScanError
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.orientation import difference, on_another_grid, to_canonical, turned_onto
from mednext_cli.volumes.regrid import regrid_labels
from mednext_cli.volumes.scans import check_last, format_of, read_volumes
from mednext_cli.volumes.volume import Affine, Grid, Spacing, Volume

_RESAMPLE = "add --resample-labels to mednext preprocess"


@dataclass(eq=False)
class SourceCase:
    """A case as read, in canonical orientation.

    Attributes:
        image: (C, D, H, W) float32.
        label: (D, H, W) original label values, or None.
        affine: of the canonical grid.
        file_grid: of the file, in its own axis order.
        notes: what is odd about the case, though it can be used; a line each.
        label_resampled: whether the label map was brought onto the image's grid.
    """

    image: NDArray[np.float32]
    label: NDArray[Any] | None
    affine: Affine
    file_grid: Grid
    notes: tuple[str, ...] = ()
    label_resampled: bool = False

    @property
    def spacing_mm(self) -> Spacing:
        """Of the canonical grid (D, H, W), mm."""
        return Volume(self.image[0], self.affine).spacing_mm

    def release(self) -> None:
        """Let go of the voxels, which nobody needs any more."""
        self.image, self.label = np.empty((1, 0, 0, 0), dtype=np.float32), None


def read_channels(channels: tuple[Channel, ...]) -> SourceCase:
    """Read the channels of a case, which must share one grid, be they stored this way or that.

    Raises:
        ScanError: a file cannot be read, grids differ, or intensities are NaN, infinite or all
            the same; names the file.
    """
    check_last(channels[-1].path, channels[-1].index)
    source = stack_channels(channels, read_in_order(channels))
    path = channels[0].path
    return replace(source, notes=format_of(path).notes(path))


def stack_channels(channels: tuple[Channel, ...], volumes: Iterator[Volume]) -> SourceCase:
    """The channels of a case in canonical orientation; one volume is held beside them.

    Args:
        channels: where they come from, for messages.
        volumes: of each channel, in the order of its file.

    Raises:
        ScanError: grids differ, or intensities are NaN, infinite or all the same.
    """
    path, checked = channels[0].path, map(_checked, channels, volumes)
    first = next(checked)
    file_grid, turned = first.grid, to_canonical(first)
    del first
    image = turned.array[np.newaxis]
    if len(channels) > 1:
        image = np.empty((len(channels), *turned.array.shape), dtype=np.float32)
        image[0] = turned.array
    for index, (channel, volume) in enumerate(zip(channels[1:], checked, strict=True), start=1):
        image[index] = to_canonical(on_grid(channel.path, volume, path, file_grid)).array
    return SourceCase(image, None, turned.affine, file_grid)


def read_in_order(channels: tuple[Channel, ...]) -> Iterator[Volume]:
    """The channels one by one; those of one file, which is unpacked once, stand together.

    Raises:
        ScanError: as `volumes.scans.read_volume`.
    """
    for path, group in groupby(channels, key=lambda channel: channel.path):
        together = list(group)
        yield from read_volumes(path, [channel.index for channel in together])


def _checked(channel: Channel, volume: Volume) -> Volume:
    _check_intensities(channel, volume.array)
    return volume


def read_case(case: Case, labels: LabelSet, resample_label: bool = False) -> SourceCase:
    """Read channels and label map, which must share one grid.

    Args:
        case: the case.
        labels: which label values there may be.
        resample_label: bring a label map on another grid onto the image's instead.

    Raises:
        ScanError: as `read_channels`; or label values that the dataset does not have.
    """
    source = read_channels(case.channels)
    if case.label is None:
        return source
    found, notes = read_case_label(case, source.file_grid)
    elsewhere = resample_label and turned_onto(found, source.file_grid) is None
    if elsewhere:
        label, note = _resampled(case.label, found, source.file_grid)
        notes = (*notes, note)
    else:
        label = on_grid(case.label, found, case.channels[0].path, source.file_grid, _RESAMPLE)
    _check_values(case.label, label.array, labels)
    notes = (*source.notes, *notes)
    if case.masks is None:
        notes = (*notes, *format_of(case.label).notes(case.label))
    return replace(source, label=to_canonical(label).array, notes=notes, label_resampled=elsewhere)


def _resampled(path: Path, label: Volume, grid: Grid) -> tuple[Volume, str]:
    """The label map on the image's grid, and what to say of it."""
    made = regrid_labels(label, grid)
    if label.array.any() and not made.array.any():
        raise ScanError(
            f"{path} has no label where the image lies: {difference(label.grid, grid)}",
            "Check that it belongs to this image.",
        )
    note = f"resampled onto the image's grid (nearest voxel): {difference(label.grid, grid)}"
    return made, f"{path.name}: {note}"


def on_grid(
    path: Path, volume: Volume, other: Path, expected: Grid, way_out: str = "resample it"
) -> Volume:
    """The volume in the array order of another file, whose grid it must share.

    Args:
        path: of the volume.
        volume: as read.
        other: whose grid it must share.
        expected: that grid.
        way_out: what to do where it does not.

    Raises:
        ScanError: it lies elsewhere.
    """
    turned = turned_onto(volume, expected)
    if turned is None:
        raise ScanError(
            on_another_grid(path, volume.grid, other, expected),
            f"Correct the header of the wrong one, or {way_out}.",
        )
    return turned


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
    if set(range(int(array.max(initial=0)) + 1)) <= set(labels.values):
        return  # without counting
    unknown = sorted(set(_values_in(array)) - set(labels.values))
    if unknown:
        raise ScanError(
            f"{path} has the label {', '.join(map(str, unknown[:5]))}, the dataset has "
            f"{', '.join(map(str, labels.values))}",
            labels.advice(unknown),
        )


def _values_in(array: NDArray[Any]) -> list[int]:
    """The values of a label map, counted plane by plane: counting takes 8 bytes a voxel."""
    present = np.zeros(int(array.max(initial=0)) + 1, dtype=np.bool_)
    for plane in np.moveaxis(array, int(np.argmax(np.abs(array.strides))), 0):
        present |= np.bincount(plane.ravel(order="K"), minlength=len(present)) > 0
    return [int(value) for value in np.flatnonzero(present)]
