"""The loop: steps, epochs, checkpoints."""

import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.progress import Progress as Bar
from mednext_cli.foundation.progress import track
from mednext_cli.settings.progress import Row
from mednext_cli.training.interruption import Interruption, deferred_interruption
from mednext_cli.training.ledger import Ledger
from mednext_cli.training.loader import Batch, iterate_batches
from mednext_cli.training.log import RunLog
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.pace import Pace
from mednext_cli.training.patch_validation import (
    PatchScores,
    class_regions,
    score_names,
    score_patches,
)
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.sampling import PatchDataset, SamplingSpec
from mednext_cli.training.schedule import poly_learning_rate
from mednext_cli.training.splits import Split
from mednext_cli.training.state import TrainingState
from mednext_cli.training.step import update

_MOVING = 0.9  # nnU-Net's weight of the past in the moving average of the Dice
_VALIDATION_SEED = 1  # added to the run's seed
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopSpec:
    """What the loop needs beside its state."""

    cache: Path
    split: Split
    folder: RunFolder
    device: torch.device
    patch_voxels: tuple[int, int, int]
    batch_size: int
    workers: int
    in_memory: bool


def run_epochs(state: TrainingState, spec: LoopSpec) -> None:
    """Train from where `state` stands to the recipe's last epoch.

    The state is saved every ``checkpoint_minutes`` and at the end; on SIGINT, SIGTERM and SIGHUP
    after the step or the batch of validation at hand; and when batches or validation fail.

    Raises:
        KeyboardInterrupt: somebody asked to stop; the state is saved.
        MednextError: ten losses in a row are not finite, or batches cannot be prepared.
    """
    if state.finished:
        return
    settings = state.recipe.training
    steps = settings.epochs * settings.iterations_per_epoch
    loop = _Loop(state, spec)
    with (
        deferred_interruption() as interruption,
        RunLog(spec.folder, state.epoch, state.spec.deep_supervision) as log,
        closing(loop.training_batches()) as batches,
        track("training", steps, "iterations", done=state.progress.iteration) as bar,
    ):
        while state.epoch < settings.epochs:
            loop.run_epoch(batches, bar, interruption)
            log.write(state.progress.history, state.finished)
        if interruption.requested:
            raise KeyboardInterrupt


class _Loop:
    def __init__(self, state: TrainingState, spec: LoopSpec) -> None:
        self._state, self._spec = state, spec
        plan, settings = state.plan, state.recipe.training
        ignored = len(plan.class_values) if plan.label_set.ignore is not None else None
        regions = class_regions(plan) if plan.label_set.region_training else ()
        self._loss = SegmentationLoss(regions, ignored, plan.batch_dice)
        self._training = PatchDataset(self._sampling(spec.split.training, training=True))
        self._validation = PatchDataset(self._sampling(spec.split.validation, training=False))
        self._ledger = Ledger(state, self._training, spec.batch_size)
        self._last = settings.epochs * settings.iterations_per_epoch
        self._pace = Pace(spec.device, self._last - state.progress.iteration)
        self._saved = self._counted = time.monotonic()

    def training_batches(self) -> Generator[Batch, None, None]:
        """The batches of all steps that are left, on the device."""
        done = self._state.progress.iteration
        return self._on_device(self._training, done, self._last, self._spec.workers)

    def run_epoch(self, batches: Iterator[Batch], bar: Bar, interruption: Interruption) -> None:
        """Steps up to the end of the current epoch, then validation, history and checkpoints."""
        state = self._state
        steps = state.recipe.training.iterations_per_epoch
        state.network.train()
        self._set_learning_rate()
        for iteration in range(state.progress.iteration, (state.epoch + 1) * steps):
            self._pause(interruption)
            with self._saving_on_error():
                images, labels = next(batches)
            loss_and_norm = update(state, self._loss, images, labels)
            state.note(iteration=iteration + 1)
            with self._saving_on_error():
                self._ledger.add(loss_and_norm)
            self._pace.after_step()
            bar.advance(note=self._note())
        with self._saving_on_error():
            training_loss = self._ledger.mean_loss(steps)
            self._refuse_broken_weights()
            scores = self._validate(interruption)
        self._finish_epoch(training_loss, scores)
        self._save_epoch()

    def _set_learning_rate(self) -> None:
        settings = self._state.recipe.training
        rate = poly_learning_rate(
            settings.learning_rate, self._state.epoch, settings.epochs, settings.poly_exponent
        )
        for group in self._state.optimiser.param_groups:
            group["lr"] = rate

    def _pause(self, interruption: Interruption) -> None:
        """Save between two steps, if it is time or somebody asks to stop."""
        if interruption.requested:
            self._save_last()
            raise KeyboardInterrupt
        if self._is_due():
            self._save_last()

    @contextmanager
    def _saving_on_error(self) -> Iterator[None]:
        """Around what leaves the state whole when it fails."""
        try:
            yield
        except BaseException:
            try:
                self._save_last()
            except MednextError as error:  # a full disk, say; the first error matters more
                logger.warning("%s", error)
            raise

    def _refuse_broken_weights(self) -> None:
        if self._ledger.is_failing and not self._state.has_finite_weights():
            self._ledger.give_up()

    def _validate(self, interruption: Interruption) -> PatchScores:
        self._state.network.eval()
        batches = _until_requested(self._validation_batches(), interruption)
        return score_patches(self._state, batches, self._loss)

    def _finish_epoch(self, training_loss: float, scores: PatchScores) -> None:
        self._count_time()
        state = self._state
        progress = state.progress
        dice, moving = scores.mean_dice, progress.moving_dice
        if not math.isnan(dice):
            moving = dice if math.isnan(moving) else _MOVING * moving + (1 - _MOVING) * dice
        row: Row = {
            "epoch": state.epoch + 1,
            "iteration": progress.iteration,
            "learning_rate": state.optimiser.param_groups[0]["lr"],
            "training_loss": training_loss,
            "validation_loss": scores.loss,
            **{f"dice_{name}": scores.dice.get(name, math.nan) for name in score_names(state.plan)},
            "dice_mean": dice,
            "dice_moving": moving,
            "skipped_steps": progress.skipped,
            "seconds": progress.seconds,
        }
        history = (*progress.history, row)
        state.note(moving_dice=moving, history=history, loss_sum=0.0, skipped=0)

    def _validation_batches(self) -> Iterator[Batch]:
        """The same patches after every epoch, so that epochs compare."""
        count = self._state.recipe.training.validation_iterations
        if not self._spec.split.validation or not count:
            return iter(())
        return self._on_device(self._validation, 0, count, workers=0)

    def _save_epoch(self) -> None:
        progress, folder = self._state.progress, self._spec.folder
        better = not progress.moving_dice <= progress.best_dice and not math.isnan(
            progress.moving_dice
        )
        if better:
            self._state.note(best_dice=progress.moving_dice)
            self._state.save(folder.best)
        if self._state.finished or self._is_due() or not folder.last.exists():
            self._save_last()

    def _is_due(self) -> bool:
        minutes = self._state.recipe.training.checkpoint_minutes
        return time.monotonic() - self._saved > 60 * minutes

    def _save_last(self) -> None:
        self._ledger.settle()
        self._count_time()
        if self._ledger.is_failing and not self._state.has_finite_weights():
            logger.warning("the weights are not finite; the last checkpoint stands")
            return
        self._state.save(self._spec.folder.last)
        self._saved = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self._state.note(seconds=self._state.progress.seconds + now - self._counted)
        self._counted = now

    def _note(self) -> str:
        history = self._state.progress.history
        parts = [f"epoch {self._state.epoch + 1}"]
        if history:
            named = {"loss": history[-1]["training_loss"], "patch Dice": history[-1]["dice_mean"]}
            parts += [
                f"{name} {value:.3f}" for name, value in named.items() if not math.isnan(value)
            ]
        return ", ".join(parts)

    def _sampling(self, case_ids: tuple[str, ...], training: bool) -> SamplingSpec:
        recipe = self._state.recipe
        return SamplingSpec(
            cache=self._spec.cache,
            case_ids=case_ids,
            patch_voxels=self._spec.patch_voxels,
            batch_size=self._spec.batch_size,
            oversample_foreground=recipe.training.oversample_foreground,
            augmentation=recipe.augmentation if training else None,
            seed=recipe.training.seed + (0 if training else _VALIDATION_SEED),
            in_memory=self._spec.in_memory,
            masked_channels=tuple(
                index
                for index, channel in enumerate(self._state.plan.normalisation)
                if channel.use_nonzero_mask
            ),
        )

    def _on_device(
        self, dataset: PatchDataset, first: int, last: int, workers: int
    ) -> Generator[Batch, None, None]:
        device = self._spec.device
        pin = device.type == "cuda"
        with closing(
            iterate_batches(dataset, self._spec.batch_size, first, last, workers, pin)
        ) as batches:
            for images, labels in batches:
                yield (
                    images.to(device, non_blocking=pin, memory_format=torch.channels_last_3d),
                    labels.to(device, non_blocking=pin),
                )


def _until_requested(batches: Iterator[Batch], interruption: Interruption) -> Iterator[Batch]:
    for batch in batches:
        if interruption.requested:
            raise KeyboardInterrupt
        yield batch
