"""How long a run of a recipe takes on this machine: a few real steps on a made-up batch."""

import time
from dataclasses import dataclass

import torch

from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.choice import choose_network, completed
from mednext_cli.scaling.measure import repeat
from mednext_cli.settings.labels import MOST_LABELS, LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.augmentation.batch import Augmentation
from mednext_cli.training.batches import ReadSample
from mednext_cli.training.cuda_graph import choose_step
from mednext_cli.training.data import count_workers
from mednext_cli.training.estimate import DEFAULT_BATCH, DEFAULT_PATCH, EstimateRow
from mednext_cli.training.loss import build_loss
from mednext_cli.training.memory import check_memory, explained_memory
from mednext_cli.training.patch_validation import score_patches
from mednext_cli.training.starting import Setup, build_state
from mednext_cli.training.state import TrainingState

_PATCHES, _SECONDS = 24, 8.0  # to augment: each draws other transforms, so a few tell little


@dataclass(frozen=True)
class Timing:
    """Seconds of what a run consists of.

    Attributes:
        step: forward, loss, backward and the optimiser.
        batch: drawing and augmenting the patches of a step, by all workers together.
        overlap: whether workers prepare batches while the network computes.
        validation: a batch of the check after each epoch.
    """

    step: float
    batch: float
    overlap: bool
    validation: float

    def minutes(self, settings: TrainingSettings) -> float:
        """Of the whole run, the final validation of whole cases left out."""
        step = max(self.step, self.batch) if self.overlap else self.step + self.batch
        steps = settings.iterations_per_epoch * step
        epochs = settings.epochs if settings.minutes is None else 60 * settings.minutes / steps
        return epochs * (steps + settings.validation_iterations * self.validation) / 60


def measure_run(recipe: Recipe, channels: int, classes: int, device: str) -> list[EstimateRow]:
    """Take a few steps of a run and tell how long all of them will take.

    Reading the cache and saving checkpoints are left out, and so is the final validation, which
    depends on the number and size of the cases.

    Args:
        recipe: resolved; where it leaves patch and batch to the data, 128^3 and 2 are taken.
        channels: of the scans.
        classes: background included.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        SettingsError: no dataset has so many classes, the network cannot take the patch, the device
            is not there, or a step takes more memory than is free.
    """
    if classes > MOST_LABELS:  # an estimate may be of more regions; steps here are of classes
        raise SettingsError(f"{classes} classes are not possible", f"Give 2 to {MOST_LABELS}.")
    where = pick_device(device)
    if where.type == "cpu":
        keep_freed_memory(large=False)
    plan = made_up_plan(channels, classes)
    recipe = completed(recipe).with_planned_axes(plan.mirror_axes)
    setup = Setup(recipe, choose_network(recipe.model), plan, where)
    check_memory(setup.demand)
    with explained_memory(setup.demand, "the measurement"):
        state = build_state(setup, Origin())
        timing = _measure(state, where)
    return [
        EstimateRow("measured on", str(where)),
        EstimateRow("a step (s)", f"{timing.step:.3f}"),
        EstimateRow("augmenting a step's patches (s)", f"{timing.batch:.3f}"),
        EstimateRow("whole run but its final validation (minutes)", _minutes(timing, recipe)),
    ]


def _minutes(timing: Timing, recipe: Recipe) -> str:
    minutes = timing.minutes(recipe.training)
    return f"{minutes:.1f}" if minutes < 10 else f"{minutes:,.0f}"


def made_up_plan(channels: int, classes: int) -> Plan:
    """A plan of scans that nobody has seen: 1 mm, and patches and batches as published."""
    labels = {f"label_{value}": value for value in range(1, classes)}
    return Plan(
        dataset="measured",
        layout="folder",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=DEFAULT_PATCH,
        batch_size=DEFAULT_BATCH,
        channels=tuple(f"channel_{number}" for number in range(channels)),
        normalisation=(ChannelNormalisation(scheme="z_score"),) * channels,
        label_set=LabelSet(labels, {name: (value,) for name, value in labels.items()}),
    )


def _measure(state: TrainingState, device: torch.device) -> Timing:
    plan = state.plan
    patches = plan.batch_size * state.recipe.training.accumulate
    shape = (patches, len(plan.channels), *plan.patch_voxels)
    images = torch.randn(shape).to(device, memory_format=torch.channels_last_3d)
    labels = torch.randint(len(plan.class_values), (shape[0], *shape[2:]), dtype=torch.uint8)
    labels = labels.to(device)
    loss = build_loss(plan, state.recipe.loss)
    state.network.train()
    take_step = choose_step(state, loss)
    step = repeat(lambda: take_step(images, labels), device).seconds
    state.network.eval()
    one = images[: plan.batch_size], labels[: plan.batch_size]
    validation = repeat(lambda: score_patches(state, [one], loss), device).seconds
    workers = count_workers(state.recipe.training.workers, device)
    batch = _augmentation_seconds(state, workers) * patches / max(1, workers)
    return Timing(step, batch, workers > 0, validation)


def _made_up_sample(augment: Augmentation, channels: int, seed: int) -> ReadSample:
    """What such a sample reads; made up by the seed, but for the number of labels."""
    box = augment.needed(seed, channels)
    shape = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
    labels = torch.zeros(shape, dtype=torch.uint8)
    return ReadSample(torch.randn(channels, *shape), labels, box.start, seed)


def _augmentation_seconds(state: TrainingState, workers: int) -> float:
    """Of a patch; workers compute with one thread each."""
    augment = Augmentation(state.plan.patch_voxels, state.recipe.augmentation)
    samples = [_made_up_sample(augment, len(state.plan.channels), seed) for seed in range(_PATCHES)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if workers else threads)
    try:
        start, count = time.perf_counter(), 0
        while count < _PATCHES and time.perf_counter() - start < _SECONDS:
            augment(samples[count : count + 1])
            count += 1
        return (time.perf_counter() - start) / count
    finally:
        torch.set_num_threads(threads)
