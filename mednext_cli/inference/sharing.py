"""Several processes, also on several machines, share the cases of one output folder."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.outcomes import Outcome, attempt
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.record import PredictionRecord, Standing

_PAUSE_SECONDS = 1.0  # between two looks at what others do
logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What makes label maps: the pipeline of networks, or what joins their results."""

    def run(self, cases: Iterable[Case], count: TileCount) -> Iterator[Outcome[None]]:
        """Do the cases; yield what became of each.

        Raises:
            StorageError: the disk refuses.
        """
        ...


class Share:
    """The cases to do and, at the end, what became of them.

    Attributes:
        cases: to be predicted, by whomever.
        made: cases predicted here.
        failures: cases that failed here.

    Args:
        record: of the folder.
        cases: to be predicted.
        describe: makes what is missing beside a label map that is there.
    """

    def __init__(
        self, record: PredictionRecord, cases: Sequence[Case], describe: Callable[[Case], None]
    ) -> None:
        self._record, self._open, self._describe = record, list(cases), describe
        self.cases = tuple(cases)
        self._by_id = {case.id: case for case in cases}
        self.made: list[Case] = []
        self.failures: list[Outcome[Any]] = []

    def work(self, pipeline: Runner, count: TileCount) -> None:
        """Predict every case that no other process does; take over those of processes that die.

        Raises:
            StorageError: the disk refuses.
        """
        waits = False
        while self._open:
            elsewhere: list[Case] = []
            for outcome in pipeline.run(self._claimed(elsewhere, count), count):
                self._settle(outcome, count)
            self._open = elsewhere
            if elsewhere:
                if not waits:
                    logger.info("another run predicts %s: waiting for it", elsewhere[0].id)
                waits = True
                time.sleep(_PAUSE_SECONDS)

    def _claimed(self, elsewhere: list[Case], count: TileCount) -> Iterator[Case]:
        """The open cases, each claimed for this process; those that others have go `elsewhere`."""
        for case in self._open:
            claimed = attempt(case.id, partial(self._record.claim, case))
            if claimed.error is not None:
                self._fail(case, claimed, count)
            elif claimed.value is Standing.MINE:
                yield case
            elif claimed.value is Standing.UNDESCRIBED:
                self._settle(attempt(case.id, partial(self._describe, case)), count)
            elif claimed.value is Standing.ELSEWHERE:
                elsewhere.append(case)
            else:
                count.end(case.id)

    def _settle(self, outcome: Outcome[None], count: TileCount) -> None:
        case = self._by_id[outcome.name]
        if outcome.error is None:
            self.made.append(case)
            count.end(case.id)
        else:
            self._fail(case, outcome, count)
        self._record.release(case)

    def _fail(self, case: Case, outcome: Outcome[Any], count: TileCount) -> None:
        self.failures.append(outcome)
        self._record.give_up(case)
        count.end(case.id)
