"""Write case files, the description and the index; each appears whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache import schema
from mednext_cli.foundation.files import replacing, write_json

_CHUNK_VOXELS = 64  # a random 128^3 patch touches 8 to 27 chunks of it


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
    with replacing(path) as beside, h5py.File(beside, "w", libver="v110") as file:
        for name, array in arrays.items():
            _write_array(file, name, array)
        file.attrs[schema.KEY] = record.key
        file.attrs[schema.GEOMETRY] = json.dumps(record.geometry)
        file.attrs[schema.SOURCES] = json.dumps(record.sources)
        file.attrs[schema.CHECKSUMS] = json.dumps(checksums)
        file.attrs["format"], file.attrs["version"] = schema.FORMAT, schema.VERSION
    return path


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
    if array.size == 0:
        file.create_dataset(name, data=array)
        return
    spatial = array.shape[-3:] if array.ndim >= 3 else array.shape
    chunk = tuple(min(length, _CHUNK_VOXELS) for length in spatial)
    chunks = (*(1,) * (array.ndim - 3), *chunk) if array.ndim >= 3 else array.shape
    shuffle = (
        hdf5plugin.Blosc2.BITSHUFFLE if array.dtype.itemsize == 1 else hdf5plugin.Blosc2.SHUFFLE
    )
    file.create_dataset(
        name,
        data=array,
        chunks=chunks,
        **hdf5plugin.Blosc2(cname="zstd", clevel=3, filters=shuffle),
    )


def write_description(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``dataset.json`` with format and version."""
    header = {"format": schema.FORMAT, "version": schema.VERSION}
    write_json(schema.description_file(folder), {**header, **content})


def write_index(folder: Path, case_ids: tuple[str, ...]) -> None:
    """Write ``index.h5``: a link to each case's file."""
    with replacing(schema.index_file(folder)) as beside, h5py.File(beside, "w") as file:
        for case_id in case_ids:
            file[case_id] = h5py.ExternalLink(schema.case_file(folder, case_id).name, "/")
