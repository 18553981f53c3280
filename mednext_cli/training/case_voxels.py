"""Voxels of cached cases as training sees them: turned, in parts, kept in memory if wished."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.preprocessing.foreground import sample_annotated
from mednext_cli.volumes.turning import Turn

Image = NDArray[np.floating[Any]]
Label = NDArray[np.uint8]
Foreground = Mapping[int, NDArray[np.integer[Any]]]


class CaseMemory(Protocol):
    """Whole cases, (C, D, H, W) and (D, H, W) as they are cached, to be read only."""

    def recall(self, case_id: str) -> tuple[Image, Label] | None:
        """A case that was kept; None where it was not yet."""
        ...

    def keep(self, case_id: str, image: Image, label: Label) -> tuple[Image, Label]:
        """Keep a case, and give it as it will be recalled."""
        ...


class OwnMemory:
    """Cases that this process keeps for itself; copies of it in other processes begin empty."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[Image, Label]] = {}

    def recall(self, case_id: str) -> tuple[Image, Label] | None:
        """A case that was kept; None where it was not yet."""
        return self._cases.get(case_id)

    def keep(self, case_id: str, image: Image, label: Label) -> tuple[Image, Label]:
        """Keep a case, and give it as it will be recalled."""
        self._cases[case_id] = image, label
        return image, label

    def __getstate__(self) -> dict[str, Any]:
        return {"_cases": {}}


class CaseVoxels:
    """Parts of the turned cases of a cache.

    Args:
        cache: the dataset's cache folder.
        turn: cases are turned so.
        memory: where whole cases are kept once read; None reads parts anew each time.
    """

    def __init__(self, cache: Path, turn: Turn, memory: CaseMemory | None) -> None:
        self.memory = memory
        self._cache, self._turn = cache, turn
        self._cached: CachedDataset | None = None
        self._foreground: dict[str, Foreground] = {}
        self._annotated: dict[str, NDArray[np.integer[Any]]] = {}

    def channels(self, case_id: str) -> int:
        """How many channels the case has."""
        return self._dataset().case(case_id).image_shape[0]

    def dtype(self, case_id: str) -> np.dtype[np.floating[Any]]:
        """What the case's image is cached in."""
        return self._dataset().case(case_id).stored_dtype

    def shape(self, case_id: str) -> tuple[int, int, int]:
        """(D, H, W) of the turned case."""
        return self._turn.triple(self._dataset().case(case_id).image_shape[1:])

    def foreground(self, case_id: str) -> Foreground:
        """Sampled voxels (n, 3) of each class index above 0 that the turned case has."""
        if case_id not in self._foreground:
            found = self._dataset().case(case_id).foreground
            self._foreground[case_id] = {
                index: self._turn.columns(at) for index, at in found.items() if len(at)
            }
        return self._foreground[case_id]

    def annotated(self, case_id: str, ignore: int) -> NDArray[np.integer[Any]]:
        """Sampled voxels (n, 3) of the turned case that have another label than `ignore`."""
        if case_id not in self._annotated:  # the cache has those of classes alone
            label = self._turn.array(self._dataset().case(case_id).read_label(None))
            self._annotated[case_id] = sample_annotated(label, ignore)
        return self._annotated[case_id]

    def part(self, case_id: str, inside: tuple[slice, ...]) -> tuple[Image, Label]:
        """Image (C, d, h, w) as cached and label (d, h, w) of a part; not to be written to.

        Raises:
            CacheError: the case cannot be read.
        """
        if self.memory is None:
            return self._turned(case_id, self._turn.triple_back(inside))
        kept = self.memory.recall(case_id)
        image, label = kept or self.memory.keep(case_id, *self._turned(case_id, None))
        return image[(slice(None), *inside)], label[inside]

    def _turned(self, case_id: str, part: tuple[slice, ...] | None) -> tuple[Image, Label]:
        """Of a part of (D, H, W), or of all of it."""
        case = self._dataset().case(case_id)
        return self._turn.array(case.read_stored(part)), self._turn.array(case.read_label(part))

    def _dataset(self) -> CachedDataset:
        """Opened in the process that reads: HDF5 handles must not cross processes."""
        if self._cached is None:
            self._cached = open_cache(self._cache)
        return self._cached
