"""The source of batches: ranks share a step out, workers change nothing, order is counted."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.errors import MednextError
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training import data, loader
from mednext_cli.training.batches import Batch, BatchOrder
from mednext_cli.training.data import BatchSource
from mednext_cli.training.sampling import PatchDataset, SamplingSpec
from tests.training.conftest import NAME

CPU = torch.device("cpu")


@pytest.fixture
def spec(cache: Path) -> SamplingSpec:
    folder = cache / NAME
    return SamplingSpec(
        cache=folder,
        case_ids=open_cache(folder).labelled_ids,
        patch_voxels=(16, 32, 16),
        batch_size=2,
        oversample_foreground=1 / 3,
        augmentation=AugmentationSettings(),
        seed=7,
        in_memory=True,
    )


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (2, 1), (2, 2), (1, 3), (3, 4)])
def test_ranks_share_the_samples_of_a_step_out(batch_size: int, world_size: int) -> None:
    """Nobody's sample is missing, or another's too; a run of one rank counts straight on."""
    orders = [BatchOrder(batch_size, rank, world_size) for rank in range(world_size)]
    drawn = [list(order.numbers(step)) for step in range(5) for order in orders]
    assert {len(numbers) for numbers in drawn} == {batch_size}
    assert [number for numbers in drawn for number in numbers] == list(
        range(5 * batch_size * world_size)
    )


def _source(
    spec: SamplingSpec, rank: int = 0, world_size: int = 1, on_device: bool = False
) -> BatchSource:
    order = BatchOrder(spec.batch_size, rank, world_size)
    return BatchSource(PatchDataset(spec), order, CPU, on_device)


def _equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_two_ranks_draw_what_one_draws(spec: SamplingSpec) -> None:
    """A step of theirs is two steps of a rank that is alone."""
    alone = list(_source(spec).batches(2, 6, workers=0))
    ranks = [list(_source(spec, rank, 2).batches(1, 3, workers=0)) for rank in range(2)]
    shared = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert all(_equal(one, other) for one, other in zip(alone, shared, strict=True))
    assert not _equal(alone[0], alone[1])


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2)])
def test_the_number_of_workers_changes_no_batch(
    spec: SamplingSpec, rank: int, world_size: int
) -> None:
    here, there = (
        list(_source(spec, rank, world_size).batches(1, 4, workers)) for workers in (0, 2)
    )
    assert len(here) == 3
    assert here[0][0].shape == (2, 1, 16, 32, 16)
    assert all(_equal(one, other) for one, other in zip(here, there, strict=True))
    first = (world_size + rank) * 2
    images, labels = PatchDataset(spec).batch(range(first, first + 2))
    assert _equal(here[0], (images.float(), labels))


def test_a_session_begins_at_any_step(spec: SamplingSpec) -> None:
    whole = list(_source(spec).batches(0, 4, workers=0))
    (later,) = _source(spec).batches(3, 4, workers=0)
    assert _equal(whole[3], later)
    assert not list(_source(spec).batches(4, 4, workers=0))


def test_the_cases_of_steps_are_those_of_their_samples(spec: SamplingSpec) -> None:
    samples = PatchDataset(spec)
    source = _source(spec, rank=1, world_size=2)
    expected = {samples.case_of(number) for number in (2, 3, 10, 11)}
    assert source.case_ids([0, 2]) == tuple(sorted(expected))
    assert source.case_ids([]) == ()


def test_cases_that_are_not_finite_are_told(boxes: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(boxes, tmp_path / "cache")) / "Dataset001_Boxes"
    cases = open_cache(folder).labelled_ids
    with h5py.File(folder / f"{cases[1]}.h5", "r+") as file:
        file["image"][:] = np.full(file["image"].shape, np.inf)
    made = SamplingSpec(folder, cases, (16, 32, 16), 1, 0.0, None, 0, True)
    source = _source(made)
    steps = range(12)
    assert cases[1] in source.case_ids(steps)
    assert source.case_ids_not_finite(steps) == (cases[1],)
    assert _source(replace(made, case_ids=cases[:1])).case_ids_not_finite(steps) == ()


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), EOFError()])
def test_a_worker_that_died_with_its_batch_is_explained(
    spec: SamplingSpec, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket, from which the batch was to be fetched, is gone."""

    def desert(*_: object) -> object:
        raise error

    monkeypatch.setattr(loader, "_start", lambda _: map(desert, [1]))
    with pytest.raises(MednextError, match="a process that prepares batches died"):
        list(_source(spec).batches(0, 1, workers=0))


class _Twice:
    """Cannot be sent to a second worker."""

    def __init__(self) -> None:
        self.pickled = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        self.pickled += 1
        if self.pickled > 1:
            raise BrokenPipeError
        return _Twice, ()

    def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        return numbers


def _take(numbers: Sequence[int]) -> Sequence[int]:
    return numbers


def _after_a_death(others: set[BaseProcess]) -> Iterator[list[int]]:
    """Of a worker that has just begun, when it is asked for its first batch."""
    worker = max(set(multiprocessing.active_children()) - others, key=lambda one: one.pid or 0)
    worker.kill()
    os.waitid(os.P_PID, worker.pid or 0, os.WEXITED | os.WNOWAIT)
    time.sleep(0.1)  # for a signal to be handled
    while True:
        yield [0]


@pytest.mark.parametrize("way", ["second cannot begin", "second dies"])
def test_no_worker_is_left_where_another_died_as_it_began(way: str) -> None:
    """It would end in a traceback, without its queues, after the line that explains the death."""
    before = set(multiprocessing.active_children())
    prepare, numbers = (
        (_take, _after_a_death(before)) if way == "second dies" else (_Twice(), [[0]])
    )
    batches = loader.iterate_batches(prepare, numbers, workers=2, pin_memory=False)
    with pytest.raises(MednextError, match="a process that prepares batches died"):
        list(batches)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_augmented_on_the_device_batches_are_the_same(spec: SamplingSpec, workers: int) -> None:
    """Bit for bit on this device, but for the rounding to float16 that they are spared."""
    always = AugmentationSettings(rotation=0.5, scaling=0.5, noise=0.5, blur=0.5, gamma=0.5)
    spec = replace(spec, augmentation=always)
    there = list(_source(spec, on_device=True).batches(0, 6, workers))
    here = list(_source(spec).batches(0, 6, workers=0))
    assert all(images.dtype == torch.float32 for images, _ in (*here, *there))
    assert all(
        _equal((images.half().float(), labels), batch)
        for (images, labels), batch in zip(there, here, strict=True)
    )
    assert not torch.equal(there[0][0], here[0][0])


def test_repeated_batches_are_made_once(spec: SamplingSpec) -> None:
    source = _source(replace(spec, augmentation=None))
    first = list(source.repeated(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatchDataset, "read", None)
        assert all(map(_equal, first, source.repeated(3)))
        assert all(map(_equal, first, source.repeated(2)))
    more = list(source.repeated(5))
    expected = list(_source(replace(spec, augmentation=None)).batches(0, 5, workers=0))
    assert len(more) == 5
    assert all(map(_equal, more, expected))


def test_repeated_batches_that_do_not_fit_are_made_again(
    spec: SamplingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "free_memory_bytes", lambda: 0)
    source = _source(replace(spec, augmentation=None))
    first = list(source.repeated(2))
    assert all(map(_equal, first, source.repeated(2)))
    monkeypatch.setattr(PatchDataset, "read", None)
    with pytest.raises(TypeError):
        list(source.repeated(2))


def test_a_repetition_that_was_left_early_goes_on(spec: SamplingSpec) -> None:
    source = _source(replace(spec, augmentation=None))
    next(source.repeated(3))
    expected = list(_source(replace(spec, augmentation=None)).batches(0, 3, workers=0))
    assert all(map(_equal, source.repeated(3), expected))
