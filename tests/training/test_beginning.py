"""A run that begins with another's weights: what the recipe says, and what the run keeps of it."""

import logging
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.growth import Growth
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import InitSettings
from mednext_cli.training.initialise import Start, choose_start, initialise
from tests.networks.made import mednext
from tests.training.conftest import NAME, Train

K3, K5 = mednext("S", 3, 1, 2, 2), mednext("S", 5, 1, 2, 2)
CASES = {"a": "1", "b": "2", "c": "3"}
KERNEL = "bottleneck.0.depthwise.weight"
Logged = pytest.LogCaptureFixture


def _save(path: Path, spec: NetworkSpec = K3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    weights: dict[str, Tensor] = build_plain(spec).state_dict()
    origin = Origin(training_cases=("a", "b"), validation_cases=("c",), case_keys=CASES)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, Checkpoint(spec, weights, origin=origin))
    return weights


def _begin(
    spec: NetworkSpec, path: Path, growth: Growth | None = None, **origin: object
) -> tuple[dict[str, Tensor], Origin]:
    network = build_plain(spec)
    noted = initialise(network, spec, Start(path, "0", growth), Origin.model_validate(origin))
    return network.state_dict(), noted


def test_smaller_kernels_grow_and_all_else_is_copied(tmp_path: Path, caplog: Logged) -> None:
    theirs = _save(tmp_path / "k3.pt")
    with caplog.at_level(logging.INFO):
        ours, origin = _begin(K5, tmp_path / "k3.pt", "centre")
    inner = ours[KERNEL][..., 1:-1, 1:-1, 1:-1]
    assert torch.equal(inner, theirs[KERNEL])
    assert ours[KERNEL].count_nonzero() == inner.count_nonzero()
    assert torch.equal(ours["stem.weight"], theirs["stem.weight"])
    assert origin.init_kernels == (3, 3)
    assert "kernels 3 grown to 5 (centre)" in caplog.text
    same, origin = _begin(K3, tmp_path / "k3.pt", "trilinear")
    assert all(torch.equal(same[name], theirs[name]) for name in theirs)
    assert origin.init_kernels == ()


def test_heads_of_other_classes_are_learnt_anew_with_grown_kernels(tmp_path: Path) -> None:
    theirs = _save(tmp_path / "k3.pt")
    more = replace(K5, out_channels=4)
    ours, _ = _begin(more, tmp_path / "k3.pt", "trilinear")
    assert torch.equal(ours["stem.weight"], theirs["stem.weight"])
    assert ours[KERNEL].shape[-1] == 5


@pytest.mark.parametrize(
    ("source", "growth", "expected"),
    [
        (K3, None, "kernel 3 instead of 5"),
        (mednext("S", 7, 1, 2, 2), "trilinear", "kernels 7, which cannot shrink to 5"),
        (mednext("B", 3, 1, 2, 2), "trilinear", "another network: size B instead of S"),
    ],
)
def test_what_cannot_become_the_network_is_refused(
    tmp_path: Path, source: NetworkSpec, growth: Growth | None, expected: str
) -> None:
    _save(tmp_path / "other.pt", source)
    with pytest.raises(CheckpointError, match=expected):
        _begin(K5, tmp_path / "other.pt", growth)


def test_a_run_or_the_run_of_the_same_fold_will_do(tmp_path: Path) -> None:
    for fold in ("0", "1"):
        _save(tmp_path / "S-k3" / f"fold{fold}" / "checkpoint_last.pt")
    run = tmp_path / "S-k3" / "fold1"
    assert Start(run, "0").file == run / "checkpoint_last.pt"
    assert Start(run.parent, "1").file == run / "checkpoint_last.pt"
    assert _begin(K3, tmp_path / "S-k3")[1].init
    with pytest.raises(CheckpointError, match=r"checkpoint_last\.pt does not exist"):
        _begin(K3, run.parent.parent)


def test_weights_that_have_seen_the_validation_cases_are_named(
    tmp_path: Path, caplog: Logged
) -> None:
    _save(tmp_path / "k3.pt")
    _begin(K3, tmp_path / "k3.pt", validation_cases=("c",), case_keys=CASES)
    other_scans = {"a": "4", "b": "5"}
    _begin(K3, tmp_path / "k3.pt", validation_cases=("a", "b"), case_keys=other_scans)
    assert "its scores" not in caplog.text
    _begin(K3, tmp_path / "k3.pt", validation_cases=("a", "c"), case_keys=CASES)
    assert "was trained on 1 of the 2 cases that validate this fold" in caplog.text


def test_a_run_begins_once() -> None:
    init = InitSettings(upkern="runs/a")
    assert choose_start(None, init, "2") == Start(Path("runs/a"), "2", "trilinear")
    assert choose_start(None, InitSettings(), "2") is None
    with pytest.raises(SettingsError, match=r"--init b\.pt, and the recipe's \[init\] has runs/a"):
        choose_start(Path("b.pt"), init, "2")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["init.upkern=a", "init.checkpoint=b"], "init: give upkern or checkpoint, not both"),
        (["init.growth=centre"], "growth is upkern's"),
        (["init.checkpoint=a", "init.growth=centre"], "growth is upkern's"),
        (["init.upkern=a", "init.growth=center"], "init.growth = 'center'"),
    ],
)
def test_beginnings_that_mean_nothing_are_refused(settings: list[str], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        load_recipe("cpu", settings)


@pytest.mark.slow
def test_upkern_of_the_recipe_is_kept_by_the_run_which_needs_no_other_file_then(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_step = ("training.epochs=1", "training.iterations_per_epoch=1", "training.cases=1")
    small, large = (tmp_path / "runs" / NAME / f"S-k{kernel}-w4" / "fold0" for kernel in (3, 5))
    grown = (*one_step, "model.mednext.kernel=5", f"init.upkern={small}", "init.growth=centre")
    assert train(settings=grown) == 2
    assert "does not exist" in capsys.readouterr().err
    assert train(settings=one_step) == 0
    assert train(settings=grown) == 0
    text = (large / "recipe.toml").read_text()
    assert tomllib.loads(text)["init"] == {"upkern": str(small), "growth": "centre"}
    assert "its kernels of 3 grown by UpKern" in text
    begun = load_checkpoint(small / "checkpoint_last.pt")
    assert begun.origin is not None
    assert len(begun.origin.training_cases) == 1
    # Validated otherwise, the small run has the same weights in another file.
    assert train(settings=(*one_step, "inference.overlap=0.25")) == 0
    assert train(settings=grown) == 0
    elsewhere = (*grown, f"init.upkern={tmp_path / 'moved'}")
    shutil.move(small, tmp_path / "moved")
    assert train(settings=elsewhere) == 0
    assert (large / "recipe.toml").read_text() == text
    capsys.readouterr()
    without = (*one_step, "model.mednext.kernel=5")
    assert train(settings=without) == 2
    assert "init: upkern -> None" in capsys.readouterr().err
    assert train(settings=(*one_step, "training.seed=1")) == 0
    assert train(settings=grown) == 2
    assert "was begun with other weights" in capsys.readouterr().err
