"""Callbacks are told of a run, and neither harm it nor change what comes of it."""

import json
import logging
import os
import random
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.callbacks import CallbackSettings
from mednext_cli.settings.recipe import is_resultless, may_change
from mednext_cli.training import cuda_graph
from mednext_cli.training.callbacks.callback import Ending
from mednext_cli.training.callbacks.calling import Callbacks, told
from mednext_cli.training.run_folder import RunFolder
from tests.training.synthetic import arguments, run_folder

PLUGIN_PACKAGES = Path(__file__).parents[1] / "plugin_packages"
ROW = {"epoch": 1.0, "training_loss": 0.5}


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGIN_PACKAGES / "good"))
    find_plugins.cache_clear()
    yield
    find_plugins.cache_clear()


def _callbacks(folder: Path, *names: str, **tables: dict[str, Any]) -> Callbacks:
    settings = CallbackSettings.model_validate({"names": list(names), **tables})
    return Callbacks(settings, RunFolder(folder / "runs" / "Boxes" / "S-k3" / "fold0"))


def _events(run: Path) -> list[list[Any]]:
    lines = (run / "callbacks" / "witness" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "finished"), (KeyboardInterrupt, "interrupted"), (ValueError, "failed")],
)
def test_a_callback_is_told_how_a_run_went(
    error: type[BaseException] | None, outcome: str, tmp_path: Path
) -> None:
    callbacks = _callbacks(tmp_path, "witness")
    best = tmp_path / "checkpoint_best.pt"
    best.touch()
    ending = nullcontext() if error is None else pytest.raises(error)
    with ending, told(callbacks, "Boxes", {}, 3) as dice:
        callbacks.after_epoch(ROW)
        callbacks.after_checkpoint(best, is_best=True)
        dice["organ"] = 0.5
        if error is not None:
            raise error
    assert _events(tmp_path / "runs" / "Boxes" / "S-k3" / "fold0") == [
        ["begin", "Boxes", "S-k3", "0", 3],
        ["epoch", 1.0, 0.5],
        ["checkpoint", "checkpoint_best.pt", True, True],
        ["end", outcome, ["organ"] if error is None else []],
    ]


@pytest.mark.parametrize("when", ["begin", "epoch", "checkpoint", "end"])
@pytest.mark.parametrize("leaves", [False, True])
def test_one_that_fails_is_named_once_and_the_others_go_on(
    when: str, leaves: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clumsy = {"fails_in": when, "leaves": leaves}
    callbacks = _callbacks(tmp_path, "clumsy", "witness", clumsy=clumsy)
    with caplog.at_level(logging.WARNING), told(callbacks, "Boxes", {}, 0):
        for _ in range(2):
            callbacks.after_epoch(ROW)
            callbacks.after_checkpoint(tmp_path / "checkpoint_last.pt", is_best=False)
    reason = "SystemExit: 3" if leaves else "RuntimeError: no such server"
    assert caplog.messages == [
        f"the callback clumsy failed and is left out from here on; the run goes on ({reason})"
    ]
    assert len(_events(tmp_path / "runs" / "Boxes" / "S-k3" / "fold0")) == 6


def test_a_package_that_is_gone_is_a_warning_not_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with told(_callbacks(tmp_path, "uninstalled"), "Boxes", {}, 0):
        pass
    assert "the callback uninstalled failed" in caplog.text


def test_what_a_callback_draws_or_turns_off_is_as_before(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = torch.rand(1), np.random.random(), random.random()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    callbacks = _callbacks(tmp_path, "clumsy")
    callbacks.begin("Boxes", {}, 0)
    callbacks.after_epoch(ROW)
    callbacks.end(Ending("finished"))
    assert torch.is_grad_enabled()
    assert (torch.rand(1), np.random.random(), random.random()) == expected  # noqa: NPY002


def test_a_row_that_a_callback_empties_is_whole_for_the_next(tmp_path: Path) -> None:
    callbacks = _callbacks(tmp_path, "clumsy", "witness")
    callbacks.begin("Boxes", {}, 0)
    row = dict(ROW)
    callbacks.after_epoch(row)
    assert row == ROW
    assert _events(tmp_path / "runs" / "Boxes" / "S-k3" / "fold0")[-1] == ["epoch", 1.0, 0.5]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (('callbacks.names=["witnes"]',), "callbacks.names = 'witnes': there is none of that name"),
        (('callbacks.names=["wandb", "wandb"]',), "a callback is named twice"),
        (("callbacks.wandb.project=p",), "[callbacks.wandb] is of no callback in names"),
        (
            ('callbacks.names=["wandb"]', "callbacks.wandb.projekt=p"),
            "unknown key callbacks.wandb.projekt, did you mean callbacks.wandb.project?",
        ),
        (
            ('callbacks.names=["wandb"]', "callbacks.wandb.mode=away"),
            "callbacks.wandb.mode = 'away': Input should be 'online' or 'offline'",
        ),
        (("callbacks.wandb=5",), "callbacks.wandb = 5: Input should be a valid dictionary"),
    ],
)
def test_what_a_recipe_says_of_them_is_checked(
    settings: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["recipes", "show", "cpu", *words]) == 2
    assert said in capsys.readouterr().err


def test_no_result_depends_on_them() -> None:
    for key in ("callbacks.names", "callbacks.wandb.project"):
        assert may_change(key)
        assert is_resultless(key)


def _state(runs: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    checkpoint = load_checkpoint(run_folder(runs) / "checkpoint_last.pt")
    keys = ("training_loss", "dice_mean", "learning_rate")
    rows = [{key: row[key] for key in keys} for row in checkpoint.progress.history]
    return dict(checkpoint.state_dict), rows


@pytest.mark.slow
def test_a_run_with_callbacks_is_interrupted_goes_on_and_is_the_same(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without, with_them = tmp_path / "without", tmp_path / "with"
    assert main(arguments(boxes, without)) == 0
    update, steps = cuda_graph.update, list[int]()

    def stop_in_the_fifth_step(*given: Any) -> Tensor:
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return update(*given)

    names = ('callbacks.names=["clumsy", "witness"]',)
    with monkeypatch.context() as patch:
        patch.setattr(cuda_graph, "update", stop_in_the_fifth_step)
        assert main(arguments(boxes, with_them, settings=names)) == 130
    settings = (*names, "callbacks.clumsy.fails_in=epoch")  # which may change
    capsys.readouterr()
    assert main(arguments(boxes, with_them, settings=settings)) == 0
    assert capsys.readouterr().err.count("the callback clumsy failed") == 1
    events = _events(run_folder(with_them))
    assert [event[0] for event in events if event[0] != "checkpoint"] == [
        *("begin", "epoch", "end", "begin", "epoch", "end")
    ]
    assert [event[1:] for event in events if event[0] == "end"] == [
        ["interrupted", []],
        ["finished", ["lesion", "organ"]],
    ]
    assert [event[-1] for event in events if event[0] == "begin"] == [0, 1]
    assert all(event[3] for event in events if event[0] == "checkpoint")
    (first, rows), (second, others) = _state(without), _state(with_them)
    assert rows == others
    assert all(torch.equal(first[name], second[name]) for name in first)
