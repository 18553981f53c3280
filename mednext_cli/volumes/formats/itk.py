"""NRRD and MetaImage files through SimpleITK (extra ``simpleitk``).

Arrays have ITK's axes (x, y, z), the order in which the file stores them; affines are turned from
ITK's LPS world to RAS.
"""

import re
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, check_spacing, whole_numbers
from mednext_cli.volumes.formats.format import Format, Template
from mednext_cli.volumes.formats.itk_files import ItkHeader, damaged, is_meta, read_header
from mednext_cli.volumes.orientation import laid_as_canonical
from mednext_cli.volumes.scan_names import ITK_ENDINGS, ending_of
from mednext_cli.volumes.volume import LPS_TO_RAS, Affine, Grid, Volume


class Itk(Format):
    """NRRD and MetaImage."""

    endings = ITK_ENDINGS

    def recognises(self, path: Path) -> bool:
        """By the name."""
        return ending_of(path.name).lower() in self.endings

    def read_grid(self, path: Path, index: int | None = None) -> Grid:
        """See `Format`."""
        return _grid(path, _information(path), index)

    def read_volumes(self, path: Path, indices: Sequence[int | None]) -> Iterator[Volume]:
        """See `Format`; an index takes a component of a vector image."""
        reader = _information(path)
        first = _grid(path, reader, indices[0])
        values = _values(path, reader)
        for index in indices:
            grid = first if index == indices[0] else _grid(path, reader, index)
            component = values if index is None else values[..., index]
            yield Volume(laid_as_canonical(component, grid), grid.affine)

    def read_label_map(self, path: Path) -> Volume:
        """See `Format`."""
        reader = _information(path)
        grid = _grid(path, reader, None)
        labels, notes = whole_numbers(path, _values(path, reader))
        return Volume(labels, grid.affine, notes)

    def template(self, path: Path) -> Template:
        """See `Format`; every component lies on the same grid."""
        reader = _information(path)
        index = 0 if int(reader.GetNumberOfComponents()) > 1 else None
        return Template(path, _grid(path, reader, index))

    def files_of(self, path: Path) -> list[Path]:
        """See `Format`; a header and its voxels where these lie apart."""
        if ending_of(path.name).lower() not in (".mhd", ".nhdr"):
            return [path]
        return list(dict.fromkeys([path, read_header(path).voxels]))


ITK = Itk()


def _values(path: Path, reader: Any) -> NDArray[Any]:  # noqa: ANN401
    """The voxels as they are stored, (x, y, z), of vectors with their components behind."""
    try:
        values = _library(path).GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise damaged(path) from error
    return np.asarray(values.transpose(2, 1, 0, *range(3, values.ndim)))


def _library(path: Path) -> Any:  # noqa: ANN401 - SimpleITK is untyped
    try:
        import SimpleITK
    except ImportError as error:
        raise ScanError(
            f"{path} needs SimpleITK, which is not installed",
            "pip install 'mednext[simpleitk]', or convert it to .nii.gz.",
        ) from error
    return SimpleITK


def _information(path: Path) -> Any:  # noqa: ANN401
    itk = _library(path)
    header = read_header(path)
    reader = itk.ImageFileReader()
    # Named: ITK does not know every ending in upper case, and would guess by the content.
    reader.SetImageIO("MetaImageIO" if is_meta(path) else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged(path) from error
    _check_size(path, header, reader, itk)
    return reader


def _check_size(path: Path, header: ItkHeader, reader: Any, itk: Any) -> None:  # noqa: ANN401
    """Refuse a header that claims more than its file can hold, before memory is asked for it."""
    bits = re.search(r"\d+", itk.GetPixelIDValueAsString(reader.GetPixelID()))
    values = prod(int(length) for length in reader.GetSize()) * reader.GetNumberOfComponents()
    claimed = values * (int(bits[0]) if bits else 8) // 8
    size = header.voxels.stat().st_size
    if claimed > size * header.growth:
        raise ScanError(
            f"{path} is damaged: its header claims {claimed / 2**30:.3g} GiB of voxels, the file "
            f"has {size} bytes",
            "Download or copy it again.",
        )


def _grid(path: Path, reader: Any, index: int | None) -> Grid:  # noqa: ANN401
    shape = tuple(int(length) for length in reader.GetSize())
    count = int(reader.GetNumberOfComponents())
    if len(shape) != 3 or 0 in shape:
        raise ScanError(
            f"{path} is not 3D: its shape is {' x '.join(map(str, shape))}",
            "Split it into one 3D file a channel.",
        )
    if (index is None and count != 1) or (index is not None and not 0 <= index < count):
        wanted = "one" if index is None else f"{index + 1} or more"
        raise ScanError(
            f"{path} has {count} values a voxel, not {wanted}", "Save one 3D file a channel."
        )
    return Grid((shape[0], shape[1], shape[2]), _affine(path, reader))


def _affine(path: Path, reader: Any) -> Affine:  # noqa: ANN401
    spacing = np.array(reader.GetSpacing(), dtype=np.float64)
    check_spacing(path, spacing.tolist())
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * spacing
    affine[:3, 3] = reader.GetOrigin()
    return check_affine(path, LPS_TO_RAS @ affine)
