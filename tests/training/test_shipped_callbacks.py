"""Weights & Biases and MLflow: what a run leaves there, in stand-ins and where they are installed.

A stand-in takes the calls of its package and keeps what it is given; the real one is asked where
it is installed, without a network.
"""

import math
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.settings.callbacks import CallbackSettings
from mednext_cli.training.callbacks.calling import Callbacks, told
from mednext_cli.training.run_folder import RunFolder

RECIPE = {"training": {"epochs": 2, "learning_rate": 1e-3}, "description": ""}


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of a user who has said nothing there; what the callbacks set is taken back."""
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
        del os.environ[name]
    find_plugins.cache_clear()
    yield
    find_plugins.cache_clear()


def _session(
    folder: Path, name: str, epochs: list[int], dice: dict[str, float], **settings: Any
) -> RunFolder:
    run = RunFolder(folder / "runs" / "Boxes" / "S-k3" / "fold0")
    chosen = CallbackSettings.model_validate({"names": [name], name: settings})
    callbacks = Callbacks(chosen, run)
    with told(callbacks, "Boxes", RECIPE, epochs[0] - 1) as scores:
        for epoch in epochs:
            row = {"epoch": float(epoch), "training_loss": 1 / epoch, "validation_loss": math.nan}
            callbacks.after_epoch(row)
            callbacks.after_checkpoint(run.best, is_best=True)
        scores.update(dice)
        if not dice:
            raise KeyboardInterrupt
    return run


def _two_sessions(folder: Path, name: str, **settings: Any) -> RunFolder:
    """One that is interrupted, and one that goes on to the end."""
    with pytest.raises(KeyboardInterrupt):
        _session(folder, name, [1, 2], {}, **settings)
    return _session(folder, name, [3], {"organ": 0.75, "lesion": math.nan}, **settings)


class WandbRun(SimpleNamespace):
    """A run that keeps what it is told."""

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axis = name, step_metric

    def log(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def wandb_runs(monkeypatch: pytest.MonkeyPatch) -> list[WandbRun]:
    """The runs of a stand-in for Weights & Biases."""
    module, runs = ModuleType("wandb"), list[WandbRun]()

    def init(**given: Any) -> WandbRun:
        runs.append(WandbRun(given=given, rows=[], summary={}))
        return runs[-1]

    module.init, module.Settings = init, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_weights_and_biases_is_told_of_one_run(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    run = _two_sessions(tmp_path, "wandb", project="liver", tags=["a"])
    first, second = wandb_runs
    assert first.given["id"] == second.given["id"]
    assert first.given["mode"] == "offline"
    assert first.given["dir"] == str(run.callbacks / "wandb")
    assert (first.given["project"], first.given["group"]) == ("liver", "Boxes")
    assert first.given["config"] == RECIPE
    assert first.axis == ("*", "epoch")
    assert first.rows == [{"epoch": n, "training_loss": 1 / n} for n in (1.0, 2.0)]
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert second.summary == {"best_checkpoint": str(run.best), "final_dice/organ": 0.75}


def test_weights_and_biases_sends_only_where_it_is_said(
    tmp_path: Path, wandb_runs: list[WandbRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    _session(tmp_path, "wandb", [1], {"organ": 0.5})
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    monkeypatch.setenv("WANDB_MODE", "online")
    _session(tmp_path, "wandb", [1], {"organ": 0.5})
    _session(tmp_path, "wandb", [1], {"organ": 0.5}, mode="offline")
    assert [run.given["mode"] for run in wandb_runs] == ["offline", "online", "offline"]


def test_a_restarted_run_is_another_one_there(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    run = _session(tmp_path, "wandb", [1], {"organ": 0.5})
    (run.callbacks / "wandb" / "run_id.txt").unlink()  # as --restart does
    _session(tmp_path, "wandb", [1], {"organ": 0.5})
    first, second = (run.given["id"] for run in wandb_runs)
    assert first != second


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_where_it_is_not_installed_the_extra_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    _session(tmp_path, name, [1], {"organ": 0.5})
    (message,) = caplog.messages
    assert f"the callback {name} failed and is left out" in message
    assert f"pip install 'mednext[{name}]'" in message


class MlflowClient:
    """A stand-in that keeps what it is told, in the store of all clients of one address."""

    stores: dict[str, SimpleNamespace]  # of the test

    def __init__(self, address: str) -> None:
        empty = SimpleNamespace(experiments={}, runs={}, metrics=[], params={}, tags={})
        self._store = self.stores.setdefault(address, empty)

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return self._store.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self._store.experiments[name] = SimpleNamespace(experiment_id="7", place=artifact_location)
        return "7"

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        run_id = f"{experiment}-{len(self._store.runs)}"
        self._store.runs[run_id] = ["RUNNING"]
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id, run_name=run_name))

    def update_run(self, run_id: str, status: str) -> None:
        self._store.runs[run_id].append(status)

    set_terminated = update_run

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        assert run_id in self._store.runs
        self._store.metrics += [(one.key, one.step, one.value) for one in metrics]
        self._store.params |= {one.key: one.value for one in params}

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._store.tags[key] = value


@pytest.fixture
def mlflow_stores(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimpleNamespace]:
    """What a stand-in for MLflow was told, by address."""
    module = ModuleType("mlflow")
    module.MlflowClient = MlflowClient  # type: ignore[attr-defined]
    module.entities = SimpleNamespace(  # type: ignore[attr-defined]
        Param=lambda key, value: SimpleNamespace(key=key, value=value),
        Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(MlflowClient, "stores", {}, raising=False)
    return MlflowClient.stores


METRICS = [
    ("epoch", 1, 1.0),
    ("training_loss", 1, 1.0),
    ("epoch", 2, 2.0),
    ("training_loss", 2, 0.5),
    ("epoch", 3, 3.0),
    ("training_loss", 3, 1 / 3),
    ("final_dice/organ", 0, 0.75),
]


def test_mlflow_is_told_of_one_run(
    tmp_path: Path, mlflow_stores: dict[str, SimpleNamespace]
) -> None:
    run = _two_sessions(tmp_path, "mlflow")
    ((address, store),) = mlflow_stores.items()
    assert address == f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    assert store.runs == {"7-0": ["RUNNING", "KILLED", "RUNNING", "FINISHED"]}
    assert store.experiments["Boxes"].place == (tmp_path / "runs" / "mlartifacts").as_uri()
    assert store.metrics == METRICS
    assert store.params["training.epochs"] == "2"
    assert store.tags == {"folder": str(run.path), "best_checkpoint": str(run.best)}


def test_mlflow_sends_where_it_is_said(
    tmp_path: Path, mlflow_stores: dict[str, SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one")
    _session(tmp_path / "1", "mlflow", [1], {"organ": 0.5})
    settings = {"tracking_uri": "http://two", "experiment": "pilot"}
    _session(tmp_path / "2", "mlflow", [1], {"organ": 0.5}, **settings)
    assert list(mlflow_stores) == ["http://one", "http://two"]
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ
    assert mlflow_stores["http://two"].experiments["pilot"].place is None


@pytest.mark.slow
def test_the_real_weights_and_biases_keeps_it_in_the_runs_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb")
    run = _two_sessions(tmp_path, "wandb")
    assert caplog.messages == []
    own = run.callbacks / "wandb"
    run_id = (own / "run_id.txt").read_text()
    files = sorted(own.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))
    first, second = (path.read_bytes() for path in files)
    for content in (first, second):
        assert all(name in content for name in (b"Boxes S-k3 fold 0", b"learning_rate"))
        assert b"training_loss" in content
        assert b"validation_loss" not in content
    assert b"final_dice/organ" not in first
    assert b"final_dice/organ" in second
    assert b"final_dice/lesion" not in second


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what its own dependencies call deprecated
def test_the_real_mlflow_keeps_it_beside_the_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow")
    run = _two_sessions(tmp_path, "mlflow")
    assert [text for text in caplog.messages if "failed" in text] == []
    run_id = (run.callbacks / "mlflow" / "run_id.txt").read_text()
    store = sqlite3.connect(tmp_path / "runs" / "mlflow.db")
    assert store.execute("SELECT run_uuid, name, status FROM runs").fetchall() == [
        (run_id, "Boxes S-k3 fold 0", "FINISHED")
    ]
    found = store.execute("SELECT key, step, value FROM metrics").fetchall()
    assert sorted(found) == sorted(METRICS)
    parameters = dict(store.execute("SELECT key, value FROM params").fetchall())
    store.close()
    assert (parameters["training.epochs"], parameters["dataset"]) == ("2", "Boxes")
