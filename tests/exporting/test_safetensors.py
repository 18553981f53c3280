"""`mednext export --to safetensors`: all of a checkpoint but the optimiser, read back as one."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.inference.synthetic import RECIPE, predict, save_model
from tests.networks.made import build, mednext


def export(model: Path, *options: str) -> int:
    return main(["export", str(model), "--to", "safetensors", *options])


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_it_is_the_checkpoint(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(model) == 0
    path = model.parent / "export" / "one.safetensors"
    assert f"{path}\t" in capsys.readouterr().out
    made, original = load_checkpoint(path), load_checkpoint(model)
    assert (made.network, made.plan, made.recipe) == (
        original.network,
        original.plan,
        original.recipe,
    )
    # As text: the progress holds NaN.
    assert made.progress.model_dump_json() == original.progress.model_dump_json()
    weights = load_file(path)
    assert weights.keys() == original.state_dict.keys()
    for name, value in original.state_dict.items():
        assert torch.equal(weights[name], value), name
        assert torch.equal(made.state_dict[name], value), name
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_its_metadata_says_how_to_use_it(model: Path) -> None:
    assert export(model) == 0
    found = metadata(model.parent / "export" / "one.safetensors")
    assert found["activation"] == "softmax"
    read = {name: json.loads(found[name]) for name in ("outputs", "normalisation", "network")}
    assert read["outputs"] == [
        {"name": "background", "value": 0},
        {"name": "kidney", "value": 1},
        {"name": "tumour", "value": 4},
    ]
    assert read["normalisation"][0]["scheme"] == "z_score"
    assert read["network"]["network"] == "mednext"
    assert json.loads(found["spacing_mm"]) == [2.0, 2.0, 2.0]
    assert json.loads(found["patch_multiples"]) == [16, 16, 16]


def test_it_predicts_the_same(model: Path, tmp_path: Path) -> None:
    assert export(model, "--out", str(tmp_path / "out")) == 0
    voxels = np.random.default_rng(0).normal(100, 20, size=(20, 26, 15)).astype(np.int16)
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), scan)
    found = []
    for number, path in enumerate((model, tmp_path / "out" / "one.safetensors")):
        folder = tmp_path / f"predicted{number}"
        assert predict(scan, folder, path, options=("--workers", "0")) == 0
        found.append(np.asarray(nib.load(folder / "scan.nii.gz").dataobj))
    assert len(np.unique(found[0])) > 1
    np.testing.assert_array_equal(*found)


def test_a_file_for_each_fold(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(
        update={"training": RECIPE.training.model_copy(update={"folds": 2, "epochs": 1})}
    )
    for fold in (0, 1):
        path = tmp_path / "S-k3" / f"fold{fold}" / "checkpoint_last.pt"
        save_model(path, fold, finished=True, recipe=recipe)
    assert export(tmp_path / "S-k3", "--out", str(tmp_path / "out")) == 0
    for fold in (0, 1):
        made = load_checkpoint(tmp_path / "out" / f"fold{fold}" / "checkpoint_last.safetensors")
        original = load_checkpoint(tmp_path / "S-k3" / f"fold{fold}" / "checkpoint_last.pt")
        name = "stem.weight"
        assert torch.equal(made.state_dict[name], original.state_dict[name])


@pytest.mark.parametrize("place", ["tensors", "description"])
def test_a_changed_file_is_refused(
    model: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(model) == 0
    path = model.parent / "export" / "one.safetensors"
    content = bytearray(path.read_bytes())
    if place == "tensors":
        content[-1] ^= 1
    else:
        start = content.index(b"kits19")
        content[start : start + 6] = b"kits21"
    path.write_bytes(content)
    capsys.readouterr()
    assert export(path) == 2
    error = capsys.readouterr().err
    assert f"{path} is damaged: its content does not match its checksum" in error
    assert len(error.strip().splitlines()) == 1


def test_other_safetensors_files_are_no_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange, torn = tmp_path / "strange.safetensors", tmp_path / "torn.safetensors"
    save_file({"weight": torch.zeros(3)}, strange)
    torn.write_bytes(strange.read_bytes()[:20])
    for path, said in (
        (strange, f"{strange} is not a mednext checkpoint"),
        (torn, f"{torn} cannot be read"),
        (tmp_path / "none.safetensors", "does not exist"),
    ):
        assert export(path) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_weights_without_a_plan_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = mednext("S", 3, 1, 2, base_channels=4)
    save_checkpoint(tmp_path / "bare.pt", Checkpoint(spec, build(spec).state_dict()))
    assert export(tmp_path / "bare.pt") == 2
    assert "does not say how its images are prepared" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_an_unknown_format_is_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(model), "--to", "tensorrt"]) == 2
    assert "tensorrt" in capsys.readouterr().err
