"""NIfTI files (and FreeSurfer's): read with the checks a user needs."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, whole_numbers
from mednext_cli.volumes.stored import StoredScan, read_stored
from mednext_cli.volumes.volume import Grid, Volume

_COARSEST_STEP = 0.5  # a scaling by steps of half a label and more is no rounding
_SINGLE = float(np.finfo(np.float32).eps)


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine of a scan, from its header alone.

    Raises:
        ScanError: as `read_volume`, as far as the header tells.
    """
    return grid_of(read_stored(path), index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """A scan as float32, its scaling applied, in the file's own axis order.

    Args:
        path: a NIfTI file.
        index: which volume of a 4D file to take; None for a 3D file.

    Raises:
        ScanError: missing, unreadable or truncated; colour; 4D without an index, or without that
            volume; spacing or affine that describe no grid.
    """
    stored = read_stored(path)
    grid = grid_of(stored, index)
    values = stored.read(index)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite: checked where it matters
        if stored.scaling is None:
            return Volume(np.asarray(values, dtype=np.float32), grid.affine)
        return Volume(_scaled(values, stored.scaling, np.float32), grid.affine)


def read_label_map(path: Path) -> Volume:
    """A label map as integers (the smallest type that holds them), in the file's own axis order.

    Raises:
        ScanError: as `read_volume`; or values that are not whole numbers from 0 to 65535, but for
            what the stored type and its scaling round.
    """
    stored = read_stored(path)
    grid = grid_of(stored, None)
    values, error = stored.read(None), 0.0
    if stored.scaling is not None:
        slope, inter = stored.scaling
        values = _scaled(values, stored.scaling, np.float64)
        step = abs(slope) if abs(slope) < _COARSEST_STEP else 0.0
        error = step / 2 + 2 * _SINGLE * abs(inter)
    labels, notes = whole_numbers(path, values, error)
    return Volume(labels, grid.affine, notes)


def geometry_notes(path: Path) -> tuple[str, ...]:
    """What is odd about where a scan lies, though it can be used; a line each.

    Raises:
        ScanError: as `read_grid`.
    """
    return read_stored(path).notes


def grid_of(stored: StoredScan, index: int | None) -> Grid:
    """The grid of a scan, or of one volume of a file with four axes.

    Raises:
        ScanError: it has more or fewer axes, or not that volume; the affine describes no grid.
    """
    shape, path = stored.shape, stored.path
    if index is not None and len(shape) == 4 and not 0 <= index < shape[3]:
        raise ScanError(
            f"{path} holds {shape[3]} volumes, volume {index + 1} is missing",
            "Check the channels that dataset.json lists.",
        )
    if len(shape) != (3 if index is None else 4):
        wanted = "3D" if index is None else "4D"
        raise ScanError(
            f"{path} is not {wanted}: its shape is {' x '.join(map(str, shape))}",
            "Split it into one 3D file a channel." if len(shape) > 3 else "Check the file.",
        )
    return Grid((shape[0], shape[1], shape[2]), check_affine(path, stored.affine))


def _scaled(
    values: NDArray[Any], scaling: tuple[float, float], kind: type[np.floating[Any]]
) -> NDArray[Any]:
    """Slope and intercept applied in double precision, a slice at a time to save memory."""
    slope, inter = scaling
    made = np.empty(values.shape, dtype=kind, order="F")
    for index in range(values.shape[-1]):
        made[..., index] = values[..., index].astype(np.float64) * slope + inter
    return made
