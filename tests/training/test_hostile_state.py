"""A run's checkpoint, or one to start from, that says what cannot be: refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mednext_cli.networks.checkpoint import load_checkpoint
from tests.fuzzing import damaged_json, limits, only_ours, seeds
from tests.inference.mutations import NETWORK, put
from tests.networks.archives import read_content
from tests.training.conftest import NAME, Train

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
Change = Callable[[dict[str, Any]], object]


def _moment(value: torch.Tensor) -> Change:
    return put("optimiser", "adamw", "state", 0, "exp_avg", value=value)


STATES: dict[str, Change] = {
    "moment's shape": _moment(torch.zeros(3)),
    "moment not finite": _moment(torch.tensor(float("nan"))),
    "steps": put("optimiser", "adamw", "state", 0, "step", value=torch.tensor(-1.0)),
    "no state": put("optimiser", "adamw", value={}),
    "no groups": put("optimiser", "adamw", "param_groups", value=[]),
    "rate": put("optimiser", "adamw", "param_groups", 0, "lr", value=float("nan")),
    "no optimiser": put("optimiser", value=None),
    "iteration": put("progress", "iteration", value=-1),
    "text as iteration": put("progress", "iteration", value="3"),
    "seconds": put("progress", "seconds", value=float("inf")),
    "Dice": put("progress", "best_dice", value=7.0),
    "history": put("progress", "history", value=[{"epoch": "one"}]),
    "endless history": put("progress", "history", value=[{"epoch": 1.0}] * 1000),
    "recipe": put("recipe", "training", "batch_size", value=-1),
}


def changed(path: Path, change: Change) -> Path:
    content = read_content(path)
    change(content)
    torch.save(content, path)
    return path


def test_a_run_does_not_go_on_from_it(train: Train, tmp_path: Path, capsys: Capture) -> None:
    assert train() == 0
    last = tmp_path / "runs" / NAME / "S-k3-w4" / "fold0" / "checkpoint_last.pt"
    whole = last.read_bytes()
    for name, change in {**STATES, **dict(list(NETWORK.items())[::6])}.items():
        last.write_bytes(whole)
        changed(last, change)
        capsys.readouterr()
        with limits():
            assert train("--quiet") == 2, name
        said = capsys.readouterr().err
        assert said.count("error:") == 1, (name, said)
        assert "--restart" in said or "nobody's" in said, (name, said)
    last.write_bytes(whole)
    assert train() == 0


def test_nothing_starts_from_it(train: Train, tmp_path: Path, capsys: Capture) -> None:
    assert train() == 0
    best = tmp_path / "runs" / NAME / "S-k3-w4" / "fold0" / "checkpoint_best.pt"
    start, runs = tmp_path / "start.pt", tmp_path / "others"
    chosen = {name: STATES[name] for name in ("iteration", "Dice", "recipe")}
    mutants = {**dict(list(NETWORK.items())[::4]), **chosen}
    for name, change in mutants.items():
        start.write_bytes(best.read_bytes())
        changed(start, change)
        capsys.readouterr()
        with limits():
            assert train("--init", str(start), "--quiet", runs=runs) == 2, name
        assert capsys.readouterr().err.count("error:") == 1, name
    content = read_content(best)
    for seed in seeds(10):
        torch.save(damaged_json(content, seed), start)
        with limits(), only_ours(seed):
            load_checkpoint(start)
