"""The recipe's `[loss]` in a run: its terms are trained with, and checked before."""

import csv
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.plugins import find_plugins
from tests.training.synthetic import arguments, make_cache, run_folder

PLUGIN_PACKAGES = Path(__file__).parents[1] / "plugin_packages"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("boxes"))


def _first_loss(runs: Path) -> float:
    with (run_folder(runs, "all") / "log.csv").open(newline="") as stream:
        return float(next(csv.DictReader(stream))["training_loss"])


def _train(cache: Path, runs: Path, *settings: str) -> int:
    one_epoch = ("training.epochs=1", "training.iterations_per_epoch=1")
    return main(arguments(cache, runs, "--fold", "all", settings=(*one_epoch, *settings)))


@pytest.mark.slow
def test_terms_of_the_recipe_are_trained_with(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step has the same weights and patches: the losses of terms add up."""
    monkeypatch.syspath_prepend(str(PLUGIN_PACKAGES / "good"))
    find_plugins.cache_clear()
    for terms in (["focal"], ["brier"], ["focal", "brier"]):
        text = "-".join(terms)
        assert _train(cache, tmp_path / text, f"loss.terms={terms}") == 0
    find_plugins.cache_clear()
    focal, brier, both = (
        _first_loss(tmp_path / name) for name in ("focal", "brier", "focal-brier")
    )
    assert 0 < brier < 1
    assert both == pytest.approx(focal + brier, abs=2e-5)


def test_a_loss_that_cannot_be_is_refused_at_once(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert _train(cache, runs, 'loss.terms=["dise"]') == 2
    assert "loss.terms = 'dise': there is none of that name. Did you mean dice" in (
        capsys.readouterr().err
    )
    assert _train(cache, runs, "loss.class_weights=[1, 2]") == 2
    assert "has 2 numbers, Dataset001_Boxes has 3 classes" in capsys.readouterr().err
    assert not runs.exists()
