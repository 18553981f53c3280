"""Write case files and the index; each appears whole or not at all."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache import schema
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.seal import seal
from mednext_cli.settings.reading import VERSION

# Random 128^3 patches come out of these 2.5 times as fast as of zstd in chunks of 64, which is 12 %
# smaller (benchmarks/preprocess.py).
_IMAGE_CHUNK, _IMAGE_FILTER = 32, hdf5plugin.Blosc(cname="lz4hc", clevel=1)
_LABEL_CHUNK, _LABEL_FILTER = 64, hdf5plugin.LZ4()
# A scan that fits into one chunk is read whole: there, size counts.
_SMALL, _SMALL_FILTER = 64, hdf5plugin.Blosc2(cname="zstd", clevel=1)


@dataclass(frozen=True, eq=False)
class CaseRecord:
    """One prepared case.

    Attributes:
        case_id: names the file.
        key: hash of everything the record was made from.
        image: (C, D, H, W), float16 or float32.
        label: (D, H, W) uint8 class indices, None for an unlabelled case.
        foreground: voxels (n, 3) by class index.
        geometry: the way back to the scan's own grid, plain JSON.
        sources: the raw files, plain JSON.
    """

    case_id: str
    key: str
    image: NDArray[np.floating[Any]]
    label: NDArray[np.uint8] | None
    foreground: Mapping[int, NDArray[np.integer[Any]]]
    geometry: Mapping[str, Any]
    sources: Mapping[str, Any]


def write_case(folder: Path, record: CaseRecord) -> Path:
    """Write ``CASE.h5``.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    path = schema.case_file(folder, record.case_id)
    arrays = _arrays(record)
    checksums = {name: checksum(array) for name, array in arrays.items()}
    attributes = {
        "format": schema.FORMAT,
        "version": VERSION,
        schema.KEY: record.key,
        schema.GEOMETRY: json.dumps(record.geometry),
        schema.SOURCES: json.dumps(record.sources),
        schema.CHECKSUMS: json.dumps(checksums),
        schema.SEALED: True,
    }
    with _writing(path) as file:
        for name, array in arrays.items():
            _write_array(file, name, array)
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


@contextmanager
def _writing(path: Path) -> Iterator[h5py.File]:
    """Build an HDF5 file in memory, then put it in place.

    On a full disk HDF5's own writes fail late, while closing, in ways that are hard to tell apart.
    """
    with h5py.File(path.name, "w", libver="v110", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    with replacing(path) as beside, beside.open("wb") as stream:
        stream.write(content)
        stream.write(seal(content))


def _arrays(record: CaseRecord) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {schema.IMAGE: record.image}
    if record.label is not None:
        arrays[schema.LABEL] = record.label
    for index, voxels in record.foreground.items():
        arrays[f"{schema.FOREGROUND}/{index}"] = voxels
    return arrays


def checksum(array: NDArray[Any]) -> str:
    """SHA-256 of an array's voxels, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    """Voxels in compressed chunks; the short lists of foreground voxels as they are."""
    if array.ndim < 3:
        file.create_dataset(name, data=array)
        return
    longest, compression = _IMAGE_CHUNK, _IMAGE_FILTER
    if max(array.shape[-3:]) <= _SMALL:
        longest, compression = _SMALL, _SMALL_FILTER
    elif array.dtype == np.uint8:
        longest, compression = _LABEL_CHUNK, _LABEL_FILTER
    chunks = (*(1,) * (array.ndim - 3), *(min(length, longest) for length in array.shape[-3:]))
    file.create_dataset(name, data=array, chunks=chunks, **compression)


def write_index(folder: Path, case_ids: tuple[str, ...]) -> None:
    """Write ``index.h5``: a link to each case's file."""
    with _writing(schema.index_file(folder)) as file:
        for case_id in case_ids:
            file[case_id] = h5py.ExternalLink(schema.case_file(folder, case_id).name, "/")
