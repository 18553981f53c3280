"""One file of saved probabilities, read class by class: HDF5, or npz of earlier versions."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache.storage import storage_problems
from mednext_cli.foundation.errors import ScanError
from mednext_cli.inference import probabilities as schema
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.volume import Grid

_AGAIN = "Predict it again with --probabilities."
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error),
    *(LookupError, TypeError, ValueError, OSError, EOFError, RuntimeError),
)
_FOREIGN = "not as mednext predict writes it"
_CUT = "it is damaged or cut off"
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
_MOST_EXPANSION = 2000  # deflate reaches 1032
_SMALL = 2**26  # bytes that any file may grow to


@dataclass(frozen=True)
class Saved:
    """The probabilities of a case in one file, still to be read.

    Attributes:
        path: of the file.
        grid: of the voxels.
        classes: or regions, how many there are.
    """

    path: Path
    grid: Grid
    classes: int
    _each: Iterator[NDArray[np.floating[Any]]]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Each class's voxels in turn, once.

        Raises:
            ScanError: the file is damaged.
        """
        for _ in range(self.classes):
            with _reading(self.path):
                whole = next(self._each).astype(np.float32)
                if np.isnan(whole.sum()):
                    raise ValueError("it holds NaN")
            yield whole


@contextmanager
def open_saved(path: Path, labels: LabelSet) -> Iterator[Saved]:
    """The probabilities of a case.

    Args:
        path: of the file.
        labels: what they are of.

    Raises:
        ScanError: the file is damaged, or of other classes.
    """
    with ExitStack() as stack:
        with _reading(path):
            opened = _open_hdf5 if path.suffix == ".h5" else _open_npz
            saved = opened(path, labels, stack)
        if saved.classes != labels.output_channels:
            raise ScanError(
                f"{path} holds {saved.classes} classes or regions, there are "
                f"{labels.output_channels}",
                _AGAIN,
            )
        yield saved


def _open_hdf5(path: Path, labels: LabelSet, stack: ExitStack) -> Saved:
    file = stack.enter_context(h5py.File(path, "r", locking=False, rdcc_nbytes=0))
    if not isinstance(file.get(schema.DATASET, getlink=True), h5py.HardLink):
        raise ValueError(_FOREIGN)
    array = file[schema.DATASET]
    problems = storage_problems(array, _FILTERS)
    if problems or array.dtype != np.float16 or array.ndim != 4:
        raise ValueError(_FOREIGN)
    if array.nbytes > max(_SMALL, _MOST_EXPANSION * path.stat().st_size):
        raise ValueError("it claims to be far larger than it is")
    names, kind = tuple(map(str, file.attrs[schema.NAMES])), file.attrs[schema.KIND]
    same = names == labels.output_names and (kind == schema.REGIONS) == labels.region_training
    if len(names) == len(array) == labels.output_channels and not same:
        raise ValueError("it is of other classes or regions than its folder's predict.json says")
    grid = _grid(array.shape[1:], np.asarray(file.attrs[schema.AFFINE]))
    return Saved(path, grid, len(array), (array[index] for index in range(len(array))))


def _open_npz(path: Path, _: LabelSet, stack: ExitStack) -> Saved:
    """Its array is read without being whole in memory."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    with archive.open("affine.npy") as stream:
        affine = np.lib.format.read_array(stream, allow_pickle=False)
    whole = stack.enter_context(archive.open("probabilities.npy"))
    np.lib.format.read_magic(whole)
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(whole)
    if by_columns or kind.kind != "f" or len(shape) != 4:
        raise ValueError(_FOREIGN)
    grid = _grid(shape[1:], affine)
    return Saved(path, grid, shape[0], _stored(whole, kind, grid))


def _stored(stream: IO[bytes], kind: np.dtype[Any], grid: Grid) -> Iterator[NDArray[Any]]:
    size = prod(grid.shape) * kind.itemsize
    while True:
        yield np.frombuffer(stream.read(size), kind).reshape(grid.shape)


def _grid(shape: tuple[int, int, int], affine: NDArray[Any]) -> Grid:
    """Raises `ValueError` where the affine does not take voxels to a world of three axes."""
    regular = affine.shape == (4, 4) and affine.dtype.kind == "f" and np.isfinite(affine).all()
    if not regular or np.linalg.det(affine[:3, :3].astype(np.float64)) == 0:
        raise ValueError(_FOREIGN)
    return Grid((shape[0], shape[1], shape[2]), affine.astype(np.float64))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        reason = str(error) if isinstance(error, ValueError) else ""
        if isinstance(error, OSError) and error.errno:  # HDF5's own text is long
            reason = os.strerror(error.errno)
        raise ScanError(f"{path} cannot be read: {reason or _CUT}", _AGAIN) from error
