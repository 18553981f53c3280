"""Checkpoints, caches and plans of version 1: read with a note, and refused for the same faults."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.errors import CacheError, CheckpointError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.choice import completed
from mednext_cli.preprocessing.plan_file import read_plan
from mednext_cli.settings.progress import Change, Origin
from mednext_cli.settings.recipe import Recipe
from tests.fuzzing import damaged_json, limits, only_ours, seeds
from tests.inference.synthetic import predict, save_model
from tests.networks.made import mednext
from tests.preprocessing.synthetic import cache_of, make_raw, run
from tests.settings import version_1
from tests.settings.examples import PLAN

Capture = pytest.CaptureFixture[str]
EPOCH = {"epoch": 1.0, "learning_rate": 1e-3, "training_loss": 0.5, "dice_mean": 0.5}
CHANGE = {"setting": "inference.overlap", "before": 0.5, "after": 0.25, "iteration": 2}
ORIGIN = {"training_cases": ["a", "b"], "validation_cases": ["c"], "case_keys": None, "init": None}


RECIPE = Recipe.model_validate(
    {
        "model": {"operators": "stock", "mednext": {"base_channels": 4}},
        "training": {"epochs": 1, "folds": 3},
        "inference": {"overlap": 0.25},
    }
)


@pytest.fixture
def content() -> dict[str, Any]:
    """A checkpoint of version 1 in plain types."""
    network = mednext("S", 3, 1, 2, base_channels=4)
    return {
        "format": "mednext checkpoint",
        "version": 1,
        "architecture": {
            "in_channels": 1,
            "out_channels": 2,
            "base_channels": 4,
            "expansion": [2] * 9,
            "blocks": [2] * 9,
            "encoder_kernel": 3,
            "decoder_kernel": 3,
            "dimensions": 3,
            "norm": "group",
            "grn": False,
            "grn_in_first_downsampling": False,
            "residual": True,
            "residual_resampling": True,
            "deep_supervision": True,
            "network": "mednext",
        },
        "state_dict": build_plain(network).state_dict(),
        "plan": version_1.PLAN,
        "recipe": {
            "model": {"size": "S", "kernel": None, "base_channels": 4, "kernels": "stock"},
            "training": {"epochs": 1, "folds": 3},
            "inference": {"overlap": 0.25},
        },
        "progress": {"iteration": 250, "history": [EPOCH], "seconds": 3.5, "finished": True},
        "optimiser": None,
        "metadata": {"mednext_version": "0.1.0", "origin": ORIGIN, "changes": [CHANGE]},
    }


def test_a_checkpoint_says_the_same(
    content: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(content, path := tmp_path / "one.pt")
    with caplog.at_level("INFO"):
        loaded = load_checkpoint(path)
    assert f"{path}: {version_1.NOTE}" in caplog.text
    assert loaded.plan == PLAN
    assert loaded.network == mednext("S", 3, 1, 2, base_channels=4)
    assert loaded.recipe == completed(RECIPE)
    assert (loaded.progress.iteration, loaded.progress.seconds) == (250, 3.5)
    assert loaded.progress.history == (EPOCH,)
    assert loaded.progress.changes == (Change.model_validate(CHANGE),)
    assert loaded.origin == Origin(training_cases=("a", "b"), validation_cases=("c",))
    assert loaded.finished
    assert loaded.metadata == {"mednext_version": "0.1.0"}


def test_imported_weights_say_nothing(content: dict[str, Any], tmp_path: Path) -> None:
    bare = {"plan": None, "recipe": None, "progress": {}, "metadata": {"imported_from": "x"}}
    torch.save({**content, **bare}, path := tmp_path / "one.pt")
    loaded = load_checkpoint(path)
    assert (loaded.plan, loaded.recipe, loaded.origin) == (None, None, None)
    assert not loaded.finished


@pytest.mark.parametrize(
    ("part", "values", "says"),
    [
        ("plan", {**version_1.PLAN, "labels": {"organ": 70_000}}, "its plan cannot be"),
        ("plan", {**version_1.PLAN, "regions": {"organ": [1, 9]}}, "regions.organ"),
        ("plan", {"labels": 3}, "its plan cannot be"),
        ("recipe", {"training": {"epochs": 0}}, "its recipe cannot be: training.epochs"),
        ("recipe", {"model": {"size": "X"}}, "its recipe cannot be: model.mednext.size"),
        ("recipe", {"model": {"network": 3}}, "its recipe cannot be: model.network"),
        ("recipe", {"model": 3}, "its recipe cannot be: model"),
        ("architecture", {"in_channels": 1}, "a network that cannot be: out_channels"),
        ("architecture", None, "lacks architecture"),
        ("progress", {"iteration": -1}, "its progress cannot be: iteration"),
        ("metadata", {"origin": [1]}, "its origin cannot be"),
        (
            "metadata",
            {"origin": {"training_cases": ["../a"]}},
            "its origin cannot be: training_cases.0",
        ),
        ("metadata", {"changes": 3}, "its progress cannot be: changes"),
        ("version", 0, "checkpoint version 0"),
        ("version", 3, "reads 1 to 2"),
        ("version", True, "checkpoint version True"),
    ],
)
def test_what_cannot_be_is_refused(
    content: dict[str, Any], tmp_path: Path, part: str, values: object, says: str
) -> None:
    torch.save({**content, part: values}, path := tmp_path / "one.pt")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert says in str(error.value)


@pytest.mark.slow
def test_whatever_a_checkpoint_says(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mutant.pt"
    for seed in seeds(40):
        torch.save(damaged_json(content, seed), path)
        with limits(), only_ours(seed):
            load_checkpoint(path)


def test_it_predicts_the_same(tmp_path: Path, capsys: Capture) -> None:
    raw, new = make_raw(tmp_path, 1), save_model(tmp_path / "new.pt", 0)
    torch.save(version_1.as_checkpoint(new), old := tmp_path / "old.pt")
    for model in (new, old):
        options = ("--overlap", "0")
        assert predict(raw / "imagesTr", tmp_path / model.stem, model, options=options) == 0
        assert (version_1.NOTE in capsys.readouterr().err) == (model == old)
    maps = [(tmp_path / name / "case_0.nii.gz").read_bytes() for name in ("new", "old")]
    assert maps[0] == maps[1]


def test_a_cache_is_read_and_filled_up_as_version_2(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path, 2)
    assert run(raw) == 0
    cached = open_cache(cache_of(raw))
    folder = version_1.rewrite_cache(cache_of(raw))
    assert open_cache(folder).plan == cached.plan
    assert open_cache(folder).entry("case_0") == cached.entry("case_0")
    open_cache(folder).case("case_0").check()
    capsys.readouterr()
    assert run(raw) == 0
    said = capsys.readouterr()
    assert version_1.NOTE in said.err
    assert "cases made\t0\ncases kept\t2\n" in said.out
    assert json.loads((folder / "dataset.json").read_text())["version"] == 2


def test_a_cache_that_cannot_be_is_refused(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, 1)
    assert run(raw) == 0
    path = version_1.rewrite_cache(cache_of(raw)) / "dataset.json"
    whole = json.loads(path.read_text())
    for plan in ({**whole["plan"], "ignore": 1}, {"dataset": "x"}, {**whole["plan"], "x": 1}):
        path.write_text(json.dumps({**whole, "plan": plan}))
        with pytest.raises(CacheError, match=r"dataset\.json: .*Run mednext preprocess again"):
            open_cache(path.parent)
    for seed in seeds(60):
        path.write_text(json.dumps(damaged_json(whole, seed)))
        with limits(), only_ours(seed):
            open_cache(path.parent)


def test_a_plan_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**version_1.PLAN, "batch_size": 4}))
    assert read_plan(path, PLAN) == PLAN.model_copy(update={"batch_size": 4})
