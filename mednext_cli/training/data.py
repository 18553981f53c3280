"""The source of a run's batches: drawn in order, whoever draws them, and moved to the device."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

import torch

from mednext_cli.foundation.machine import free_memory_bytes, usable_cores
from mednext_cli.training.augmentation.batch import Augmentation
from mednext_cli.training.batches import Batch, BatchOrder, ReadSample
from mednext_cli.training.loader import Made, Prepare, iterate_batches
from mednext_cli.training.sampling import PatchDataset

_KEPT_SHARE = 0.25  # of the free memory may hold the batches that are drawn again and again
_MOST_WORKERS = 12


class BatchSource:
    """A rank's batches by the number of their step; the number of workers changes none.

    Args:
        samples: what batches are made of.
        order: which samples make which batch.
        device: where batches are given, float32.
        augment_on_device: augment there what was read, instead of where it was read.
    """

    def __init__(
        self,
        samples: PatchDataset,
        order: BatchOrder,
        device: torch.device,
        augment_on_device: bool = False,
    ) -> None:
        self._samples, self._order, self._device = samples, order, device
        self._augment = samples.augment if augment_on_device else None
        self._kept: list[Batch] = []

    def batches(self, first: int, last: int, workers: int) -> Generator[Batch, None, None]:
        """The batches of steps `first` to `last` (exclusive), in order, on the device.

        Args:
            first: the first step.
            last: the step to stop before.
            workers: processes that draw them; 0 draws them in this one.

        Raises:
            MednextError: a case cannot be read, a worker died, or memory does not suffice.
        """
        steps = range(first, last)
        samples = self._samples.sharing_cases() if workers and steps else self._samples
        if self._augment is None:
            return self._finished(samples.batch, self._move, steps, workers)
        augment = partial(self._augment_there, self._augment)
        return self._finished(samples.read, augment, steps, workers)

    def repeated(self, count: int) -> Iterator[Batch]:
        """The first `count` batches, on the device; made once, as far as memory suffices.

        Raises:
            MednextError: a case cannot be read, or memory does not suffice.
        """
        for batch in self._kept[:count]:
            yield self._move(batch)
        rest = map(self._order.numbers, range(len(self._kept), count))
        with closing(iterate_batches(self._samples.batch, rest, 0, False)) as batches:
            for number, batch in enumerate(batches, len(self._kept)):
                if number == len(self._kept) and _may_keep(batch, count):
                    self._kept.append(batch)
                yield self._move(batch)

    def _finished(
        self,
        prepare: Prepare[Made],
        finish: Callable[[Made], Batch],
        steps: Sequence[int],
        workers: int,
    ) -> Generator[Batch, None, None]:
        numbers = map(self._order.numbers, steps)
        pin = self._device.type == "cuda"
        with closing(iterate_batches(prepare, numbers, workers, pin)) as prepared:
            yield from map(finish, prepared)

    def _move(self, batch: Batch) -> Batch:
        images, labels = batch
        moved = images.to(self._device, non_blocking=True)
        # Widened where it is cheap: on the way there half the bytes suffice.
        return (
            moved.to(torch.float32, memory_format=torch.channels_last_3d),
            labels.to(self._device, non_blocking=True),
        )

    def _augment_there(self, augment: Augmentation, read: Sequence[ReadSample]) -> Batch:
        return self._move(augment(list(map(self._move_sample, read))))

    def _move_sample(self, sample: ReadSample) -> ReadSample:
        return sample._replace(
            image=sample.image.to(self._device, non_blocking=True).float(),
            label=sample.label.to(self._device, non_blocking=True),
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


def count_workers(requested: int | None, device: torch.device, sharing: int = 1) -> int:
    """Processes that prepare batches; on the CPU the network itself needs every core.

    Args:
        requested: by the recipe; None leaves it to the machine.
        device: where the network runs.
        sharing: processes that train on this machine, and share its cores.
    """
    if requested is not None:
        return requested
    cores = usable_cores() // sharing
    return 0 if device.type == "cpu" else min(_MOST_WORKERS, max(1, cores - 1))


def _may_keep(batch: Batch, count: int) -> bool:
    """Whether so many such batches fit into a share of the free memory."""
    size = sum(tensor.element_size() * tensor.numel() for tensor in batch)
    return count * size < _KEPT_SHARE * free_memory_bytes()
