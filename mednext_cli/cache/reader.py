"""Read a cache: from any process, whole cases or patches."""

import json
import os
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache import schema
from mednext_cli.cache.case_file import damaged, open_case_file
from mednext_cli.cache.description import CaseEntry, Description, check_description
from mednext_cli.cache.writer import checksum
from mednext_cli.foundation.errors import CacheError, DatasetError, nearest
from mednext_cli.foundation.files import read_json

Slices = tuple[slice, ...]
_OPEN_FILES = 32


class CachedCase:
    """One case; its file is opened when something is read, in the process that reads."""

    def __init__(self, dataset: "CachedDataset", case_id: str) -> None:
        self._dataset = dataset
        self.case_id = case_id

    @property
    def path(self) -> Path:
        """The case's file."""
        return schema.case_file(self._dataset.folder, self.case_id)

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(C, D, H, W), known without opening the file."""
        channels, depth, height, width = self._dataset.entry(self.case_id).shape
        return channels, depth, height, width

    @property
    def stored_dtype(self) -> np.dtype[np.floating[Any]]:
        """What the image is stored in, float16 or float32."""
        found: np.dtype[np.floating[Any]] = self._dataset.open_array(self.path, schema.IMAGE).dtype
        return found

    @property
    def sealed(self) -> bool:
        """Whether the file has a checksum of all its bytes; early ones have not."""
        return schema.SEALED in self._open().attrs

    def read_image(self, region: Slices | None = None) -> NDArray[np.float32]:
        """(C, D, H, W) float32: all of it, or all channels of a region of (D, H, W)."""
        return _as_float32(self.read_stored(region))

    def read_stored(self, region: Slices | None = None) -> NDArray[np.floating[Any]]:
        """(C, D, H, W) of the type it is cached in, float16 or float32: all of it, or a region."""
        found: NDArray[np.floating[Any]] = self._read(
            schema.IMAGE, (slice(None), *region) if region else ()
        )
        return found

    def read_label(self, region: Slices | None = None) -> NDArray[np.uint8]:
        """(D, H, W) class indices: all of it, or a region.

        Raises:
            CacheError: the case has no label.
        """
        found: NDArray[np.uint8] = self._read(schema.LABEL, region or ())
        return found

    @property
    def foreground(self) -> dict[int, NDArray[np.integer[Any]]]:
        """Sampled voxels (n, 3) of each class index above 0."""
        file = self._open()
        if schema.FOREGROUND not in file:
            return {}
        names = {index: f"{schema.FOREGROUND}/{index}" for index in file[schema.FOREGROUND]}
        return {int(index): self._voxels(name) for index, name in names.items()}

    @property
    def classes(self) -> tuple[int, ...]:
        """The class indices above 0 that the label map has, without reading it."""
        found = self._open().get(schema.FOREGROUND, {})
        return tuple(sorted(int(index) for index, voxels in found.items() if len(voxels)))

    def _voxels(self, name: str) -> NDArray[np.integer[Any]]:
        voxels: NDArray[np.integer[Any]] = self._read(name, ())
        shape = self.image_shape[1:]
        if voxels.shape[1] != len(shape) or not np.all((voxels >= 0) & (voxels < shape)):
            raise damaged(self.path, f"{name} lies outside the image")
        return voxels

    @property
    def geometry(self) -> dict[str, Any]:
        """The way back to the scan's own grid, as JSON."""
        return self._table(schema.GEOMETRY)

    @property
    def image_paths(self) -> list[str]:
        """The raw files of the channels."""
        return [str(path) for path in self._table(schema.SOURCES).get("images") or ()]

    @property
    def label_path(self) -> str | None:
        """The raw label map."""
        path = self._table(schema.SOURCES).get("label")
        return None if path is None else str(path)

    @property
    def key(self) -> str:
        """Hash of everything the file was made from."""
        try:
            return str(self._open().attrs[schema.KEY])
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, CacheError):
                raise
            raise damaged(self.path, "it has no key") from error

    def check(self) -> None:
        """Compare every dataset with its checksum.

        Raises:
            CacheError: the file is damaged; names the dataset.
        """
        sums = self._table(schema.CHECKSUMS)
        labelled = self._dataset.entry(self.case_id).labelled
        for name in (schema.IMAGE, *((schema.LABEL,) if labelled else ())):
            if name not in sums:
                raise damaged(self.path, f"it has no checksum of its {name}")
        for name, expected in sums.items():
            if checksum(self._read(name, ())) != expected:
                raise CacheError(
                    f"{self.path}: {name} does not match its checksum",
                    "Delete the file and run mednext preprocess again.",
                )

    def _table(self, name: str) -> dict[str, Any]:
        values = self._attribute(name)
        if not isinstance(values, dict):
            raise damaged(self.path, f"its {name} is no table")
        return values

    def _attribute(self, name: str) -> Any:  # noqa: ANN401 - JSON
        try:
            return json.loads(self._open().attrs[name])
        except (KeyError, TypeError, ValueError, RecursionError, OSError) as error:
            if isinstance(error, CacheError):
                raise
            raise damaged(self.path, f"its {name} cannot be read") from error

    def _read(self, name: str, region: Slices) -> Any:  # noqa: ANN401 - h5py is untyped
        array = self._dataset.open_array(self.path, name)
        expected = {schema.IMAGE: self.image_shape, schema.LABEL: self.image_shape[1:]}
        if array.shape != expected.get(name, array.shape):
            raise CacheError(
                f"{self.path} is of another run than dataset.json",
                "Delete the file and run mednext preprocess again.",
            )
        try:
            return array[region]
        except Exception as error:  # whatever a decoder trips over, the file is to blame
            raise damaged(self.path) from error

    def _open(self) -> h5py.File:
        return self._dataset.open_file(self.path)


class CachedDataset:
    """A dataset's cache folder.

    Attributes:
        folder: ``CACHE/NAME``.
        plan: how the cases were prepared.
        fingerprint: what the raw cases looked like.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder, self.plan = folder, description.plan
        self.fingerprint = description.fingerprint
        self._cases = description.cases
        self._files: OrderedDict[Path, h5py.File] = OrderedDict()
        self._arrays: dict[Path, dict[str, h5py.Dataset]] = {}
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.plan.dataset

    @cached_property
    def case_ids(self) -> tuple[str, ...]:
        """All cases, sorted."""
        return tuple(sorted(self._cases))

    @cached_property
    def labelled_ids(self) -> tuple[str, ...]:
        """The cases with a label map, sorted."""
        return tuple(name for name in self.case_ids if self._cases[name].labelled)

    def entry(self, case_id: str) -> CaseEntry:
        """What ``dataset.json`` says of a case."""
        if case_id not in self._cases:
            raise CacheError(
                f"{self.folder} has no case {case_id!r}", nearest(case_id, list(self._cases))
            )
        return self._cases[case_id]

    def case(self, case_id: str) -> CachedCase:
        """One case.

        Raises:
            CacheError: there is none of that id.
        """
        self.entry(case_id)
        return CachedCase(self, case_id)

    def keys(self, case_ids: Iterable[str]) -> dict[str, str]:
        """What these cases were made from, by id: two caches with equal keys hold equal voxels.

        Raises:
            CacheError: there is no such case, or its file is missing or damaged.
        """
        return {case_id: self.case(case_id).key for case_id in case_ids}

    def open_file(self, path: Path) -> h5py.File:
        """The file's handle in this process; the oldest of too many is closed."""
        if self._process != os.getpid():
            self._files, self._arrays, self._process = OrderedDict(), {}, os.getpid()
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        while len(self._files) >= _OPEN_FILES:
            self._close_oldest()
        self._files[path] = open_case_file(path)
        return self._files[path]

    def open_array(self, path: Path, name: str) -> h5py.Dataset:
        """A dataset of an open file, which knows where its chunks are once it was read from.

        Raises:
            CacheError: the file has no such dataset, or cannot be opened.
        """
        file = self.open_file(path)
        arrays = self._arrays.setdefault(path, {})
        if name not in arrays:
            if name not in file:
                raise CacheError(f"{path} has no {name}", "Run mednext preprocess again.")
            arrays[name] = file[name]
        return arrays[name]

    def close(self) -> None:
        """Close every open file."""
        while self._files:
            self._close_oldest()

    def _close_oldest(self) -> None:
        path, file = self._files.popitem(last=False)
        self._arrays.pop(path, None)
        file.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_files": OrderedDict(), "_arrays": {}}


def _as_float32(array: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    if array.dtype == np.float32:
        return array.astype(np.float32, copy=False)
    from torch import from_numpy  # ten times as fast as NumPy at float16

    made: NDArray[np.float32] = from_numpy(array).float().numpy()
    return made


def open_cache(folder: Path) -> CachedDataset:
    """Open a dataset's cache folder.

    Raises:
        CacheError: missing, damaged, or made by another version of mednext.
    """
    path = schema.description_file(folder)
    if not path.is_file():
        raise CacheError(
            f"{folder} is not a cache: it has no dataset.json",
            "Make it with mednext preprocess RAW --dataset NAME, or check --cache.",
        )
    try:
        description = read_json(path)
    except DatasetError as error:
        raise CacheError(error.message, "Run mednext preprocess again.") from error
    return CachedDataset(folder, check_description(path, description))
