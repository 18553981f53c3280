"""The loop: steps up to the end of an epoch, then its validation, its row in the log, its files."""

import logging
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from mednext_cli.foundation.progress import Progress as Bar
from mednext_cli.training.batches import Batch, BatchOrder
from mednext_cli.training.callbacks.calling import Callbacks
from mednext_cli.training.cuda_graph import choose_step
from mednext_cli.training.data import BatchSource
from mednext_cli.training.distributed import Processes, any_of
from mednext_cli.training.epoch_row import epoch_row
from mednext_cli.training.extent import Extent
from mednext_cli.training.interruption import Interruption, deferred_interruption
from mednext_cli.training.ledger import Ledger
from mednext_cli.training.log import RunLog
from mednext_cli.training.loss import build_loss
from mednext_cli.training.overlays import FixedSlices
from mednext_cli.training.pace import Pace
from mednext_cli.training.patch_validation import PatchScores, score_patches
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.sampling import PatchDataset, describe_sampling
from mednext_cli.training.saving import Saver
from mednext_cli.training.schedule import set_learning_rate
from mednext_cli.training.selection import Selection
from mednext_cli.training.splits import Split
from mednext_cli.training.state import TrainingState
from mednext_cli.training.status import bar_note

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopSpec:
    """What the loop needs beside its state; `callbacks` are rank 0's, None where nobody is told."""

    cache: Path
    split: Split
    folder: RunFolder
    device: torch.device
    workers: int
    in_memory: bool
    processes: Processes
    callbacks: Callbacks | None = None


def run_epochs(state: TrainingState, spec: LoopSpec) -> None:
    """Train from where `state` stands to the end of the recipe's epochs, or of its minutes.

    The state is saved every ``checkpoint_minutes`` and at the end; on SIGINT, SIGTERM and SIGHUP
    after the step or the batch of validation at hand; and when batches or validation fail.

    Raises:
        KeyboardInterrupt: somebody asked to stop; the state is saved.
        MednextError: ten losses in a row are not finite, or batches cannot be prepared.
    """
    if state.finished:
        return
    state.join(spec.processes)
    loop = _Loop(state, spec)
    with (
        deferred_interruption() as interruption,
        _open_log(state, spec) as log,
        closing(loop.training_batches()) as batches,
        loop.extent.track() as bar,
    ):
        while not state.progress.is_finished(state.recipe.training):
            loop.run_epoch(batches, bar, interruption)
            if log is not None:
                log.write(state, loop.slices.drawings)
            if spec.callbacks is not None:
                spec.callbacks.after_epoch(state.progress.history[-1])
        if state.progress.has_lost_patience(state.recipe.training):
            logger.info(
                "training ends after epoch %d: the patch Dice was not better for %d epochs",
                state.epoch,
                state.recipe.training.patience,
            )
        if any_of(spec.processes, interruption.requested)[0]:
            raise KeyboardInterrupt


def _open_log(state: TrainingState, spec: LoopSpec) -> AbstractContextManager[RunLog | None]:
    """The first process's, which alone writes."""
    if spec.processes.rank:
        return nullcontext()
    return RunLog(spec.folder, state.epoch, state.spec.deep_supervision)


class _Loop:
    def __init__(self, state: TrainingState, spec: LoopSpec) -> None:
        self._state, self._spec = state, spec
        self._loss = build_loss(state.plan, state.recipe.loss, spec.processes.all_reduce)
        self._step = choose_step(state, self._loss, spec.processes)
        self._training = batch_source(state, spec, training=True)
        self._validation = batch_source(state, spec, training=False)
        self._ledger = Ledger(state, self._training)
        self._saver = Saver(state, spec.folder, self._ledger, spec.processes, spec.callbacks)
        self.extent = Extent(state, spec.processes)
        self._pace = Pace(spec.device, self.extent.steps_left)
        self.slices = FixedSlices()

    def training_batches(self) -> Generator[Batch, None, None]:
        """The batches of all steps that are left, on the device."""
        state = self._state
        return self._training.batches(
            state.progress.iteration, self.extent.steps, self._spec.workers
        )

    def run_epoch(self, batches: Iterator[Batch], bar: Bar, interruption: Interruption) -> None:
        """Steps up to the end of the current epoch, then validation, history and checkpoints."""
        state = self._state
        state.network.train()
        for _ in self.extent.rest_of_epoch():
            self._saver.between_steps(stopping=interruption.requested)
            before = self.extent.done
            with self.extent.counting_time():
                self._take_step(batches)
            bar.advance(self.extent.done - before, note=bar_note(state, self._spec.device))
        with self._saver.saving_on_error():
            with self.extent.counting_time():  # of the steps that a GPU has still to do
                training_loss = self._ledger.mean_loss(self.extent.steps_of_epoch)
            self._ledger.refuse_broken_weights()
            scores = self._score_patches(interruption)
        self._close_epoch(training_loss, scores)

    def _take_step(self, batches: Iterator[Batch]) -> None:
        state = self._state
        set_learning_rate(state.optimiser, state.recipe.training, state.share)
        with self._saver.saving_on_error(), self.extent.counting_wait():
            images, labels = next(batches)
        loss_and_norm = self._step(images, labels)
        if state.average is not None:
            state.average.update(state.progress.iteration)
        state.note(iteration=state.progress.iteration + 1)
        with self._saver.saving_on_error():
            self._ledger.add(loss_and_norm)
        self._pace.after_step()

    def _score_patches(self, interruption: Interruption) -> PatchScores:
        """On the same patches after every epoch, so that epochs compare."""
        count = self._state.recipe.training.validation_iterations
        batches: Iterator[Batch] = iter(())
        if self._spec.split.validation and count:
            batches = self._validation.repeated(count)
        self._state.network.eval()
        self.slices = FixedSlices()
        seen = _until_requested(batches, interruption, self._spec.processes)
        with self._state.with_average():
            return score_patches(self._state, seen, self._loss, self.slices.look)

    def _close_epoch(self, training_loss: float, scores: PatchScores) -> None:
        self._saver.count_time()
        state = self._state
        known = Selection(state.progress.moving_dice, state.progress.best_dice)
        selection = known.after_epoch(scores.mean_dice)
        state.note(
            moving_dice=selection.moving_dice,
            best_dice=selection.best_dice,
            history=(
                *state.progress.history,
                epoch_row(state, training_loss, scores, selection.moving_dice, self._spec.device),
            ),
            loss_sum=0.0,
            skipped=0,
            epoch_step_seconds=0.0,
            epoch_wait_seconds=0.0,
        )
        self._saver.after_epoch(selection.is_best)


def batch_source(state: TrainingState, spec: LoopSpec, training: bool) -> BatchSource:
    """The batches of this process: augmented ones of the training cases, or those of validation."""
    parts = state.recipe.training.accumulate if training else 1
    patches = parts * state.plan.batch_size
    order = BatchOrder(patches, spec.processes.rank, spec.processes.world_size)
    # Foreground is a share of the patches of a step, not of each process's.
    whole = state.plan.model_copy(update={"batch_size": order.batch_size * order.world_size})
    sampling = describe_sampling(
        state.recipe, whole, spec.cache, spec.split, training, spec.in_memory
    )
    on_device = state.recipe.augmentation.device == "network"
    return BatchSource(PatchDataset(sampling), order, spec.device, on_device)


def _until_requested(
    batches: Iterator[Batch], interruption: Interruption, processes: Processes
) -> Iterator[Batch]:
    for batch in batches:
        if any_of(processes, interruption.requested)[0]:
            raise KeyboardInterrupt
        yield batch
