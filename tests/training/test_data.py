"""The source of batches: ranks share a step out, workers change nothing, order is counted."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.errors import MednextError
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training import loader
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


def _source(spec: SamplingSpec, rank: int = 0, world_size: int = 1) -> BatchSource:
    return BatchSource(PatchDataset(spec), BatchOrder(spec.batch_size, rank, world_size), CPU)


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
    assert _equal(here[0], PatchDataset(spec).batch(range(first, first + 2)))


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
    from dataclasses import replace

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
