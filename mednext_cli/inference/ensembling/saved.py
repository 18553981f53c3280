"""Folders of predictions with probabilities: what is in them, read class by class."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mednext_cli.foundation.errors import ScanError, SettingsError
from mednext_cli.inference.record_file import read_record
from mednext_cli.settings.labels import LabelSet, contradictions
from mednext_cli.volumes.orientation import difference
from mednext_cli.volumes.volume import Grid

_SUFFIX = "_probabilities.npz"
_AGAIN = "Predict it again with --probabilities."
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError)


def find_saved(folder: Path) -> dict[str, Path]:
    """Files of probabilities by case id.

    Raises:
        SettingsError: there are none.
    """
    found = {
        path.name.removesuffix(_SUFFIX): path for path in sorted(folder.glob(f"[!.]*{_SUFFIX}"))
    }
    if not found:
        raise SettingsError(
            f"{folder} holds no CASE{_SUFFIX}", "Give folders of mednext predict --probabilities."
        )
    return found


def read_saved_labels(folder: Path) -> LabelSet:
    """What the probabilities of a folder are of.

    Raises:
        SettingsError: its predict.json does not say so.
    """
    table: Any = read_record(folder).provenance.get("label_set")
    try:
        labels = LabelSet(
            names=table["labels"],
            regions=table["regions"],
            region_training=table["region_training"],
            region_values=tuple(table["region_values"]),
        )
        problems = contradictions(labels)
    except (LookupError, TypeError, ValidationError):
        problems = ["it has no whole label set"]
    if problems:
        raise SettingsError(
            f"{folder / 'predict.json'} does not say what the probabilities are of: {problems[0]}",
            "Predict again with this mednext.",
        )
    return labels


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
    _stream: IO[bytes]
    _type: np.dtype[Any]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Each class's voxels in turn, once.

        Raises:
            ScanError: the file is damaged.
        """
        size = prod(self.grid.shape) * self._type.itemsize
        for _ in range(self.classes):
            with _reading(self.path):
                values = np.frombuffer(self._stream.read(size), self._type)
                whole = values.reshape(self.grid.shape).astype(np.float32)
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
            archive = stack.enter_context(zipfile.ZipFile(path))
            with archive.open("affine.npy") as stream:
                affine = np.lib.format.read_array(stream, allow_pickle=False)
            whole = stack.enter_context(archive.open("probabilities.npy"))
            np.lib.format.read_magic(whole)
            shape, by_columns, kind = np.lib.format.read_array_header_1_0(whole)
            if by_columns or kind.kind != "f" or len(shape) != 4 or not _is_affine(affine):
                raise ValueError("not as mednext predict writes it")
        if shape[0] != labels.output_channels:
            raise ScanError(
                f"{path} holds {shape[0]} classes or regions, there are {labels.output_channels}",
                _AGAIN,
            )
        grid = Grid((shape[1], shape[2], shape[3]), affine.astype(np.float64))
        yield Saved(path, grid, shape[0], whole, kind)


def _is_affine(found: NDArray[Any]) -> bool:
    """Whether it takes voxels to a world of three axes."""
    if found.shape != (4, 4) or found.dtype.kind != "f" or not np.isfinite(found).all():
        return False
    return bool(np.linalg.det(found[:3, :3].astype(np.float64)) != 0)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ScanError(f"{path} cannot be read: {error or 'it is cut off'}", _AGAIN) from error


def average(members: Sequence[Saved], shares: Sequence[float]) -> Iterator[NDArray[np.float32]]:
    """The weighted average of several files, class by class.

    Args:
        members: of one case.
        shares: of each; they sum to 1.

    Raises:
        ScanError: a file is damaged, or lies on another grid than the first.
    """
    first = members[0]
    for other in members[1:]:
        if not other.grid.same_as(first.grid):
            raise ScanError(
                f"{other.path} lies on another grid than {first.path}: "
                f"{difference(other.grid, first.grid)}",
                "They are of different scans, it seems.",
            )
    for classes in zip(*members, strict=True):
        total = np.zeros(first.grid.shape, dtype=np.float32)
        for scores, share in zip(classes, shares, strict=True):
            total += np.float32(share) * scores
        yield total
