"""Networks of two dimensions: trained on slices, and predicting them, from recipe to label map."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.volumes.scans import read_grid, read_label_map
from tests.preprocessing.synthetic import NAME as BLOBS
from tests.preprocessing.synthetic import make_raw
from tests.training.synthetic import NAME, TINY, arguments, run_folder

_SLICES = ("model.mednext.dimensions=2", "training.patch_voxels=[1, 32, 16]")
# Of other networks than MedNeXt that take slices, the smallest.
_OTHERS = {
    "nnunet": ("dimensions=2", "features=4"),
    "nnunet_resenc": ("dimensions=2", "features=4"),
    "transunet_2d": (
        *("base_channels=32", "resnet_blocks=[1, 1, 1]", "decoder_channels=[8, 8, 8, 8]"),
        *("vit_layers=1", "vit_width=8", "vit_mlp_width=16", "vit_heads=2"),
    ),
}


@pytest.mark.slow
def test_a_network_of_slices_trains_and_predicts(boxes: Path, tmp_path: Path) -> None:
    assert main(arguments(boxes, tmp_path / "runs", settings=_SLICES)) == 0
    run = run_folder(tmp_path / "runs", model="S-k3-2d-w4")
    checkpoint = load_checkpoint(run / "checkpoint_last.pt")
    assert checkpoint.network.patch_rule.dimensions == 2
    assert checkpoint.state_dict["stem.weight"].ndim == 4
    _check_predictions(run, boxes, tmp_path / "maps")


@pytest.mark.slow
@pytest.mark.parametrize("network", _OTHERS)
def test_so_does_every_network_that_has_slices(boxes: Path, tmp_path: Path, network: str) -> None:
    settings = (*TINY[1:], _SLICES[1], *(f"model.{network}.{one}" for one in _OTHERS[network]))
    changes = [part for setting in settings for part in ("--set", setting)]
    words = ["--cache", str(boxes), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(["train", NAME, "--network", network, *words, *changes]) == 0
    [run] = (tmp_path / "runs" / NAME).glob("*/fold0")
    checkpoint = load_checkpoint(run / "checkpoint_last.pt")
    assert (checkpoint.network.name, checkpoint.network.patch_rule.dimensions) == (network, 2)
    assert checkpoint.plan
    assert checkpoint.plan.patch_voxels == (1, 32, 16)
    _check_predictions(run, boxes, tmp_path / "maps")


def _check_predictions(run: Path, boxes: Path, out: Path) -> None:
    """What the run predicts is on the scans' grids, and what its validation predicted."""
    scans = boxes.parent / "raw" / NAME / "imagesTr"
    options = ["--model", str(run), "--out", str(out), "--device", "cpu"]
    assert main(["predict", str(scans), *options]) == 0
    validated = sorted((run / "validation").glob("*.nii.gz"))
    assert validated
    for kept in validated:
        made, scan = out / kept.name, scans / kept.name.replace(".nii", "_0000.nii")
        assert read_grid(made).shape == read_grid(scan).shape
        assert np.array_equal(read_label_map(made).array, read_label_map(kept).array)


def test_the_plans_patch_becomes_a_slice(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "slices.toml"
    recipe.write_text("[model.mednext]\ndimensions = 2\nbase_channels = 2\n")
    words = ["--cache", str(boxes), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    short = ["--set", "training.epochs=1", "--set", "training.iterations_per_epoch=1"]
    short += ["--set", "training.validation_iterations=1", "--fold", "all"]
    assert main(["train", NAME, *words, "--recipe", str(recipe), *short]) == 0
    assert "becomes 1 x 32 x 16" in capsys.readouterr().err


def test_patches_of_several_slices_are_refused(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*_SLICES[:1], "training.patch_voxels=[16, 32, 16]")
    assert main(arguments(boxes, tmp_path, settings=settings)) == 2
    error = capsys.readouterr().err
    assert "a network of slices takes 1 x height x width" in error
    assert "training.patch_voxels to [1, 32, 16]" in error


SPACING_MM = (1.0, 3.0, 1.5)  # of (X, Y, Z): slices lie across the second axis of (D, H, W), too


def _trained(folder: Path, swapped: bool) -> Path:
    """A run of slices on four scans; `swapped` is the same data with Y and Z for each other."""
    order = (0, 2, 1) if swapped else (0, 1, 2)
    affine = np.diag([*(SPACING_MM[axis] for axis in order), 1.0])
    raw = make_raw(folder / "raw", cases=4, size=(36, 10, 28), affine=affine, order=order)
    cache = ["--cache", str(folder / "cache")]
    options = ["--dataset", "msd", *cache, "--workers", "0", "--spacing", "median"]
    assert main(["preprocess", str(raw), *options]) == 0
    settings = (
        *TINY,
        "model.mednext.dimensions=2",
        "training.oversample_foreground=0",  # the cache's list of voxels has an order
        "training.patch_voxels=[1, 16, 32]",
        "training.batch_size=4",
    )
    changes = [part for setting in settings for part in ("--set", setting)]
    runs = ["--runs", str(folder / "runs"), "--device", "cpu", "--recipe", "cpu"]
    assert main(["train", BLOBS, *cache, *runs, *changes]) == 0
    return folder / "runs" / BLOBS / "S-k3-2d-w4" / "fold0"


@pytest.mark.slow
def test_a_network_of_slices_sees_turned_scans_as_the_others(tmp_path: Path) -> None:
    """The coarsest axis second, or first: the same training, and the same labels, turned."""
    plain, swapped = (_trained(tmp_path / str(one), one) for one in (False, True))
    checkpoints = [load_checkpoint(run / "checkpoint_last.pt") for run in (plain, swapped)]
    plans = [checkpoint.plan for checkpoint in checkpoints]
    assert [plan.slice_axis for plan in plans if plan] == [1, 0]
    assert [plan.patch_voxels for plan in plans if plan] == [(1, 16, 32)] * 2
    one, other = (checkpoint.state_dict for checkpoint in checkpoints)
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, rtol=1e-3, atol=1e-4)
    maps = sorted((plain / "validation").glob("*.nii.gz"))
    assert maps
    for path in maps:
        labels = read_label_map(path).array
        turned = read_label_map(swapped / "validation" / path.name).array
        assert (np.swapaxes(turned, 1, 2) == labels).mean() > 0.99
        assert len(np.unique(labels)) > 1
