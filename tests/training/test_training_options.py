"""Options of a run - moving average, accumulated batches, patience - alone and when it goes on."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.progress import Progress
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training import cuda_graph, loop
from mednext_cli.training.patch_validation import PatchScores
from tests.training.conftest import NAME, Train

ALL = (
    "training.accumulate=2",
    "training.ema=0.9",
    "training.schedule=cosine",
    "training.warmup_epochs=1",
    'loss.terms=["tversky", "focal"]',
)
COLUMNS = ("iteration", "training_loss", "validation_loss", "dice_mean", "learning_rate")


def _folder(runs: Path, fold: str = "0") -> Path:
    return runs / NAME / "S-k3-w4" / f"fold{fold}"


def _rows(runs: Path, fold: str = "0") -> list[dict[str, str]]:
    with (_folder(runs, fold) / "log.csv").open(newline="") as stream:
        return [{key: row[key] for key in COLUMNS} for row in csv.DictReader(stream)]


def _state(runs: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights that are predicted with, and those of the last step."""
    checkpoint = load_checkpoint(_folder(runs) / "checkpoint_last.pt")
    assert checkpoint.optimiser is not None
    return dict(checkpoint.state_dict), checkpoint.optimiser["weights"]


@pytest.mark.slow
@pytest.mark.parametrize("augmenting", ["worker", "network"])
def test_a_run_with_all_options_goes_on_bit_by_bit(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmenting: str
) -> None:
    undisturbed, interrupted = tmp_path / "undisturbed", tmp_path / "interrupted"
    settings = (*ALL, f"augmentation.device={augmenting}")
    assert train(runs=undisturbed, settings=settings) == 0
    update = cuda_graph.update
    steps: list[int] = []

    def stop_in_the_fourth_step(*given: Any) -> Tensor:
        steps.append(len(given[-1]))
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return update(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cuda_graph, "update", stop_in_the_fourth_step)
        assert train(runs=interrupted, settings=settings) == 130
    assert steps == [2] * 4
    assert train(runs=interrupted, settings=settings) == 0
    for first, second in zip(_state(undisturbed), _state(interrupted), strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert _rows(undisturbed) == _rows(interrupted)
    average, last = _state(undisturbed)
    assert not all(torch.equal(average[name], last[name]) for name in last)


@pytest.mark.slow
def test_augmented_where_the_network_is_a_run_sees_the_same_patches(
    train: Train, tmp_path: Path
) -> None:
    runs = {where: tmp_path / where for where in ("worker", "network")}
    for where, folder in runs.items():
        settings = (f"augmentation.device={where}", "training.epochs=1")
        assert train(runs=folder, settings=settings) == 0
    one, other = (float(_rows(folder)[0]["training_loss"]) for folder in runs.values())
    assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.slow
def test_two_batches_of_one_are_a_batch_of_two(train: Train, tmp_path: Path) -> None:
    """The same patches, and the mean of their gradients where Dice is that of each patch."""
    alike = ("training.epochs=1", "training.epsilon=1e-4", "loss.batch_dice=false")
    parts = ("training.batch_size=1", "training.accumulate=2")
    assert train(runs=tmp_path / "whole", settings=(*alike, "training.batch_size=2")) == 0
    assert train(runs=tmp_path / "parts", settings=(*alike, *parts)) == 0
    whole, parted = (
        load_checkpoint(_folder(tmp_path / name) / "checkpoint_last.pt").state_dict
        for name in ("whole", "parts")
    )
    assert max(float((whole[name] - parted[name]).abs().max()) for name in whole) < 2e-4
    losses = [float(_rows(tmp_path / name)[0]["training_loss"]) for name in ("whole", "parts")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)


def _progress(moving: list[float]) -> Progress:
    row = {"epoch": 1.0, "learning_rate": 0.1, "training_loss": 0.5, "dice_mean": 0.5}
    history = tuple({**row, "dice_moving": dice} for dice in moving)
    return Progress(iteration=10 * len(moving), history=history)


def test_patience_ends_with_so_many_epochs_that_are_no_better() -> None:
    settings = TrainingSettings(patience=2, epochs=100, iterations_per_epoch=10)
    nan = float("nan")
    for moving, ends in (
        ([], False),
        ([0.1], False),
        ([0.3, 0.2], False),
        ([0.3, 0.2, 0.3], True),
        ([0.3, 0.2, 0.31], False),
        ([nan, nan, nan], False),
        ([0.3, nan, nan], True),
        ([0.1, 0.5, 0.4, 0.45], True),
    ):
        assert _progress(moving).is_finished(settings) is ends, moving
    assert not _progress([0.3] * 50).is_finished(settings.model_copy(update={"patience": None}))


@pytest.mark.slow
def test_a_run_without_patience_left_is_finished(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ("training.epochs=9", "training.patience=1", "training.learning_rate=1e-9")
    for _ in range(2):  # the second time it is only read
        assert train(settings=still) == 0
        assert len(_rows(tmp_path / "runs")) == 2
    assert "training ends after epoch 2: the patch Dice was not better" in capsys.readouterr().err
    assert (_folder(tmp_path / "runs") / "validation" / "cases.csv").is_file()


@pytest.mark.slow
def test_patience_without_a_validation_case_is_said_to_have_no_effect(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("training.patience=1", "training.iterations_per_epoch=1")
    assert train("--fold", "all", settings=settings) == 0
    assert "training.patience has no effect" in capsys.readouterr().err
    assert len(_rows(tmp_path / "runs", "all")) == 2


@pytest.mark.slow
def test_a_run_that_patience_ends_goes_out_with_its_best_weights(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it takes them, too; validated with them, as `mednext predict` would."""
    falling = iter((0.5, 0.4, 0.3))

    def scores(*_: Any) -> PatchScores:
        return PatchScores(1.0, {"anterior": next(falling), "posterior": float("nan")})

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    settings = ("training.patience=1", "training.epochs=9", "training.ema=0.9")
    runs = tmp_path / "runs"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "score_patches", scores)
        patch.setattr("mednext_cli.training.train.take_best", kill)
        assert train(settings=settings) == 130
    best = load_checkpoint(_folder(runs) / "checkpoint_best.pt")
    before, _ = _state(runs)
    assert best.progress.epochs == 1
    assert any(not torch.equal(before[name], best.state_dict[name]) for name in before)
    assert train(settings=settings) == 0
    average, last = _state(runs)
    assert best.optimiser is not None
    assert all(torch.equal(average[name], best.state_dict[name]) for name in average)
    assert all(torch.equal(last[name], best.optimiser["weights"][name]) for name in last)
    assert len(_rows(runs)) == 2
    made_by = json.loads((_folder(runs) / "validation" / "made_by.json").read_text())
    assert made_by["weights"] == hash_weights(best.state_dict)
    written = (_folder(runs) / "checkpoint_last.pt").stat().st_mtime_ns
    assert train(settings=settings) == 0
    assert (_folder(runs) / "checkpoint_last.pt").stat().st_mtime_ns == written
