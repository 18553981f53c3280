"""`mednext train --budget`: the recipe of what can be afforded."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.training.afford import AffordSpec, afford
from mednext_cli.training.train import TrainSpec
from tests.training.conftest import NAME, TINY


@pytest.mark.slow
def test_the_largest_that_fits_is_trained(cache: Path) -> None:
    spec = AffordSpec(load_recipe("cpu", TINY), cache / NAME, "100 GiB", "", "cpu")
    large = afford(spec)
    assert large.recipe.model.table["size"] == "L"
    assert large.recipe.model.table["base_channels"] == 4
    assert large.recipe.training.patch_voxels == (16, 32, 16)
    less = afford(replace(spec, budget=f"{large.choice.best.gib / 4} GiB"))
    assert less.choice.best.multiply_adds < large.choice.best.multiply_adds
    assert less.recipe.training.epochs == 2
    assert less.choice.best.precision == "float32"
    half = load_recipe("cpu", (*TINY, "training.precision=bfloat16"))
    assert afford(replace(spec, recipe=half)).choice.best.precision == "bfloat16"
    with pytest.raises(SettingsError, match="so every network takes the same hours"):
        afford(replace(spec, recipe=load_recipe("cpu", ("training.minutes=3",)), budget="1 h"))


def test_a_later_call_goes_on_with_the_network_that_was_chosen(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU hours are measured: another call could afford another network."""
    asked: list[AffordSpec] = []
    trained: list[TrainSpec] = []

    def pretended(spec: AffordSpec) -> SimpleNamespace:
        asked.append(spec)
        training = spec.recipe.training.model_copy(update={"batch_size": len(asked)})
        recipe = spec.recipe.model_copy(update={"training": training})
        return SimpleNamespace(recipe=recipe, choice=None)

    monkeypatch.setattr("mednext_cli.training.afford.afford", pretended)
    monkeypatch.setattr("mednext_cli.commands.train.show_choice", lambda _: None)
    monkeypatch.setattr("mednext_cli.commands.train._train_fold", trained.append)
    folders = ["--cache", str(cache), "--runs", str(tmp_path / "runs"), "--device", "cpu"]

    def train(*options: str) -> int:
        assert main(["train", NAME, *folders, "--recipe", "cpu", *options]) == 0
        return trained[-1].recipe.training.batch_size or 0

    assert train("--budget", "2 GiB, 1 h") == 1
    assert train("--budget", "2GiB,1h") == 1  # not asked again
    assert "as an earlier call chose" in capsys.readouterr().out
    assert trained[0].recipe == trained[1].recipe
    assert train("--budget", "2 GiB, 1 h", "--set", "training.workers=3") == 1
    assert trained[-1].recipe.training.workers == 3  # of this call, not of the one that chose
    assert train("--budget", "2 GiB, 2 h") == 2
    assert train("--budget", "2 GiB, 1 h", "--set", "training.epochs=3") == 3
    assert train("--budget", "2 GiB, 1 h", "--restart") == 4
    assert train("--budget", "2 GiB, 1 h") == 4
    assert train("--budget", "2 GiB, 1 h", "--operators", "stock") == 5  # other memory and hours
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--budget", "much"], "is not a budget"),
        (["--budget", "1 GiB", "--model", "S"], "--budget chooses the network"),
        (["--budget", "1 GiB", "--extend"], "Name the network with --model and --kernel"),
        (["--budget", "1 GiB", "--recipe", "baselines/uxnet"], "among MedNeXts"),
        (["--budget", "1 GiB", "--set", "training.precision=float16"], "does not work on the CPU"),
        (["--device-sheet", "h100"], "--device-sheet is for --budget"),
        (["--budget", "0.0000001 GiB", "--recipe", "cpu"], "nothing fits"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    folders = ["--cache", str(cache), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    small = [part for setting in TINY[:1] for part in ("--set", setting)]
    small = [] if "baselines/uxnet" in options else small
    assert main(["train", NAME, *folders, *options, *small]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
