"""Networks of two dimensions: trained on slices, and predicting them, from recipe to label map."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.training.augmentation.transforms import build_augmentation, enlarged_patch
from mednext_cli.volumes.scans import read_grid, read_label_map
from tests.training.synthetic import NAME, arguments, run_folder

_SLICES = ("model.mednext.dimensions=2", "training.patch_voxels=[1, 32, 16]")


def test_a_network_of_slices_trains_and_predicts(boxes: Path, tmp_path: Path) -> None:
    assert main(arguments(boxes, tmp_path / "runs", settings=_SLICES)) == 0
    run = run_folder(tmp_path / "runs", model="S-k3-2d-w4")
    checkpoint = load_checkpoint(run / "checkpoint_last.pt")
    assert checkpoint.network.patch_rule.dimensions == 2
    assert checkpoint.state_dict["stem.weight"].ndim == 4
    scans = boxes.parent / "raw" / NAME / "imagesTr"
    options = ["--model", str(run), "--out", str(tmp_path / "maps"), "--device", "cpu"]
    assert main(["predict", str(scans), *options]) == 0
    validated = sorted((run / "validation").glob("*.nii.gz"))
    assert validated
    for kept in validated:
        made, scan = tmp_path / "maps" / kept.name, scans / kept.name.replace(".nii", "_0000.nii")
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


def test_augmentation_stays_within_the_slice() -> None:
    settings = load_recipe("mednext").augmentation.model_copy(
        update={"rotation": 1.0, "scaling": 1.0, "low_resolution": 1.0, "blur": 1.0}
    )
    patch = (1, 32, 16)
    read = enlarged_patch(patch, settings)
    assert read[0] == 1
    assert read[1] > patch[1]
    made = build_augmentation(patch, settings)(
        image=torch.randn(2, *read), segmentation=torch.ones(1, *read, dtype=torch.int16)
    )
    assert made["image"].shape == (2, *patch)
    assert made["segmentation"].shape == (1, *patch)
    assert bool(made["segmentation"].all())
