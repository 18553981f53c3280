"""The losses of an epoch's steps, and what is done about those that are not finite."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from mednext_cli.foundation.errors import MednextError
from mednext_cli.training.data import BatchSource
from mednext_cli.training.state import TrainingState

_IN_A_ROW = 10
_MOST_NAMED = 6  # cases of one line
logger = logging.getLogger(__name__)


class Ledger:
    """Collects losses on the device and looks at ten at once, since to look is to wait for them.

    A step whose loss or gradient is not finite left the weights alone (`Precision.step`). It counts
    as skipped, its cases are named, and after ten in a row the run ends. Under float16 a gradient
    alone that is not finite means that the loss was scaled too far: counted, but no failure.

    Args:
        state: `loss_sum` and `skipped` of its progress are kept here.
        source: of the batches, which knows their cases.
    """

    def __init__(self, state: TrainingState, source: BatchSource) -> None:
        self._state, self._source = state, source
        self._waiting: list[Tensor] = []
        self._failed: list[int] = []  # steps, the last ones in a row
        self._named: set[tuple[str, ...]] = set()

    @property
    def is_failing(self) -> bool:
        """Whether the last step that was looked at failed."""
        return bool(self._failed)

    def add(self, loss_and_norm: Tensor) -> None:
        """Take down a step that is already counted in `progress.iteration`.

        Raises:
            MednextError: ten steps in a row failed.
        """
        self._waiting.append(loss_and_norm)
        if len(self._waiting) == _IN_A_ROW:
            self.settle()
            if len(self._failed) >= _IN_A_ROW:
                self.give_up()

    def settle(self) -> None:
        """Look at all steps taken down so far, and name the cases of those that failed."""
        if not self._waiting:
            return
        first = self._state.progress.iteration - len(self._waiting)
        values: list[list[float]] = torch.stack(self._waiting).tolist()
        self._waiting.clear()
        for step, (loss, norm) in enumerate(values, first):
            if math.isfinite(loss) and math.isfinite(norm):
                self._state.note(loss_sum=self._state.progress.loss_sum + loss)
                self._failed.clear()
                continue
            self._state.note(skipped=self._state.progress.skipped + 1)
            if not (math.isfinite(loss) and self._state.precision.is_searching_scale()):
                self._failed.append(step)
                self._warn(step)

    def mean_loss(self, steps: int) -> float:
        """Of the current epoch's steps that were taken; NaN where the loss scale left out all.

        Args:
            steps: of an epoch.

        Raises:
            MednextError: every step failed, or the last ten.
        """
        self.settle()
        progress = self._state.progress
        skipped = progress.skipped
        if skipped:
            epoch = progress.epochs + 1
            logger.warning("epoch %d: %d of %d steps were left out", epoch, skipped, steps)
        if len(self._failed) >= _IN_A_ROW or (self._failed and skipped == steps):
            self.give_up()
        return progress.loss_sum / (steps - skipped) if skipped < steps else math.nan

    def refuse_broken_weights(self) -> None:
        """Give up where steps fail and the weights, too, are not finite.

        Raises:
            MednextError: they are.
        """
        if self.is_failing and not self._state.has_finite_weights():
            self.give_up()

    def _warn(self, step: int) -> None:
        """Name the cases of a step that failed; the same cases once."""
        cases = self._source.case_ids([step])
        if cases in self._named:
            return
        self._named.add(cases)
        logger.warning(
            "step %d is left out: the loss or its gradient is not finite (%s)%s",
            step + 1,
            _list(cases),
            self._suspicion([step]),
        )

    def give_up(self) -> NoReturn:
        """Raise the `MednextError` of the steps that failed in a row."""
        steps = self._failed
        suspicion = self._suspicion(steps)
        remedy = (
            "Make them anew with mednext preprocess --force, once their raw scans are right."
            if suspicion
            else "Lower training.learning_rate and begin anew with --restart, or try "
            "--set training.precision=float32."
        )
        raise MednextError(
            f"the loss is not finite in {len(steps)} steps in a row, up to iteration "
            f"{steps[-1] + 1} ({_list(self._source.case_ids(steps))}){suspicion}",
            f"{remedy} None of these steps changed the weights.",
        )

    def _suspicion(self, steps: Iterable[int]) -> str:
        """Names the cases whose voxels are at fault."""
        guilty = self._source.case_ids_not_finite(steps)
        return f"; not finite in the cache: {_list(guilty)}" if guilty else ""


def _list(cases: Sequence[str]) -> str:
    more = len(cases) - _MOST_NAMED
    return ", ".join(cases[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
