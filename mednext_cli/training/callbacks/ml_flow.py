"""MLflow: the numbers of log.csv as a run there; an optional extra."""

import os
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.files import read_text, write_text
from mednext_cli.foundation.names import check_name
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.sections import Section
from mednext_cli.training.callbacks.callback import Callback, Ending, RunFacts
from mednext_cli.training.callbacks.numbers import measured

_ID_FILE = "run_id.txt"
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_LONGEST_VALUE = 500  # characters of a parameter that every version and store takes


class MlflowSettings(Section):
    """The table `[callbacks.mlflow]`.

    Attributes:
        tracking_uri: of the server or store; left out, as the environment variable
            MLFLOW_TRACKING_URI says, else the file `mlflow.db` in the folder of the runs, and
            nothing is sent (ours).
        experiment: which the run is put into; left out, the dataset's name (ours).
    """

    tracking_uri: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class MlFlow(Callback):
    """A run of MLflow, which a resumed training carries on under the same id.

    The recipe is its parameters, those that the training began with.

    Args:
        settings: see `MlflowSettings`.
    """

    Settings: ClassVar = MlflowSettings
    requires: ClassVar = {"mlflow": "mednext[mlflow]"}

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._run_id = ""

    def begin(self, run: RunFacts) -> None:
        """Open the run, or the one that was opened when the training began."""
        given = self._settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if given is None:  # its use would be reported to its makers all the same
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._mlflow = _import_mlflow()
        # A client of its own: what the process has set for itself elsewhere stays as it is.
        self._client = self._mlflow.MlflowClient(given or f"sqlite:///{run.runs / 'mlflow.db'}")
        path = run.own / _ID_FILE
        if path.is_file():
            self._run_id = check_name(read_text(path).strip())
            self._client.update_run(self._run_id, status="RUNNING")
            return
        experiment = self._experiment(self._settings.experiment or run.dataset, run, given is None)
        self._run_id = self._client.create_run(experiment, run_name=run.name).info.run_id
        write_text(path, self._run_id)
        values = flatten({**run.recipe, "dataset": run.dataset, "fold": run.fold})
        parameters = [
            self._mlflow.entities.Param(key, str(value)[:_LONGEST_VALUE])
            for key, value in values.items()
        ]
        self._client.log_batch(self._run_id, params=parameters)
        self._client.set_tag(self._run_id, "folder", str(run.folder))

    def after_epoch(self, row: Mapping[str, float]) -> None:
        """Log the row, by its epoch."""
        self._log(row, int(row["epoch"]))

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        """Note where the best weights are."""
        if is_best:
            self._client.set_tag(self._run_id, "best_checkpoint", str(path))

    def end(self, ending: Ending) -> None:
        """Close the run, with Dice by region."""
        self._log({f"final_dice/{region}": dice for region, dice in ending.dice.items()}, 0)
        self._client.set_terminated(self._run_id, _STATUS[ending.outcome])

    def _experiment(self, name: str, run: RunFacts, is_local: bool) -> Any:  # noqa: ANN401 - theirs
        """The id of the experiment of that name, which is made where it is not yet there."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = (run.runs / "mlartifacts").as_uri() if is_local else None
        return self._client.create_experiment(name, artifact_location=place)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [
            self._mlflow.entities.Metric(_allowed(key), value, now, step)
            for key, value in measured(values).items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)


def _allowed(name: str) -> str:
    """A name of a metric in which what MLflow refuses is an underscore."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)


def _import_mlflow() -> Any:  # noqa: ANN401 - untyped where it is not installed
    try:
        return import_module("mlflow")
    except ImportError as error:
        raise MednextError(
            "MLflow is not installed", "Install it with pip install 'mednext[mlflow]'."
        ) from error
