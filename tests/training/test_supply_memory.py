"""Memory of the preparation of batches: shared cases, and refusals before the first epoch."""

from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.training import supply_memory
from mednext_cli.training.case_voxels import CaseVoxels, OwnMemory
from mednext_cli.training.shared_cases import SharedCases
from mednext_cli.training.supply_memory import check_shared_memory, fits_in_memory
from mednext_cli.volumes.turning import Turn
from tests.training.conftest import Train
from tests.training.synthetic import NAME, arguments

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def cached(boxes: Path) -> CachedDataset:
    return open_cache(boxes / NAME)


def _give(monkeypatch: pytest.MonkeyPatch, shared: int | None, memory: int = 2**40) -> None:
    monkeypatch.setattr(supply_memory, "free_shared_memory_bytes", lambda: shared)
    monkeypatch.setattr(supply_memory, "free_memory_bytes", lambda: memory)


def test_shared_memory_that_does_not_suffice_is_refused_at_once(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of two patches of 16 x 32 x 16 voxels takes three bytes a voxel: 48 KiB."""
    _give(monkeypatch, 2**20)
    assert main(arguments(boxes, tmp_path, settings=("training.workers=8",))) == 2
    error = capsys.readouterr().err
    assert "8 processes that prepare batches take about 0.00 GiB of shared memory" in error
    assert "--shm-size=8g" in error
    assert "--set training.workers=7" in error
    assert not list(tmp_path.rglob("*.csv"))


def test_as_many_workers_as_are_proposed_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, 10**9)
    check_shared_memory(10**7, 18)
    with pytest.raises(supply_memory.SettingsError, match="19 processes") as refused:
        check_shared_memory(10**7, 19)
    assert "training.workers=18" in str(refused.value.remedy)
    _give(monkeypatch, None)
    check_shared_memory(10**12, 100)


@pytest.mark.parametrize(
    ("workers", "shared", "memory", "fits"),
    [
        (0, 0, 2**30, True),
        (0, 0, 2**16, False),
        (2, 2**30, 2**30, True),
        (2, 2**16, 2**30, False),
        (2, None, 2**30, True),
    ],
)
def test_cases_are_kept_where_they_fit(
    cached: CachedDataset,
    workers: int,
    shared: int | None,
    memory: int,
    fits: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four cases of 15,000 voxels, three bytes each, whatever the number of workers."""
    _give(monkeypatch, shared, memory)
    assert fits_in_memory(cached, cached.case_ids, 0, workers) == fits


@pytest.mark.parametrize("axis", [0, 2])
def test_shared_cases_are_those_of_the_cache(cached: CachedDataset, axis: int) -> None:
    """Also where they were kept by another process: here, by another who has them."""
    turn = Turn(axis)
    whole = tuple(slice(0, length) for length in turn.triple(cached.case("box_1").image_shape[1:]))
    plain = CaseVoxels(cached.folder, turn, OwnMemory())
    shared = SharedCases(plain, cached.case_ids)
    one, other = (CaseVoxels(cached.folder, turn, shared) for _ in range(2))
    assert shared.recall("box_1") is None
    for case_id in cached.case_ids:
        expected = plain.part(case_id, whole)
        for found in (one.part(case_id, whole), other.part(case_id, whole)):
            assert all(map(np.array_equal, found, expected))
            assert found[0].dtype == expected[0].dtype
    image, _ = one.part("box_2", whole)
    assert np.shares_memory(image, other.part("box_2", whole)[0])


@pytest.mark.slow
def test_a_run_with_workers_is_the_run_without(train: Train, tmp_path: Path) -> None:
    """Of cases that they share, and augmented by them; only time and memory are its own."""
    rows = []
    for workers in (0, 2):
        runs = tmp_path / str(workers)
        assert train(settings=(f"training.workers={workers}",), runs=runs) == 0
        (log,) = runs.rglob("log.csv")
        lines = [line.split(",") for line in log.read_text().splitlines()]
        own = ("second", "memory")
        keep = [i for i, name in enumerate(lines[0]) if not any(word in name for word in own)]
        rows.append([[line[i] for i in keep] for line in lines])
    assert rows[0] == rows[1]
