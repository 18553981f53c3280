"""Small scans on a CPU: several cases at once, a core each, and the same files."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.inference import pipeline, workload
from mednext_cli.inference.average import Member, NetworkAverage, build_average
from mednext_cli.inference.cores import count_side_by_side, sharing_cores
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.memory import CaseBytes
from mednext_cli.inference.models import load_models
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.torch_engine import TorchEngine
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.mednext import blocks
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.sections import Precision
from tests.inference.synthetic import PLAN, predict
from tests.networks.made import mednext
from tests.networks.small_networks import small_spec


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        voxels = random.normal(100, 20, (30 + number, 40, 24)).astype(np.float32)
        nib.save(
            nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{number}.nii.gz"
        )
    return folder


def _member(model: Path) -> Member:
    networks = build_average(load_models([model]), "torch", EngineOptions(torch.device("cpu")))
    return networks.members[0]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cases at once of every run."""
    seen: list[int] = []

    def note(cases: int) -> AbstractContextManager[None]:
        seen.append(cases)
        return sharing_cores(cases)

    monkeypatch.setattr(pipeline, "sharing_cores", note)
    return seen


@pytest.mark.usefixtures("two_threads")
def test_files_are_the_same(model: Path, many: Path, tmp_path: Path, at_once: list[int]) -> None:
    (many / "5.nii.gz").write_bytes(b"no scan")  # fails alone
    turns, beside = tmp_path / "turns", tmp_path / "beside"
    assert predict(many, turns, model, options=("--workers", "0")) == 2
    assert predict(many, beside, model) == 2
    assert at_once == [1, 2]
    assert torch.get_num_threads() == 2
    maps = sorted(path.name for path in turns.glob("*.nii.gz"))
    assert maps == [f"{number}.nii.gz" for number in range(5)]
    for name in maps:
        assert (turns / name).read_bytes() == (beside / name).read_bytes()


@pytest.mark.usefixtures("two_threads")
def test_it_takes_enough_cases_of_small_tiles_and_pytorch(model: Path) -> None:
    member = _member(model)
    four = [1, 2, 3, 32]
    assert count_side_by_side([member], four) == 2
    assert count_side_by_side([member], four[:3]) == 1
    assert count_side_by_side([member], [1, 2, 3, 33]) == 1
    large = Member(member.engine, (64, 64, 64), (), 0.5)
    assert count_side_by_side([member, large], four) == 1
    assert count_side_by_side([Member(_Strange(), PLAN.patch_voxels, (), 0.5)], four) == 1


class _Strange:
    """A plugin's, which may not be called by several threads."""

    device, activation = torch.device("cpu"), "softmax"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images


@pytest.mark.parametrize(
    ("spec", "precision", "beside"),
    [
        (mednext(base_channels=4), "float32", True),
        (mednext(base_channels=4), "bfloat16", False),
        (mednext(base_channels=4, dimensions=2), "float32", False),
        (small_spec("nnunet"), "float32", False),
    ],
    ids=["mednext", "bfloat16", "slices", "nnunet"],
)
def test_networks_that_are_others_by_threads_do_not_run_so(
    spec: NetworkSpec, precision: Precision, beside: bool
) -> None:
    checkpoint = Checkpoint(spec, build_plain(spec).state_dict(), plan=PLAN)
    options = EngineOptions(torch.device("cpu"), "auto", precision)
    assert TorchEngine(checkpoint, PLAN, options).runs_side_by_side == beside


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"grn": True}, {"norm": "layer"}, {"resampling": "plain"}], ids=str
)
@pytest.mark.usefixtures("two_threads")
def test_others_give_the_same_bits_by_any_number_of_threads(
    settings: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(blocks, "library_of", lambda *_: None)
    torch.manual_seed(0)
    spec = mednext(base_channels=16, **settings)
    assert spec.family.is_the_same_by_threads(spec.settings)
    network, image, threads = build_plain(spec), torch.randn(1, 1, 32, 48, 32), []
    with torch.inference_mode():
        for count in (1, 2):
            torch.set_num_threads(count)
            threads.append(network(image))
    assert torch.equal(*threads)


@pytest.mark.usefixtures("two_threads")
def test_memory_must_hold_them_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = NetworkAverage((_member(model),), PLAN)
    needs = dict.fromkeys("abcd", CaseBytes(100, 10_000, 100, 1_000))
    both = needs["a"].in_flight(1, 2)
    assert both == needs["a"].in_flight(1) + 11_000
    for free, count in ((both * 10 // 8 + 1, 2), (both, 1)):
        monkeypatch.setattr(workload, "free_memory_bytes", lambda free=free: free)
        assert workload._count_at_once(networks, needs, dict.fromkeys(needs, 1), 1) == count


def test_threads_are_as_before_whatever_happens() -> None:
    threads, within = torch.get_num_threads(), list[int]()

    def fail() -> None:
        with sharing_cores(2):
            within.append(torch.get_num_threads())
            raise ValueError("what")

    with pytest.raises(ValueError, match="what"):
        fail()
    assert (within, torch.get_num_threads()) == ([1], threads)


@pytest.mark.usefixtures("two_threads")
def test_probabilities_come_one_case_after_the_other(
    model: Path, many: Path, tmp_path: Path, at_once: list[int]
) -> None:
    """What is begun beside them would stay half-written where a run ends."""
    assert predict(many, tmp_path / "out", model, options=("--probabilities",)) == 0
    assert at_once == [1]


@pytest.mark.usefixtures("two_threads")
def test_an_interruption_does_not_wait_for_the_cases_beside(
    model: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which each may have a thousand tiles."""
    seen: list[str] = []
    lock, advance = Lock(), TileCount.advance

    def interrupt(self: TileCount, case_id: str, tiles: int, note: str = "") -> None:
        with lock:
            seen.append(case_id)
        advance(self, case_id, tiles, note)
        if case_id == "0":
            raise KeyboardInterrupt
        time.sleep(0.2)

    monkeypatch.setattr(TileCount, "advance", interrupt)
    assert predict(many, tmp_path / "out", model) == 130
    assert seen.count("0") == 1
    assert seen.count("1") <= 2  # of a dozen
    assert not list((tmp_path / "out").glob("*.nii.gz"))
