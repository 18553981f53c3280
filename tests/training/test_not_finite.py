"""Losses that are not finite: steps left out, cases named, ten in a row end the run."""

import csv
import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.training import cuda_graph
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.precision import Precision
from tests.training.synthetic import CASES, NAME, arguments, run_folder

CPU = torch.device("cpu")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def cache(boxes: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(boxes, tmp_path / "cache"))


def _damage(cache: Path, *cases: str) -> None:
    for case in cases:
        with h5py.File(cache / NAME / f"{case}.h5", "r+") as file:
            file["image"][:] = np.full(file["image"].shape, np.nan)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _arguments(cache: Path, runs: Path, *settings: str) -> list[str]:
    """One epoch on all cases, so without the time of validation."""
    return arguments(cache, runs, "--fold", "all", settings=("training.epochs=1", *settings))


def _folder(runs: Path) -> Path:
    return run_folder(runs, "all")


class _Scaled:
    """A network of one weight whose gradient is that of `scale * weight`."""

    def __init__(self, name: str = "float32", scaler: bool = False) -> None:
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.optimiser = torch.optim.AdamW([self.weight], lr=0.1, fused=True)
        self.precision = Precision(name, CPU)
        if scaler:
            self.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)

    def step(self, scale: float, offset: float = 0.0) -> None:
        self.optimiser.zero_grad()
        loss = (scale * self.weight).sum() + offset
        self.precision.scaler.scale(loss).backward()
        self.precision.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_([self.weight], 12.0)
        self.precision.step(self.optimiser, loss.detach(), norm)

    def all_numbers(self) -> list[Any]:
        moments = self.optimiser.state[self.weight]
        return [self.weight.item(), *(float(moments[name]) for name in sorted(moments))]


@pytest.mark.parametrize("scaler", [False, True])
@pytest.mark.parametrize(
    ("scale", "offset"), [(math.nan, 0.0), (math.inf, 0.0), (1.0, math.inf), (1.0, math.nan)]
)
def test_such_a_step_changes_no_number(scale: float, offset: float, scaler: bool) -> None:
    """Neither the weight nor the moments and the count of steps; the next step goes on."""
    disturbed, undisturbed = _Scaled(scaler=scaler), _Scaled(scaler=scaler)
    for one in (disturbed, undisturbed):
        one.step(1.0)
    before = disturbed.all_numbers()
    disturbed.step(scale, offset)
    assert disturbed.all_numbers() == before
    for one in (disturbed, undisturbed):
        one.step(3.0)
    assert disturbed.all_numbers() == undisturbed.all_numbers() != before


def test_the_loss_scale_follows_gradients_not_broken_losses() -> None:
    one = _Scaled(scaler=True)
    one.step(1e38)  # times 2^16 it overflows; the loss does not
    assert one.precision.scaler.get_scale() == 2.0**15
    one.step(math.nan)
    assert one.precision.scaler.get_scale() == 2.0**15
    assert one.precision.is_searching_scale()


@pytest.mark.slow
def test_one_case_of_nan_is_named_and_left_out(
    cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    bad = CASES[3]
    _damage(cache, bad)
    assert main(_arguments(cache, tmp_path, "training.iterations_per_epoch=4")) == 0
    error = capsys.readouterr().err
    assert f"not finite in the cache: {bad}" in error
    assert "of 4 steps were left out" in error
    (row,) = _rows(_folder(tmp_path))
    assert int(row["skipped_steps"]) == 1
    assert math.isfinite(float(row["training_loss"]))
    weights = load_checkpoint(_folder(tmp_path) / "checkpoint_last.pt").state_dict
    assert all(one.isfinite().all() for one in weights.values())


@pytest.mark.slow
def test_ten_in_a_row_end_the_run_with_what_to_do_and_it_can_go_on(
    cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    intact = Path(shutil.copytree(cache, tmp_path / "intact"))
    _damage(cache, *CASES)
    runs, steps = tmp_path / "runs", "training.iterations_per_epoch=11"
    assert main(_arguments(cache, runs, steps)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the loss is not finite in 10 steps in a row, up to iteration 10 (box_" in error
    assert "not finite in the cache: box_" in error
    assert "mednext preprocess --force" in error
    saved = load_checkpoint(_folder(runs) / "checkpoint_last.pt")
    assert saved.progress.iteration == 10
    assert main(_arguments(intact, runs, steps)) == 0
    assert _rows(_folder(runs))[0]["skipped_steps"] == "10"


def test_without_a_case_at_fault_the_learning_rate_is(
    boxes: Path, tmp_path: Path, capsys: Captured
) -> None:
    """Its first step leaves weights that are finite and useless."""
    settings = ("training.learning_rate=1e38", "training.epochs=2")
    assert main(_arguments(boxes, tmp_path, *settings)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the loss is not finite" in error
    assert "Lower training.learning_rate" in error
    assert "in the cache" not in error


def test_weights_that_are_not_finite_replace_no_checkpoint(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = cuda_graph.update

    def break_weights(state: Any, *rest: Any) -> Tensor:
        made = original(state, *rest)
        steps.append(1)
        if len(steps) == 4:  # in the second epoch
            with torch.no_grad():
                next(state.network.parameters()).fill_(math.nan)
        return made

    monkeypatch.setattr(cuda_graph, "update", break_weights)
    assert main(_arguments(boxes, tmp_path, "training.epochs=2")) == 2
    assert "the last checkpoint stands" in capsys.readouterr().err
    saved = load_checkpoint(_folder(tmp_path) / "checkpoint_last.pt")
    assert saved.progress.iteration == 3
    assert all(one.isfinite().all() for one in saved.state_dict.values())


def test_an_overflow_under_float16_is_no_failure(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients overflow in every step of an epoch, the losses do not: the scale is too large."""
    monkeypatch.setattr(Precision, "is_searching_scale", lambda _: True)
    original = cuda_graph.update

    def overflow(*given: Any) -> Tensor:
        return original(*given) + torch.tensor([0.0, math.inf])

    monkeypatch.setattr(cuda_graph, "update", overflow)
    assert main(_arguments(boxes, tmp_path)) == 0
    assert "is left out" not in capsys.readouterr().err
    assert [row["skipped_steps"] for row in _rows(_folder(tmp_path))] == ["3"]


def test_a_loss_of_infinity_is_skipped_like_nan(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite gradient does not make up for it."""
    original = SegmentationLoss.forward
    calls: list[int] = []

    def forward(self: SegmentationLoss, outputs: list[Tensor], labels: Tensor) -> Tensor:
        calls.append(1)
        return original(self, outputs, labels) + (math.inf if len(calls) == 2 else 0)

    monkeypatch.setattr(SegmentationLoss, "forward", forward)
    assert main(_arguments(boxes, tmp_path)) == 0
    assert "step 2 is left out" in capsys.readouterr().err
    assert [row["skipped_steps"] for row in _rows(_folder(tmp_path))] == ["1"]
