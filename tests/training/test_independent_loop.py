"""A run against a loop written anew, in PyTorch alone: weights, rates, Dice, the best checkpoint.

Of ours it takes the network, the loss and the patches. Epsilon is 1e-4, since 1e-8 turns the
float32 noise of gradients that are 0 into whole steps; decay is 0.1, since the published 3e-5 is
lost in the rounding of two epochs.
"""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.sampling import PatchDataset, SamplingSpec
from tests.networks.made import build, mednext
from tests.training.synthetic import NAME, arguments, make_cache, run_folder

EPOCHS, STEPS, BATCH, VALIDATION = 2, 4, 2, 2
RATE, DECAY, EPSILON, CLIP, SEED = 2e-3, 0.1, 1e-4, 0.7, 5
CLASSES, IGNORED = 3, 3
SETTINGS = (
    f"training.epochs={EPOCHS}",
    f"training.iterations_per_epoch={STEPS}",
    f"training.validation_iterations={VALIDATION}",
    f"training.batch_size={BATCH}",
    f"training.learning_rate={RATE}",
    f"training.weight_decay={DECAY}",
    f"training.epsilon={EPSILON}",
    f"training.gradient_clip={CLIP}",
    f"training.seed={SEED}",
)


@dataclass
class Made:
    """What a loop left behind: weights after each epoch, and values by epoch."""

    weights: list[dict[str, Tensor]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    training_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    moving: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    cache: Path
    folder: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    cache = make_cache(folder)
    assert main(arguments(cache, folder / "runs", settings=SETTINGS)) == 0
    return Run(cache / NAME, run_folder(folder / "runs"))


@pytest.fixture(scope="module")
def expected(run: Run) -> Made:
    return _loop(run, CLIP, DECAY)


def _batches(run: Run, cases: str, first: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of the sampler: its seed is the recipe's for training, one more for validation."""
    origin = load_checkpoint(run.folder / "checkpoint_last.pt").origin
    assert origin is not None
    training = cases == "training_cases"
    samples = PatchDataset(
        SamplingSpec(
            cache=run.cache,
            case_ids=getattr(origin, cases),
            patch_voxels=(16, 32, 16),
            batch_size=BATCH,
            oversample_foreground=1 / 3,
            augmentation=AugmentationSettings(mirror_axes=("left_right",)) if training else None,
            seed=SEED if training else SEED + 1,
            in_memory=True,
            ignore=IGNORED,
        )
    )
    drawn = (
        samples.batch(range(batch * BATCH, (batch + 1) * BATCH))
        for batch in range(first, first + count)
    )
    return [(images.float(), labels) for images, labels in drawn]


def _loop(run: Run, clip: float, decay: float) -> Made:
    torch.manual_seed(SEED)
    network = build(mednext("S", 3, 1, CLASSES, base_channels=4))
    loss = SegmentationLoss(ignore=IGNORED)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=RATE, weight_decay=decay, eps=EPSILON, foreach=False
    )
    validation = _batches(run, "validation_cases", 0, VALIDATION)
    made = Made()
    for epoch in range(EPOCHS):
        made.rates.append(RATE * (1 - epoch / EPOCHS) ** 0.9)
        optimiser.param_groups[0]["lr"] = made.rates[-1]
        losses = []
        for images, labels in _batches(run, "training_cases", epoch * STEPS, STEPS):
            optimiser.zero_grad()
            value = loss(network(images, deep_supervision=True), labels)
            value.backward()
            made.norms.append(_clip(network, clip))
            optimiser.step()
            losses.append(value.item())
        made.training_losses.append(sum(losses) / STEPS)
        _validate(network, loss, validation, made)
        made.weights.append({k: v.clone() for k, v in network.state_dict().items()})
    return made


def _clip(network: torch.nn.Module, largest: float) -> float:
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    if norm > largest:
        for gradient in gradients:
            gradient *= largest / norm
    return norm


@torch.no_grad()
def _validate(
    network: torch.nn.Module,
    loss: SegmentationLoss,
    batches: list[tuple[Tensor, Tensor]],
    made: Made,
) -> None:
    losses, shared, sizes = [], torch.zeros(CLASSES), torch.zeros(CLASSES)
    for images, labels in batches:
        outputs = network(images, deep_supervision=True)
        losses.append(float(loss(outputs, labels)))
        guess, truth = outputs[0].argmax(1)[labels != IGNORED], labels[labels != IGNORED]
        for index in range(1, CLASSES):
            shared[index] += 2 * ((guess == index) & (truth == index)).sum()
            sizes[index] += (guess == index).sum() + (truth == index).sum()
    dice = float((shared[1:] / sizes[1:]).mean())
    made.validation_losses.append(sum(losses) / len(losses))
    made.dice.append(dice)
    made.moving.append(0.9 * made.moving[-1] + 0.1 * dice if made.moving else dice)


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def _weights(path: Path) -> dict[str, Tensor]:
    return dict(load_checkpoint(path).state_dict)


TOLERANCE = 2e-4


def test_the_weights_are_those_of_the_plain_loop(run: Run, expected: Made) -> None:
    last = _weights(run.folder / "checkpoint_last.pt")
    assert _distance(last, expected.weights[-1]) < TOLERANCE


@pytest.mark.slow
def test_clipping_and_decay_are_seen_in_the_weights(run: Run, expected: Made) -> None:
    """So that the test above would see them missing."""
    assert min(expected.norms) > CLIP
    for clip, decay in ((math.inf, DECAY), (CLIP, 0.0)):
        other = _loop(run, clip, decay)
        assert _distance(other.weights[-1], expected.weights[-1]) > 10 * TOLERANCE


def test_the_best_checkpoint_has_the_best_moving_dice(run: Run, expected: Made) -> None:
    best = expected.moving.index(max(expected.moving))
    found = _weights(run.folder / "checkpoint_best.pt")
    distances = [_distance(found, weights) for weights in expected.weights]
    assert distances[best] < TOLERANCE
    assert all(one > 10 * TOLERANCE for epoch, one in enumerate(distances) if epoch != best)


def test_the_log_holds_rates_losses_and_dice(run: Run, expected: Made) -> None:
    with (run.folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {
        "learning_rate": expected.rates,
        "training_loss": expected.training_losses,
        "validation_loss": expected.validation_losses,
        "dice_mean": expected.dice,
        "dice_moving": expected.moving,
    }
    for name, values in columns.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values, abs=2e-4), name
    assert len({round(value, 3) for value in expected.dice}) == EPOCHS
    assert [row["skipped_steps"] for row in rows] == ["0"] * EPOCHS
