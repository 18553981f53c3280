"""A stranger's layout, network and engine, from raw folder to scores."""

import csv
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.volumes.scans import read_grid, read_label_map
from tests.datasets.conftest import write_scan

SHAPE = (38, 45, 50)
_TINY = (
    "model.network=pyramid",
    "model.pyramid.width=2",
    "training.epochs=1",
    "training.iterations_per_epoch=2",
    "training.validation_iterations=1",
    "training.folds=2",
)


def _make_raw(raw: Path) -> None:
    for number in range(2):
        label = np.zeros(SHAPE, np.uint8)
        label[4:16, 8:30, 8:30] = 1
        label[20:32, 8:30, 8:30] = 2
        noise = np.random.default_rng(number).normal(100, 20, SHAPE)
        write_scan(raw / "scans" / f"case{number}.nii.gz", (noise + 40 * label).astype(np.int16))
        write_scan(raw / "truth" / f"case{number}.nii.gz", label)


@pytest.mark.usefixtures("good")
def test_layout_network_and_engine_of_a_stranger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, cache, runs = tmp_path / "raw", ["--cache", str(tmp_path / "cache")], tmp_path / "runs"
    _make_raw(raw)
    assert main(["preprocess", str(raw), "--dataset", "pairs", "--workers", "0", *cache]) == 0
    changes = [word for setting in _TINY for word in ("--set", setting)]
    train = ["train", "raw", *cache, "--runs", str(runs), "--recipe", "cpu", "--device", "cpu"]
    train += ["--set", "inference.overlap=0", "--set", "inference.mirror=false", *changes]
    patch = ["--set", "training.patch_voxels=[32, 48, 32]"]
    assert main([*train, *patch]) == 2
    assert "every axis must be divisible by 32" in capsys.readouterr().err
    assert main([*train, "--set", "training.patch_voxels=[32, 64, 32]"]) == 0
    run = runs / "raw" / "pyramid-w2" / "fold0"
    checkpoint = load_checkpoint(run / "checkpoint_last.pt")
    assert checkpoint.plan is not None
    assert checkpoint.plan.patch_voxels == (32, 64, 32)
    maps = {}
    for engine in ("torch", "plain"):
        out = tmp_path / engine
        options = ["--dataset", "pairs", "--model", str(run), "--out", str(out)]
        assert main(["predict", str(raw), *options, "--engine", engine, "--device", "cpu"]) == 0
        maps[engine] = read_label_map(out / "case0.nii.gz").array
        assert read_grid(out / "case0.nii.gz").shape == read_grid(raw / "scans/case0.nii.gz").shape
    assert np.array_equal(maps["torch"], maps["plain"])
    scores = ["--dataset", "pairs", "--out", str(tmp_path / "scores"), "--workers", "0"]
    assert main(["evaluate", str(tmp_path / "plain"), str(raw), *scores]) == 0
    with (tmp_path / "scores" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["region"] for row in rows} == {"ball", "box"}
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.usefixtures("good")
def test_a_plan_is_made_to_fit_a_strangers_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, cache, runs = tmp_path / "raw", ["--cache", str(tmp_path / "cache")], tmp_path / "runs"
    _make_raw(raw)
    assert main(["preprocess", str(raw), "--dataset", "pairs", "--workers", "0", *cache]) == 0
    recipe = tmp_path / "plain.toml"
    recipe.write_text("[training]\nbatch_size = 1\n")
    changes = [word for setting in _TINY for word in ("--set", setting)]
    train = ["train", "raw", *cache, "--runs", str(runs), "--recipe", str(recipe)]
    capsys.readouterr()
    assert main([*train, "--device", "cpu", "--fold", "all", *changes]) == 0
    assert "patch 48 x 48 x 32 of the plan becomes 64 x 64 x 32" in capsys.readouterr().err
    run = runs / "raw" / "pyramid-w2" / "foldall"
    plan = load_checkpoint(run / "checkpoint_last.pt").plan
    assert plan is not None
    assert plan.patch_voxels == (64, 64, 32)
