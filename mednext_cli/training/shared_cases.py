"""Cases in memory that all processes which prepare batches share, instead of a copy each."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.training.case_voxels import CaseVoxels, Image, Label

_FENCE = threading.Lock()
_ALIGNMENT = 64  # bytes, of a processor's cache line


@dataclass(frozen=True)
class _Place:
    """Where a case lies in the memory: its image, then its label."""

    number: int
    start: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype[np.floating]

    @property
    def image_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stop(self) -> int:
        used = self.start + self.image_bytes + math.prod(self.shape[1:])
        return -(-used // _ALIGNMENT) * _ALIGNMENT


class SharedCases:
    """The first process that needs a case reads it for all of them.

    Two that need it at once both read it, and write the same. It is handed to processes as they are
    started, and is freed with the last of them.

    Args:
        voxels: shapes and types of the cases.
        case_ids: for which there is to be room.
    """

    def __init__(self, voxels: CaseVoxels, case_ids: Sequence[str]) -> None:
        self._places: dict[str, _Place] = {}
        end, dtype = 0, voxels.dtype(case_ids[0])  # a cache is of one type
        for number, case_id in enumerate(case_ids):
            shape = (voxels.channels(case_id), *voxels.shape(case_id))
            self._places[case_id] = _Place(number, end, shape, dtype)
            end = self._places[case_id].stop
        self._memory = _share(end)
        self._kept = _share(len(case_ids)).zero_()

    def recall(self, case_id: str) -> tuple[Image, Label] | None:
        """A case that some process has kept; None where none has yet."""
        place = self._places[case_id]
        kept = bool(self._kept[place.number])
        _keep_order()
        return self._views(place) if kept else None

    def keep(self, case_id: str, image: Image, label: Label) -> tuple[Image, Label]:
        """Keep a case for all processes, and give it as it will be recalled."""
        place = self._places[case_id]
        views = self._views(place)
        for view, voxels in zip(views, (image, label), strict=True):
            np.copyto(view, voxels)
        _keep_order()
        self._kept[place.number] = 1
        return views

    def _views(self, place: _Place) -> tuple[Image, Label]:
        whole: NDArray[np.uint8] = self._memory.numpy()
        middle = place.start + place.image_bytes
        image: Image = whole[place.start : middle].view(place.dtype).reshape(place.shape)
        label = whole[middle : middle + math.prod(place.shape[1:])].reshape(place.shape[1:])
        return image, label


def _keep_order() -> None:
    """Whoever sees that a case is kept also sees its voxels, on processors that reorder, too.

    Taking a lock holds back what comes after, giving it back waits for what came before; one after
    the other order both. A lock between processes would need multiprocessing's resource tracker,
    which a SIGHUP to the group ends.
    """
    for _ in range(2):
        with _FENCE:
            pass


def _share(size: int) -> Tensor:
    """Bytes that were never written to take no memory before they are shared, either."""
    made: Tensor = torch.empty(size, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
    return made
