"""NIfTI files (and FreeSurfer's): read with the checks a user needs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, whole_numbers
from mednext_cli.volumes.formats.format import Format, Template
from mednext_cli.volumes.orientation import laid_as_canonical
from mednext_cli.volumes.scan_names import NIFTI_ENDINGS, ending_of
from mednext_cli.volumes.volume import Grid, Volume

if TYPE_CHECKING:
    from mednext_cli.volumes.formats.nifti_header import StoredScan

_COARSEST_STEP = 0.5  # a scaling by steps of half a label and more is no rounding
_SINGLE = float(np.finfo(np.float32).eps)


class Nifti(Format):
    """NIfTI-1 and -2, alone or in pairs, packed or not, and FreeSurfer's MGH."""

    endings = NIFTI_ENDINGS
    suffix = ".nii.gz"

    def recognises(self, path: Path) -> bool:
        """By the name."""
        return ending_of(path.name).lower() in self.endings

    def read_grid(self, path: Path, index: int | None = None) -> Grid:
        """See `Format`."""
        return _grid(_read_stored(path), index)

    def read_volumes(self, path: Path, indices: Sequence[int | None]) -> Iterator[Volume]:
        """See `Format`; in memory as `orientation.to_canonical` has it, which copies nothing."""
        stored = _read_stored(path)
        grids = (_grid(stored, index) for index in indices)  # each looked at before it is read
        yield from map(partial(_volume, stored.scaling), grids, stored.read(indices))

    def read_label_map(self, path: Path) -> Volume:
        """See `Format`."""
        stored = _read_stored(path)
        grid = _grid(stored, None)
        (values,), error = stored.read(), 0.0
        if stored.scaling is not None:
            slope, inter = stored.scaling
            values = _scaled(values, slope, inter)
            step = abs(slope) if abs(slope) < _COARSEST_STEP else 0.0
            error = step / 2 + 2 * _SINGLE * abs(inter)
        labels, notes = whole_numbers(path, values, error)
        return Volume(labels, grid.affine, notes)

    def write_label_map(
        self, path: Path, array: NDArray[Any], like: Template, names: Mapping[str, int]
    ) -> None:
        """See `Format`; the file has no place for names."""
        from mednext_cli.volumes.formats.nifti_writer import write_labels

        write_labels(path, array, like)

    def template(self, path: Path) -> Template:
        """See `Format`; of four axes the first three count."""
        stored = _read_stored(path)
        return Template(path, _grid(stored, None if len(stored.shape) == 3 else 0), stored.header)

    def read_first_plane(self, path: Path) -> NDArray[Any]:
        """See `Format`."""
        stored = _read_stored(path)
        plane = stored.read_first_plane()
        return plane if stored.scaling is None else _scaled(plane, *stored.scaling)

    def notes(self, path: Path) -> tuple[str, ...]:
        """See `Format`."""
        return _read_stored(path).notes

    def files_of(self, path: Path) -> list[Path]:
        """See `Format`; two of a pair."""
        if not ending_of(path.name).lower().startswith(".hdr"):
            return [path]
        try:
            return list(dict.fromkeys([path, _read_stored(path).voxels]))
        except ScanError:  # reported when the scan is read
            return [path]


NIFTI = Nifti()


def _read_stored(path: Path) -> "StoredScan":
    """With nibabel, which is imported with the first scan: a call that reads none does without."""
    from mednext_cli.volumes.formats.nifti_header import read_stored

    return read_stored(path)


def _grid(stored: "StoredScan", index: int | None) -> Grid:
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


def _volume(
    scaling: tuple[float, float] | None, grid: Grid, values: NDArray[np.number[Any]]
) -> Volume:
    return Volume(laid_as_canonical(values, grid, scaling), grid.affine)


@np.errstate(over="ignore", invalid="ignore")  # infinite: checked where it matters
def _scaled(values: NDArray[Any], slope: float, inter: float) -> NDArray[np.float64]:
    """Slope and intercept applied in double precision, a slice at a time to save memory."""
    made = np.empty(values.shape, dtype=np.float64, order="F")
    for index in range(values.shape[-1]):
        made[..., index] = values[..., index].astype(np.float64) * slope + inter
    return made
