"""Where the time of a training step goes: data, forward, backward, optimiser."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median

import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.torchrun import count_processes
from mednext_cli.training.batches import Batch
from mednext_cli.training.columns import PROFILE
from mednext_cli.training.distributed import ALONE
from mednext_cli.training.loop import batch_source
from mednext_cli.training.loss import SegmentationLoss, build_loss
from mednext_cli.training.memory import check_memory, explained_memory
from mednext_cli.training.schedule import set_learning_rate
from mednext_cli.training.starting import start_state
from mednext_cli.training.state import TrainingState
from mednext_cli.training.step import backward, forward, optimise
from mednext_cli.training.train import TrainSpec, describe_job, describe_loop

PARTS = ("data", "forward", "backward", "optimiser")
_FIRST = 3  # steps that are not timed: kernels are chosen, moments made
Marks = list[float]


@dataclass(frozen=True)
class ProfileSpec:
    """Which run's steps to time, and how many."""

    run: TrainSpec
    steps: int


@dataclass(frozen=True)
class PartTime:
    """One row of profile.csv; `columns.PROFILE` says what each field means."""

    part: str
    seconds: float
    share: float


def profile(spec: ProfileSpec) -> tuple[PartTime, ...]:
    """Take steps as a run does and time their parts; nothing of the run is read or written.

    The device is waited for after each part, so that a step takes a little longer than in training.

    Raises:
        CacheError, CheckpointError, SettingsError: as `train`.
    """
    if count_processes() > 1:
        raise SettingsError("--profile times one process", "Call it without torchrun.")
    job = describe_job(spec.run)
    check_memory(job.demand)
    with explained_memory(job.demand, "training"):
        state = start_state(job)
        loop = describe_loop(job, ALONE)
        source = batch_source(state, loop, training=True)
        last = _FIRST + spec.steps
        with closing(source.batches(0, last, loop.workers)) as batches:
            marks = [
                _time_step(state, build_loss(state.plan, state.recipe.loss), batches)
                for _ in range(last)
            ]
    return summarise(marks[_FIRST:])


def summarise(steps: list[Marks]) -> tuple[PartTime, ...]:
    """A row a part: its median over the steps, and its share of the medians' sum."""
    durations = [[after - before for before, after in pairwise(one)] for one in steps]
    seconds = [median(part) for part in zip(*durations, strict=True)]
    whole = sum(seconds)
    return tuple(
        PartTime(part, value, value / whole)
        for part, value in zip((*PARTS, "step"), (*seconds, whole), strict=True)
    )


def write_profile(path: Path, rows: tuple[PartTime, ...]) -> None:
    """Write profile.csv.

    Raises:
        StorageError: the file cannot be written.
    """
    PROFILE.write(path, map(asdict, rows))


def _time_step(state: TrainingState, loss: SegmentationLoss, batches: Iterator[Batch]) -> Marks:
    """The times at which the parts of a step began and ended, from its beginning on."""
    device = next(state.network.parameters()).device
    state.network.train()
    set_learning_rate(state.optimiser, state.recipe.training, state.share)
    marks = [_now(device)]
    images, labels = next(batches)
    parts = state.recipe.training.accumulate
    images, labels = images.chunk(parts)[0], labels.chunk(parts)[0]
    marks.append(_now(device))
    state.optimiser.zero_grad(set_to_none=True)
    value = forward(state, loss, images, labels)
    marks.append(_now(device))
    backward(state, value)
    marks.append(_now(device))
    optimise(state, value.detach())
    data, forwards, backwards, rest = (b - a for a, b in pairwise([*marks, _now(device)]))
    # The parts of an accumulated batch are alike: one was timed, and counts for all.
    return list(accumulate((0.0, data, parts * forwards, parts * backwards, rest)))


def _now(device: torch.device) -> float:
    """When all that was asked of the device is done."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()
    return time.perf_counter()
