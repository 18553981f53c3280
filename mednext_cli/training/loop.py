"""The loop: steps, epochs, checkpoints."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.progress import Progress as Bar
from mednext_cli.foundation.progress import track
from mednext_cli.training.interruption import Interruption, deferred_interruption
from mednext_cli.training.log import Row, RunLog
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.patch_validation import class_regions, score_names, score_patches
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.sampling import PatchDataset, SamplingSpec, iterate_batches
from mednext_cli.training.schedule import poly_learning_rate
from mednext_cli.training.splits import Split
from mednext_cli.training.state import TrainingState

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

    The state is saved every ``checkpoint_minutes`` and at the end; on SIGINT or SIGTERM after the
    step or the validation at hand.

    Raises:
        KeyboardInterrupt: somebody asked to stop; the state is saved.
        MednextError: the loss is not finite.
    """
    if state.finished:
        return
    settings = state.recipe.training
    steps = settings.epochs * settings.iterations_per_epoch
    loop = _Loop(state, spec)
    with (
        deferred_interruption() as interruption,
        RunLog(spec.folder, state.epoch) as log,
        track("training", steps, "iterations", done=state.progress.iteration) as bar,
    ):
        batches = loop.training_batches()
        while state.epoch < settings.epochs:
            loop.run_epoch(batches, bar, interruption)
            log.write(state.progress.history, state.finished)
        if interruption.requested:
            raise KeyboardInterrupt


class _Loop:
    def __init__(self, state: TrainingState, spec: LoopSpec) -> None:
        self._state, self._spec = state, spec
        plan = state.plan
        ignored = len(plan.class_values) if plan.ignore is not None else None
        regions = class_regions(plan) if plan.region_training else ()
        self._loss = SegmentationLoss(regions, ignored, plan.batch_dice)
        self._validation = PatchDataset(self._sampling(spec.split.validation, training=False))
        self._saved = time.monotonic()

    def training_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of all steps that are left, on the device."""
        settings = self._state.recipe.training
        dataset = PatchDataset(self._sampling(self._spec.split.training, training=True))
        last = settings.epochs * settings.iterations_per_epoch
        return self._on_device(dataset, self._state.progress.iteration, last, self._spec.workers)

    def run_epoch(
        self, batches: Iterator[tuple[Tensor, Tensor]], bar: Bar, interruption: Interruption
    ) -> None:
        """Steps up to the end of the current epoch, then validation, history and checkpoints."""
        progress = self._state.progress
        steps = self._state.recipe.training.iterations_per_epoch
        started = time.monotonic()
        losses: list[Tensor] = []
        self._state.network.train()
        self._set_learning_rate()
        for _ in range((self._state.epoch + 1) * steps - progress.iteration):
            if interruption.requested or self._is_due():
                started = self._take_stock(losses, started)
                self._save(self._spec.folder.last)
                if interruption.requested:
                    raise KeyboardInterrupt
            losses.append(self._step(*next(batches)))
            progress.iteration += 1
            bar.advance(note=self._note())
        self._take_stock(losses, started)
        self._finish_epoch(progress.loss_sum / steps)
        progress.loss_sum = 0.0
        self._save_epoch()

    def _set_learning_rate(self) -> None:
        settings = self._state.recipe.training
        rate = poly_learning_rate(
            settings.learning_rate, self._state.epoch, settings.epochs, settings.poly_exponent
        )
        for group in self._state.optimiser.param_groups:
            group["lr"] = rate

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        try:
            return self._update(images, labels)
        except torch.OutOfMemoryError as error:
            raise MednextError(
                f"{self._spec.device} has too little memory for a step",
                "Try --set model.checkpointing=true, or a smaller training.batch_size or "
                "training.patch_voxels; mednext recipes check estimates what is needed.",
            ) from error

    def _update(self, images: Tensor, labels: Tensor) -> Tensor:
        state = self._state
        deep = state.recipe.model.deep_supervision
        state.optimiser.zero_grad(set_to_none=True)
        with state.precision.autocast():
            outputs = (
                state.network(images, deep_supervision=True) if deep else [state.network(images)]
            )
        loss = self._loss(outputs, labels)
        scaler = state.precision.scaler
        scaler.scale(loss).backward()
        scaler.unscale_(state.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(
            state.network.parameters(), state.recipe.training.gradient_clip
        )
        scaler.step(state.optimiser)
        scaler.update()
        detached: Tensor = loss.detach()
        # An infinite gradient ruins the weights, unless the scaler leaves that step out.
        return detached if scaler.is_enabled() else detached + 0 * norm

    def _take_stock(self, losses: list[Tensor], started: float) -> float:
        """Add the losses and the seconds since `started` to the progress; yield the time now."""
        progress = self._state.progress
        total = float(torch.stack(losses).sum()) if losses else 0.0
        losses.clear()
        if not math.isfinite(total):
            raise MednextError(
                f"{self._spec.folder.path}: the loss is not finite at iteration "
                f"{progress.iteration}",
                "The last checkpoint stands. Lower training.learning_rate, or try "
                "--set training.precision=float32.",
            )
        progress.loss_sum += total
        now = time.monotonic()
        progress.seconds += now - started
        return now

    def _finish_epoch(self, training_loss: float) -> None:
        state, started = self._state, time.monotonic()
        progress = state.progress
        state.network.eval()
        scores = score_patches(
            state.network, self._validation_batches(), self._loss, state.plan, state.precision
        )
        dice, moving = scores.mean_dice, progress.moving_dice
        known = not math.isnan(dice)
        if known:
            progress.moving_dice = (
                dice if math.isnan(moving) else _MOVING * moving + (1 - _MOVING) * dice
            )
        progress.seconds += time.monotonic() - started
        row: Row = {
            "epoch": state.epoch + 1,
            "iteration": progress.iteration,
            "learning_rate": state.optimiser.param_groups[0]["lr"],
            "training_loss": training_loss,
            "validation_loss": scores.loss,
            **{f"dice_{name}": scores.dice.get(name, math.nan) for name in score_names(state.plan)},
            "dice_mean": dice,
            "dice_moving": progress.moving_dice,
            "seconds": progress.seconds,
        }
        progress.history.append(row)

    def _validation_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
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
            progress.best_dice = progress.moving_dice
            self._save(folder.best)
        if self._state.finished or self._is_due() or not folder.last.exists():
            self._save(folder.last)

    def _is_due(self) -> bool:
        minutes = self._state.recipe.training.checkpoint_minutes
        return time.monotonic() - self._saved > 60 * minutes

    def _save(self, path: Path) -> None:
        self._state.save(path)
        if path == self._spec.folder.last:
            self._saved = time.monotonic()

    def _note(self) -> str:
        history = self._state.progress.history
        if not history:
            return f"epoch {self._state.epoch + 1}"
        row = history[-1]
        return (
            f"epoch {self._state.epoch + 1}, loss {row['training_loss']:.3f}, "
            f"patch Dice {row['dice_mean']:.3f}"
        )

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
    ) -> Iterator[tuple[Tensor, Tensor]]:
        device = self._spec.device
        pin = device.type == "cuda"
        for images, labels in iterate_batches(
            dataset, self._spec.batch_size, first, last, workers, pin
        ):
            yield (
                images.to(device, non_blocking=pin, memory_format=torch.channels_last_3d),
                labels.to(device, non_blocking=pin),
            )
