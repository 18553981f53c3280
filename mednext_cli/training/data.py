"""The source of a run's batches: drawn in order, whoever draws them, and moved to the device."""

import math
from collections.abc import Generator, Iterable
from contextlib import closing

import torch

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.machine import free_memory_bytes, usable_cores
from mednext_cli.training.batches import Batch, BatchOrder
from mednext_cli.training.loader import iterate_batches
from mednext_cli.training.sampling import PatchDataset
from mednext_cli.training.splits import Split

_MEMORY_SHARE = 0.25  # of the free memory may hold cases, over all workers
_MOST_WORKERS = 12


class BatchSource:
    """A rank's batches by the number of their step; the number of workers changes none.

    Args:
        samples: what batches are made of.
        order: which samples make which batch.
        device: where batches are given.
    """

    def __init__(self, samples: PatchDataset, order: BatchOrder, device: torch.device) -> None:
        self._samples, self._order, self._device = samples, order, device

    def batches(self, first: int, last: int, workers: int) -> Generator[Batch, None, None]:
        """The batches of steps `first` to `last` (exclusive), in order, on the device.

        Args:
            first: the first step.
            last: the step to stop before.
            workers: processes that draw them; 0 draws them in this one.

        Raises:
            MednextError: a case cannot be read, a worker died, or memory does not suffice.
        """
        pin = self._device.type == "cuda"
        numbers = map(self._order.numbers, range(first, last))
        with closing(iterate_batches(self._samples, numbers, workers, pin)) as batches:
            for images, labels in batches:
                yield (
                    images.to(self._device, non_blocking=pin, memory_format=torch.channels_last_3d),
                    labels.to(self._device, non_blocking=pin),
                )

    def case_ids(self, steps: Iterable[int]) -> tuple[str, ...]:
        """The cases that the batches of these steps are taken from, each once, sorted."""
        return tuple(sorted(set(map(self._samples.case_of, self._numbers(steps)))))

    def case_ids_not_finite(self, steps: Iterable[int]) -> tuple[str, ...]:
        """Those of them whose voxels are infinite or NaN, as far as these batches show."""
        found = {
            self._samples.case_of(number)
            for number in self._numbers(steps)
            if not self._samples.batch([number])[0].isfinite().all()
        }
        return tuple(sorted(found))

    def _numbers(self, steps: Iterable[int]) -> list[int]:
        return [number for step in steps for number in self._order.numbers(step)]


def count_workers(requested: int | None, device: torch.device) -> int:
    """Processes that prepare batches; on the CPU the network itself needs every core.

    Args:
        requested: by the recipe; None leaves it to the machine.
        device: where the network runs.
    """
    if requested is not None:
        return requested
    return 0 if device.type == "cpu" else min(_MOST_WORKERS, max(1, usable_cores() - 1))


def fits_in_memory(cached: CachedDataset, split: Split, workers: int) -> bool:
    """Whether every worker may keep the fold's cases, image and label, in memory."""
    bytes_per_voxel = 4 * len(cached.plan.channels) + 1
    voxels = sum(
        math.prod(cached.case(case_id).image_shape[1:])
        for case_id in (*split.training, *split.validation)
    )
    return voxels * bytes_per_voxel * max(1, workers) < _MEMORY_SHARE * free_memory_bytes()
