"""One run of an experiment, in a process of its own: ``python -m mednext_cli.experiments.one_run``.

A network that runs out of memory, or leaves the GPU in a state from which a process cannot recover,
takes nobody along. The process reads its task from its standard input, and ends when that closes,
which it does when the process ends that began it, however that was.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from mednext_cli.experiments.layout import ExperimentFolder, RunKey
from mednext_cli.experiments.notes import FailedNote, WholeNote, read_token, write_note
from mednext_cli.foundation.children import GROUP_SIGNALS
from mednext_cli.foundation.devices import is_out_of_memory, pick_device
from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.machine import GIB
from mednext_cli.foundation.memory import peak_bytes
from mednext_cli.foundation.progress import set_verbosity
from mednext_cli.foundation.signals import stop_on_signals
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.values import Frozen
from mednext_cli.training.train import TrainResult, TrainSpec, train

DONE, FAILED, INTERRUPTED = 0, 2, 130
_ORPHANED = 1
logger = logging.getLogger(__name__)


class RunTask(Frozen):
    """What one process is to do.

    Attributes:
        out: of the experiment.
        cache: of the dataset.
        recipe: resolved, with the run's seed, and the run that gives its first weights.
        device: see `TrainSpec`.
        level: of notes, as `logging` has it.
        start_note: what became of the run that it begins from.
    """

    out: Path
    cache: Path
    arm: str
    seed: Annotated[int, Field(ge=0)]
    fold: Annotated[int, Field(ge=0)]
    recipe: Recipe
    device: str
    level: int
    start_note: Path | None = None

    @property
    def key(self) -> RunKey:
        """Which run."""
        return RunKey(self.arm, self.seed, self.fold)

    @property
    def folder(self) -> ExperimentFolder:
        """Of the experiment."""
        return ExperimentFolder(self.out)


def main() -> int:
    """Do the task that stands in the first line of the standard input; the exit code."""
    stop_on_signals()
    try:
        _let_signals_through()
        task = RunTask.model_validate_json(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, daemon=True, name="mednext-parent").start()
        set_verbosity(quiet=task.level > logging.INFO, verbose=task.level <= logging.DEBUG)
        return _attempt(task)
    except KeyboardInterrupt:
        return INTERRUPTED


def _let_signals_through() -> None:
    """They were held back while this process began: see `foundation.children`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(_ORPHANED)


def _attempt(task: RunTask) -> int:
    try:
        write_note(task.folder, task.key, run_task(task))
    except Exception as error:
        note = explain_failure(error)
        logger.debug("%s", task.key.name, exc_info=error)
        write_note(task.folder, task.key, note)
        return FAILED
    return DONE


def run_task(task: RunTask) -> WholeNote:
    """Train and validate; what became of it.

    Raises:
        MednextError: see `train`.
        KeyboardInterrupt: interrupted; the same task carries on.
    """
    result = train(
        TrainSpec(
            cache=task.cache,
            recipe=task.recipe,
            fold=str(task.fold),
            runs=task.folder.runs(task.key),
            device=task.device,
        )
    )
    return _note(task, result)


def _note(task: RunTask, result: TrainResult) -> WholeNote:
    checkpoint = load_checkpoint(result.folder / "checkpoint_last.pt")
    device = pick_device(task.device)
    return WholeNote(
        folder=result.folder.relative_to(task.out).as_posix(),
        device=_device_name(device),
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        minutes=checkpoint.progress.step_seconds / 60,
        all_minutes=result.seconds / 60,
        steps=checkpoint.progress.iteration,
        parameters=_count_parameters(checkpoint.network),
        peak_gib=peak_bytes(device) / GIB,
        start_token=read_token(task.start_note) if task.start_note is not None else "",
    )


def _count_parameters(spec: NetworkSpec) -> int:
    with torch.device("meta"):
        network = build_plain(spec)
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def explain_failure(error: Exception) -> FailedNote:
    """What became of a run that raised this."""
    if isinstance(error, MednextError):
        return FailedNote(reason=str(error), ours=error.exit_code == 1)
    if is_out_of_memory(error):
        return FailedNote(reason="there was too little memory. Use a device with more.")
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return FailedNote(
        reason=f"{text}. This is a fault of ours; --verbose shows where, please report it.",
        ours=True,
    )


if __name__ == "__main__":
    sys.exit(main())
