"""Names of models where other commands take a run or a checkpoint."""

import shutil
from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.inference.catalogue.add import AddModelSpec, add_model
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.progress import Origin
from mednext_cli.training.initialise import Start, initialise


@pytest.fixture(autouse=True)
def kidney(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the user's in its folder; the working folder is an empty one."""
    folder = add_model(AddModelSpec(checkpoint, "kidney")).folder
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def _all_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_export_and_upkern_write_here_and_not_into_the_model(kidney: Path) -> None:
    before = _all_in(kidney)
    assert main(["export", "kidney", "--to", "safetensors"]) == 0
    assert main(["upkern", "--from", "kidney", "--to", "k5"]) == 0
    assert main(["weights", "export", "kidney", "--out", "published.npz"]) == 0
    assert _all_in(Path()) == [
        "checkpoint_last.safetensors",
        "kidney_export",
        "kidney_upkern_k5.pt",
        "published.npz",
    ]
    weights = load_checkpoint(kidney / "checkpoint_last.pt").state_dict
    exported = load_checkpoint(Path("kidney_export/checkpoint_last.safetensors")).state_dict
    assert all(torch.equal(exported[name], weights[name]) for name in weights)
    grown = load_checkpoint(Path("kidney_upkern_k5.pt"))
    assert grown.network.kernels == (5, 5)
    assert torch.equal(grown.state_dict["stem.weight"], weights["stem.weight"])
    assert _all_in(kidney) == before


def test_training_begins_with_them(kidney: Path) -> None:
    theirs = load_checkpoint(kidney / "checkpoint_last.pt")
    network = build_plain(theirs.network)
    start = Start(Path("kidney"), "0", is_option=True)
    assert start.file == kidney / "checkpoint_last.pt"
    noted = initialise(network, theirs.network, start, Origin())
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in theirs.state_dict.items())
    assert noted.init is not None


def test_of_folds_training_takes_its_own_and_upkern_none(
    checkpoint: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, file in enumerate((checkpoint, other, other)):
        fold = Path(f"all/fold{number}")
        fold.mkdir(parents=True)
        shutil.copyfile(file, fold / "checkpoint_last.pt")
    folder = add_model(AddModelSpec(Path("all"), "every")).folder
    assert Start(Path("every"), "1").file == folder / "fold1" / "checkpoint_last.pt"
    assert main(["upkern", "--from", "every", "--to", "k5"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "every holds 3 networks, and --from takes one" in line
    assert not list(Path().glob("*.pt"))


def test_a_model_is_added_under_another_name(kidney: Path) -> None:
    copy = add_model(AddModelSpec(Path("kidney"), "renal")).folder
    assert copy != kidney
    name = "checkpoint_last.pt"
    assert (copy / name).read_bytes() == (kidney / name).read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ["export", "kidny", "--to", "safetensors"],
        ["upkern", "--from", "kidny", "--to", "k5"],
        ["weights", "export", "kidny", "--out", "published.npz"],
        ["models", "add", "kidny", "--name", "mine"],
    ],
)
def test_an_unknown_name_is_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "kidny does not exist, and no model is called that. Did you mean kidney?" in line
    assert not _all_in(Path())


def test_training_knows_no_unknown_name_either(checkpoint: Path) -> None:
    spec = load_checkpoint(checkpoint).network
    start = Start(Path("kidny"), "0", is_option=True)
    with pytest.raises(CheckpointError, match="kidny does not exist, and no model") as caught:
        initialise(build_plain(spec), spec, start, Origin())
    assert "Did you mean kidney?" in caught.value.remedy
