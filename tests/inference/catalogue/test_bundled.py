"""The model that comes with mednext: small, safe, described, and good on a real scan."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.inference.catalogue.listing import list_models, show_model
from mednext_cli.inference.catalogue.names import find_model
from mednext_cli.inference.models import load_models
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.model_card import CARD_NAME, read_card
from tests.inference.synthetic import predict

_MOST_BYTES = 4_000_000


@pytest.fixture
def bundled() -> Path:
    return find_model("hippocampus").folder


def test_it_is_small_and_loads_without_pickle(bundled: Path) -> None:
    files = [path for path in bundled.iterdir() if path.is_file() and path.suffix != ".pyc"]
    assert {path.name for path in files} == {
        "__init__.py", "card.toml", "checkpoint_last.pt", "LICENSE"
    }  # fmt: skip
    assert sum(path.stat().st_size for path in files) <= _MOST_BYTES
    content = torch.load(bundled / "checkpoint_last.pt", weights_only=True)
    assert {value.dtype for value in content["state_dict"].values()} == {torch.float16}
    assert content["optimiser"] is None


def test_its_card_says_what_its_checkpoint_does(bundled: Path) -> None:
    (model,) = load_models([bundled])
    card, checkpoint = read_card(bundled / CARD_NAME), model.checkpoint
    assert checkpoint.finished
    assert checkpoint.origin is not None
    assert len(checkpoint.origin.training_cases) == card.data.cases == 220
    assert checkpoint.origin.validation_cases == ()
    assert card.training.iterations == checkpoint.progress.iteration
    assert card.training.minutes == round(checkpoint.progress.step_seconds / 60, 1)
    assert card.licence == card.data.licence == checkpoint.metadata["licence"] == "CC-BY-SA-4.0"
    assert "Medical Segmentation Decathlon" in (card.data.attribution or "")
    # Trained on every case: what is held out was scored with other weights, and that is said.
    assert card.held_out_dice is None
    assert {(score.of, score.weights) for score in card.scores} >= {
        ("held-out cases", "another run")
    }


def test_its_recipe_is_shipped(bundled: Path) -> None:
    (model,) = load_models([bundled])
    trained, card = model.checkpoint.recipe, read_card(bundled / CARD_NAME)
    assert trained is not None
    assert card.training.recipe == "cpu_whole_scans"
    recipe = load_recipe(card.training.recipe)
    assert recipe.training.epochs == trained.training.epochs
    assert recipe.training.patch_voxels == model.plan.patch_voxels
    assert load_recipe("models/hippocampus").training.epochs == 200
    assert model.checkpoint.network.settings.base_channels == recipe.model.mednext["base_channels"]


def test_ls_and_show_print_it_and_write_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, shown = tmp_path / "models.csv", tmp_path / "card.csv"
    assert main(["models", "ls", "--out", str(listed)]) == 0
    assert "hippocampus\tmednext\t" in capsys.readouterr().out
    assert main(["models", "show", "hippocampus", "--out", str(shown)]) == 0
    assert "data.attribution\t" in capsys.readouterr().out
    assert listed.read_text().startswith("model,source,description,channels,classes,spacing_mm,")
    assert len(shown.read_text().splitlines()) == 1 + len(show_model("hippocampus"))
    assert len(list_models().rows) == 1


def test_a_damaged_copy_is_refused_in_one_line(
    bundled: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundled, copy)
    weights, card = copy / "checkpoint_last.pt", copy / CARD_NAME
    whole, said = weights.read_bytes(), card.read_text(encoding="utf-8")
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for content in (bytes(changed), whole[: len(whole) // 2], b""):
        weights.write_bytes(content)
        assert predict(scans, tmp_path / "out", copy) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "checkpoint_last.pt is damaged" in line
    weights.write_bytes(whole)
    for text in (said.replace("anterior = 1", "anterior = 2"), said[:200], "", "\0"):
        card.write_text(text, encoding="utf-8")
        assert predict(scans, tmp_path / "out", copy) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "card.toml" in line
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_a_real_scan_is_segmented_as_its_label_says(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case it was trained on: whether the chain is whole, not how good the network is."""
    task, case = data_folder / "Task04_Hippocampus", "hippocampus_001.nii.gz"
    monkeypatch.chdir(tmp_path)
    scan = str(task / "imagesTr" / case)
    assert main(["predict", scan, "--model", "hippocampus", "--device", "cpu", "-q"]) == 0
    made = nib.load(tmp_path / "predictions" / case)
    label = nib.load(task / "labelsTr" / case)
    assert np.allclose(made.affine, label.affine)
    found, known = (np.asanyarray(image.dataobj) for image in (made, label))
    for value in (1, 2):
        one, other = found == value, known == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.8
