"""How long a run is: so many epochs, or so many minutes of steps."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from mednext_cli.foundation.progress import Progress as Bar
from mednext_cli.foundation.progress import track
from mednext_cli.training.distributed import Processes, mean_of
from mednext_cli.training.state import TrainingState

_NO_END = 10**12  # steps that no minutes hold


class Extent:
    """Counts a run's steps and their time, and knows where an epoch and the run end.

    Args:
        state: the seconds of steps in its progress are kept here.
        processes: that train this run; all take the mean of their clocks, so as to end together.
    """

    def __init__(self, state: TrainingState, processes: Processes) -> None:
        self._state, self._processes = state, processes
        self._settings = state.recipe.training

    @property
    def steps(self) -> int:
        """The step before which the run ends at the latest."""
        if self._settings.minutes is not None:
            return _NO_END
        return self._settings.epochs * self._settings.iterations_per_epoch

    @property
    def steps_left(self) -> int:
        """As far as they are known; 0 where minutes end the run."""
        return 0 if self.steps == _NO_END else self.steps - self._state.progress.iteration

    @property
    def steps_of_epoch(self) -> int:
        """Those done in the current epoch."""
        done = self._state.epoch * self._settings.iterations_per_epoch
        return self._state.progress.iteration - done

    def rest_of_epoch(self) -> Iterator[int]:
        """The steps to the end of the current epoch, or of the minutes."""
        for step in range(self.steps_of_epoch, self._settings.iterations_per_epoch):
            if self._settings.minutes is not None and self._state.share >= 1:
                return
            yield step

    @staticmethod
    def clock() -> float:
        """Seconds since some moment, of a step's time; benchmarks have the processor's instead."""
        return time.monotonic()

    @contextmanager
    def counting_time(self) -> Iterator[None]:
        """Around a step: its time counts."""
        start = self.clock()
        yield
        passed = torch.tensor(self.clock() - start, dtype=torch.float64)
        mean = float(mean_of(self._processes, passed))
        progress = self._state.progress
        self._state.note(
            step_seconds=progress.step_seconds + mean,
            epoch_step_seconds=progress.epoch_step_seconds + mean,
        )

    @contextmanager
    def counting_wait(self) -> Iterator[None]:
        """Around what a step waits for: the time of this process counts."""
        start = time.perf_counter()
        yield
        waited = self._state.progress.epoch_wait_seconds + time.perf_counter() - start
        self._state.note(epoch_wait_seconds=waited)

    @property
    def done(self) -> int:
        """What of the progress bar is full: steps, or whole seconds up to the last."""
        if self._settings.minutes is None:
            return self._state.progress.iteration
        return min(int(self._state.progress.step_seconds), round(60 * self._settings.minutes))

    def track(self) -> AbstractContextManager[Bar]:
        """The progress bar of the run."""
        if self._settings.minutes is None:
            return track("training", self.steps, "iterations", done=self.done)
        seconds = round(60 * self._settings.minutes)
        return track("training", seconds, "seconds of steps", done=self.done)
