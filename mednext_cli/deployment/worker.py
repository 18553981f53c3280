"""The inside of a measuring process: networks loaded once, one scan predicted again and again."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from mednext_cli.datasets.dataset import Case
from mednext_cli.deployment.measurement import START, Costs, Failure, Measurement
from mednext_cli.deployment.stopwatch import Stopwatch
from mednext_cli.deployment.task import Task
from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.outcomes import attempt
from mednext_cli.inference.average import NetworkAverage, build_average
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.label_maps import write_labels
from mednext_cli.inference.models import load_models
from mednext_cli.inference.pipeline import Pipeline, Predicted
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.stages import Observe
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.settings.plan import Plan

Send = Callable[[object], None]


class StoppedError(MednextError):
    """A prediction failed; the message is the reason."""


def measure(task: Task, started: float, send: Send) -> Measurement | Failure:
    """Measure a configuration in this process.

    Args:
        task: the configuration.
        started: when the process was asked for, seconds since 1970.
        send: told how many tiles a prediction has, and after each few how many more are done.
    """
    outcome = attempt("measuring", lambda: _measure(task, started, send))
    return outcome.value or Failure(problem=outcome.error or "nothing came of it")


def _measure(task: Task, started: float, send: Send) -> Measurement:
    stopwatch = Stopwatch(torch.device(task.device))
    stopwatch.note(START, time.time() - started, time.process_time())
    with stopwatch.watching():
        with stopwatch("load"):
            networks = load_networks(task)
        sink = _Sink(task.label_map, networks.plan, stopwatch)
        pipeline = Pipeline(networks, sink, workers=0, observe=stopwatch)
        runs = [_predict(pipeline, task.case, stopwatch, send) for _ in range(1 + task.repeats)]
    return Measurement(
        cold=runs[0],
        warm=tuple(runs[1:]),
        tiles=networks.count_tiles(sink.prepared_voxels),
        prepared_voxels=sink.prepared_voxels,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load_networks(task: Task) -> NetworkAverage:
    """The networks as `mednext predict` loads them, held to the task's threads.

    Raises:
        CheckpointError, SettingsError, PluginError: they or the engine cannot be used here.
    """
    torch.set_num_threads(task.threads)
    device = torch.device(task.device)
    models = [model.asked(task.overlap, task.mirror) for model in load_models(task.models)]
    return build_average(models, task.engine, EngineOptions(device, precision=task.precision))


def _predict(pipeline: Pipeline, case: Case, stopwatch: Stopwatch, send: Send) -> Costs:
    count = TileCount(_Forwarded(send), {case.id: 0})
    for outcome in pipeline.run([case], count):
        if outcome.error is not None:
            raise StoppedError(outcome.error)
    return stopwatch.take()


class _Sink:
    """Writes the label map over the last one."""

    def __init__(self, label_map: Path, plan: Plan, observe: Observe) -> None:
        self._label_map, self._plan, self._observe = label_map, plan, observe
        self.prepared_voxels = (0, 0, 0)

    def before_reading(self, case: Case) -> None:
        """Nothing is kept of the scan."""

    def sink(self, case: Case, geometry: SourceGeometry, axes: tuple[int, int]) -> None:
        """Nobody wants the probabilities."""

    def write(self, predicted: Predicted) -> None:
        """Write it as any label map."""
        self.prepared_voxels = predicted.geometry.resampled_shape
        write_labels(self._label_map, predicted, self._plan, self._observe)


class _Forwarded:
    """A progress bar in another process."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many tiles more."""
        del note
        self._send(("done", steps))

    def expect(self, total: int) -> None:
        """So many in this prediction."""
        self._send(("tiles", total))
