"""What an HDF5 array from anybody must not be: voxels kept in other files, filters nobody knows."""

from collections.abc import Set
from math import prod

import h5py

_LAYOUTS = {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}
_LARGEST_CHUNK = 2**26  # bytes; ours have 2**20


def storage_problems(array: h5py.Dataset, filters: Set[int]) -> list[str]:
    """What keeps an array from being read; empty where nothing does.

    Args:
        array: of a file that may come from anywhere.
        filters: ids of those that it may be compressed with.
    """
    stored = array.id.get_create_plist()
    problems = []
    if stored.get_layout() not in _LAYOUTS or stored.get_external_count():
        problems.append("is kept elsewhere")
    if not {stored.get_filter(number)[0] for number in range(stored.get_nfilters())} <= filters:
        problems.append("is compressed in an unknown way")
    if array.chunks and prod(array.chunks) * array.dtype.itemsize > _LARGEST_CHUNK:
        problems.append("has chunks that are too large")
    return problems
