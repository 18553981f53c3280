"""Open a case file: only what `writer` writes is read, wherever the file comes from.

HDF5 can do much more: links into other files, voxels kept elsewhere, arrays made of other arrays,
shapes far larger than what is stored. A case file has none of it.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from mednext_cli.cache import schema
from mednext_cli.cache.storage import storage_problems
from mednext_cli.foundation.errors import CacheError
from mednext_cli.settings.reading import VERSION

_TYPES = {
    schema.IMAGE: (np.float16, np.float32),
    schema.LABEL: (np.uint8,),
    schema.FOREGROUND: (np.uint8, np.uint16, np.uint32, np.int32, np.int64),
}
_AXES = {schema.IMAGE: 4, schema.LABEL: 3, schema.FOREGROUND: 2}
_FILTERS = {
    hdf5plugin.Blosc.filter_id,
    hdf5plugin.Blosc2.filter_id,
    hdf5plugin.LZ4.filter_id,
    hdf5plugin.Zstd.filter_id,
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
}
_VERSIONS = range(1, VERSION + 1)  # of which nothing differs here
_MOST_EXPANSION = 1000  # voxels that are all equal shrink that much, no scan does
_SMALL = 2**26  # bytes


def open_case_file(path: Path) -> h5py.File:
    """Open a case file for reading.

    Raises:
        CacheError: missing, damaged, of another version, or with parts that mednext never writes.
    """
    try:
        # Files are replaced, never changed: no lock is needed, and network disks often have none.
        # Patches are read at random: no chunk is worth keeping.
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except FileNotFoundError as error:
        raise CacheError(f"{path} does not exist", "Run mednext preprocess again.") from error
    except OSError as error:
        raise damaged(path) from error
    try:
        if file.attrs.get("version") not in _VERSIONS:
            raise CacheError(f"{path} is of another version", "Run mednext preprocess again.")
        _check(file, path)
    except CacheError:
        file.close()
        raise
    except Exception as error:  # whatever HDF5 trips over, the file is to blame
        file.close()
        raise damaged(path) from error
    return file


def damaged(path: Path, reason: str = "") -> CacheError:
    """The error for a damaged case file."""
    why = f": {reason}" if reason else ""
    return CacheError(f"{path} is damaged{why}", "Delete it and run mednext preprocess again.")


def _check(file: h5py.File, path: Path) -> None:
    limit = max(_SMALL, _MOST_EXPANSION * path.stat().st_size)
    for kind, array in _arrays(file, path):
        for problem in _problems(kind, array):
            raise damaged(path, f"{array.name} {problem}")
        limit -= prod(array.shape) * array.dtype.itemsize
        if limit < 0:
            raise damaged(path, f"{array.name} is far larger than the file")


def _arrays(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every array with what it is: the image, the label, or foreground voxels of one class."""
    for name in _linked(file, path):
        if name == schema.FOREGROUND and isinstance(file[name], h5py.Group):
            for index in _linked(file[name], path):
                if not index.isascii() or not index.isdecimal():
                    raise damaged(path, "it has voxels of no class")
                yield name, _array(file[name][index], path)
        elif name in (schema.IMAGE, schema.LABEL):
            yield name, _array(file[name], path)
        else:
            raise damaged(path, "it holds more than a case")


def _linked(group: h5py.Group, path: Path) -> Iterator[str]:
    """Names in a group; what they name lies in the file itself."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise damaged(path, "it links to other files, or within itself")
        yield name


def _array(item: object, path: Path) -> h5py.Dataset:
    if not isinstance(item, h5py.Dataset):
        raise damaged(path, "it has a folder in place of an array")
    return item


def _problems(kind: str, array: h5py.Dataset) -> list[str]:
    problems = []
    if array.dtype not in _TYPES[kind] or len(array.shape) != _AXES[kind]:
        problems.append(f"is of type {array.dtype} with {len(array.shape)} axes")
    return problems + storage_problems(array, _FILTERS)
