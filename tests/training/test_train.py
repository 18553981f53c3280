"""Training through the command: what it leaves, and that nothing is lost when it is stopped."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.training import cuda_graph
from mednext_cli.training.columns import DICE, LOG
from tests.training.conftest import NAME, Train

pytestmark = pytest.mark.slow


def _run(runs: Path, kernel: int = 3) -> Path:
    return runs / NAME / f"S-k{kernel}-w4" / "fold0"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_everything_and_is_not_repeated(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    folder = _run(tmp_path / "runs")
    names = {path.name for path in folder.iterdir()}
    assert {
        "checkpoint_best.pt",
        "checkpoint_last.pt",
        "recipe.toml",
        "log.csv",
        "progress.png",
        "tensorboard",
        "validation",
    } <= names
    log = _rows(folder / "log.csv")
    assert [row["iteration"] for row in log] == ["3", "6"]
    assert tuple(log[0]) == LOG.expand(DICE, ["dice_anterior", "dice_posterior"]).names
    cases = _rows(folder / "validation" / "cases.csv")
    assert {row["region"] for row in cases} == {"anterior", "posterior"}
    checkpoint = load_checkpoint(folder / "checkpoint_last.pt")
    assert checkpoint.finished
    assert checkpoint.plan is not None
    assert checkpoint.plan.patch_voxels == (16, 32, 16)
    capsys.readouterr()
    before = (folder / "checkpoint_last.pt").read_bytes()
    assert train() == 0
    assert (folder / "checkpoint_last.pt").read_bytes() == before
    assert "anterior" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "last_step"), [(signal.SIGINT, 2), (signal.SIGTERM, 3), (signal.SIGINT, 6)]
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    last_step: int,
) -> None:
    """Stopped in the middle of an epoch, at its last step, or at the very end."""
    undisturbed, interrupted = tmp_path / "undisturbed", tmp_path / "interrupted"
    assert train(runs=undisturbed) == 0
    update = cuda_graph.update
    steps: list[int] = []

    def stop_in_that_step(*given: Any) -> Tensor:
        steps.append(1)
        if len(steps) == last_step:
            os.kill(os.getpid(), number)
        return update(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cuda_graph, "update", stop_in_that_step)
        assert train(runs=interrupted) == 130
    stopped = load_checkpoint(_run(interrupted) / "checkpoint_last.pt")
    assert stopped.progress.iteration == last_step
    assert train(runs=interrupted) == 0
    first, second = (
        load_checkpoint(_run(runs) / "checkpoint_last.pt") for runs in (undisturbed, interrupted)
    )
    for name, weights in first.state_dict.items():
        assert torch.equal(weights, second.state_dict[name]), name
    columns = ("iteration", "training_loss", "validation_loss", "dice_mean", "learning_rate")
    logs = [_rows(_run(runs) / "log.csv") for runs in (undisturbed, interrupted)]
    assert [[row[key] for key in columns] for row in logs[0]] == [
        [row[key] for key in columns] for row in logs[1]
    ]


def test_the_best_state_of_a_run_that_lost_its_newest_is_kept(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    folder = _run(tmp_path / "runs")
    assert train("--extend", settings=("training.epochs=3",)) == 0  # goes on: nothing is set aside
    assert not (folder / "checkpoint_best_earlier.pt").exists()
    best = (folder / "checkpoint_best.pt").read_bytes()
    (folder / "checkpoint_last.pt").unlink()
    capsys.readouterr()
    assert train() == 0
    assert (folder / "checkpoint_best_earlier.pt").read_bytes() == best
    assert "the best state so far is kept as checkpoint_best_earlier.pt" in capsys.readouterr().err


def test_another_recipe_in_the_same_folder_is_refused(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    capsys.readouterr()
    assert train(settings=("training.learning_rate=0.5",)) == 2
    error = capsys.readouterr().err
    assert "training.learning_rate: 0.003 -> 0.5" in error
    assert "--restart" in error
    assert train("--restart", settings=("training.learning_rate=0.001",)) == 0


def test_another_beginning_in_the_same_folder_is_refused(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(runs=first) == 0
    assert train(runs=second) == 0
    init = str(_run(first) / "checkpoint_last.pt")
    capsys.readouterr()
    assert train("--init", init, runs=second) == 2
    assert "begun with another --init checkpoint" in capsys.readouterr().err
    kept = (_run(second) / "checkpoint_last.pt").read_bytes()
    assert train("--restart", "--init", str(tmp_path / "no.pt"), runs=second) == 2
    assert (_run(second) / "checkpoint_last.pt").read_bytes() == kept
    assert train("--restart", "--init", init, runs=second) == 0


def test_more_epochs_go_on_from_the_end(train: Train, tmp_path: Path) -> None:
    assert train() == 0
    assert train("--extend", settings=("training.epochs=3",)) == 0
    log = _rows(_run(tmp_path / "runs") / "log.csv")
    assert [row["epoch"] for row in log] == ["1", "2", "3"]


def test_upkern_starts_a_larger_kernel(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    small = _run(tmp_path / "runs") / "checkpoint_last.pt"
    large = tmp_path / "k5.pt"
    assert main(["upkern", "--from", str(small), "--to", "k5", "--out", str(large)]) == 0
    capsys.readouterr()
    assert train("--kernel", "5", "--init", str(small)) == 2
    assert "another network: kernel 3 instead of 5" in capsys.readouterr().err
    assert train("--kernel", "5", "--init", str(large)) == 0
    assert _rows(_run(tmp_path / "runs", kernel=5) / "log.csv")


def test_a_loss_that_is_not_finite_ends_in_one_line(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(settings=("training.learning_rate=1e38",)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the loss is not finite" in error
    assert "learning_rate" in error


def test_regions_overlapping_or_not_are_trained_with_sigmoid(
    small_raw: Path, tmp_path: Path
) -> None:
    """The same cases as an nnU-Net v2 dataset with a region: whole hippocampus and posterior."""
    import json
    import shutil

    raw = tmp_path / "Dataset004_Regions"
    (raw / "labelsTr").mkdir(parents=True)
    (raw / "imagesTr").mkdir()
    for label in sorted((small_raw / "labelsTr").iterdir()):
        shutil.copy(label, raw / "labelsTr")
        name = label.name.replace(".nii.gz", "_0000.nii.gz")
        shutil.copy(small_raw / "imagesTr" / label.name, raw / "imagesTr" / name)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "whole": [1, 2], "posterior": [2]},
        "regions_class_order": [1, 2],
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    cache = tmp_path / "cache"
    options = ["--dataset", "nnunet", "--cache", str(cache), "--workers", "0"]
    assert main(["preprocess", str(raw), *options]) == 0
    from tests.training.conftest import TINY

    changes = [part for setting in TINY for part in ("--set", setting)]
    runs = tmp_path / "runs"
    arguments = ["train", raw.name, "--cache", str(cache), "--runs", str(runs), "--recipe", "cpu"]
    assert main([*arguments, *changes, "--device", "cpu"]) == 0
    folder = runs / raw.name / "S-k3-w4" / "fold0"
    assert load_checkpoint(folder / "checkpoint_last.pt").network.out_channels == 2
    regions = {row["region"] for row in _rows(folder / "validation" / "cases.csv")}
    assert regions == {"whole", "posterior"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--fold", "7"], "no fold 7"),
        (["--recipe", "nonsense"], "unknown recipe 'nonsense'"),
        (["--device", "tpu"], "tpu"),
        (["--set", "training.precision=float16"], "float16"),
        (["--set", "training.patch_voxels=[20, 32, 32]"], "divisible by 8"),
        (["--init", "nowhere.pt"], "nowhere.pt does not exist"),
    ],
)
def test_wrong_options_end_in_one_line(
    train: Train, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    assert train(*options) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error


def test_a_step_that_does_not_fit_into_memory_is_refused_with_what_would(
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patch = ["--set", "training.patch_voxels=[64, 64, 64]"]
    for free_gib, expected in ((0.2, "Use --set model.checkpointing=true"), (0.01, "Use smaller")):
        monkeypatch.setattr(
            "mednext_cli.training.memory.free_memory_bytes", lambda free=free_gib: free * 2**30
        )
        assert train(*patch) == 2
        error = capsys.readouterr().err
        assert f"GiB of memory, {free_gib:.1f} GiB are free" in error
        assert expected in error
    assert not list(tmp_path.rglob("*.pt"))


def test_a_finished_run_needs_no_memory(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train() == 0
    monkeypatch.setattr("mednext_cli.training.memory.free_memory_bytes", lambda: 0)
    assert train() == 0
    assert train("--extend", "--set", "training.epochs=3") == 2


def test_a_missing_cache_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nothing", "--cache", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "nothing") in error
    assert "mednext preprocess" in error
