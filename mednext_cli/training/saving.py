"""When and what a run saves. Each file is written beside, then renamed: it is whole or the old."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mednext_cli.foundation.errors import MednextError
from mednext_cli.training.callbacks.calling import Callbacks
from mednext_cli.training.distributed import Processes, any_of
from mednext_cli.training.ledger import Ledger
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.state import TrainingState

logger = logging.getLogger(__name__)


class Saver:
    """Saves a run's state; rank 0 writes, and the others wait for it.

    Args:
        state: what is saved; the time spent is counted in its progress.
        folder: of the run.
        ledger: has losses that are not yet in the progress, and knows whether steps fail.
        processes: that train this run.
        callbacks: rank 0's, told of each file; None where nobody is.
    """

    def __init__(
        self,
        state: TrainingState,
        folder: RunFolder,
        ledger: Ledger,
        processes: Processes,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._state, self._folder, self._ledger = state, folder, ledger
        self._processes, self._callbacks = processes, callbacks
        self._saved = self._counted = time.monotonic()

    def between_steps(self, stopping: bool) -> None:
        """Save if ``checkpoint_minutes`` are over, or if the run is to stop.

        Args:
            stopping: somebody asked this process to stop.

        Raises:
            KeyboardInterrupt: somebody asked any of the processes to.
        """
        stopping, due = any_of(self._processes, stopping, self._is_due())
        if stopping or due:
            self.save_last()
        if stopping:
            raise KeyboardInterrupt

    def after_epoch(self, is_best: bool) -> None:
        """Save the best state if this is it; the newest one at the end, when due, and the first."""
        if is_best:
            self._write(best=True)
        due = self._is_due() or not self._folder.last.exists()
        if any_of(self._processes, self._state.finished or due)[0]:
            self.save_last()

    def save_last(self, alone: bool = False) -> None:
        """Save the newest state, unless failing steps have left weights that are not finite.

        Args:
            alone: do not wait for the other processes, which may be anywhere.
        """
        self._ledger.settle()
        self.count_time()
        if self._ledger.is_failing and not self._state.has_finite_weights():
            logger.warning("the weights are not finite; the last checkpoint stands")
            return
        self._write(best=False, alone=alone)
        self._saved = time.monotonic()

    @contextmanager
    def saving_on_error(self) -> Iterator[None]:
        """Around what leaves the state whole when it fails."""
        try:
            yield
        except BaseException:
            try:
                self.save_last(alone=True)
            except MednextError as error:  # a full disk, say; the first error matters more
                logger.warning("%s", error)
            raise

    def count_time(self) -> None:
        """Add the time since the last count to the progress."""
        now = time.monotonic()
        self._state.note(seconds=self._state.progress.seconds + now - self._counted)
        self._counted = now

    def _write(self, best: bool, alone: bool = False) -> None:
        if self._processes.rank == 0:
            path = self._folder.best if best else self._folder.last
            self._state.save(path)
            if self._callbacks is not None:
                self._callbacks.after_checkpoint(path, best)
        if not alone:
            self._processes.barrier()

    def _is_due(self) -> bool:
        minutes = self._state.recipe.training.checkpoint_minutes
        return time.monotonic() - self._saved > 60 * minutes
