"""The loss against its formula, written out in plain numpy, and the published constants."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.training.loss import (
    SegmentationLoss,
    deep_supervision_weights,
    downsample_labels,
    region_masks,
)


def test_deep_supervision_weights_are_the_published_ones() -> None:
    published = [0.516129, 0.258065, 0.129032, 0.064516, 0.032258]
    assert deep_supervision_weights(5) == pytest.approx(published, abs=1e-6)


def test_labels_shrink_as_nearest_exact_does() -> None:
    labels = torch.randint(0, 4, (2, 32, 16, 48))
    for step in (1, 2, 4, 8, 16):
        shape = [length // step for length in labels.shape[1:]]
        expected = torch.nn.functional.interpolate(
            labels[:, None].float(), size=shape, mode="nearest-exact"
        )[:, 0]
        assert torch.equal(downsample_labels(labels, shape).float(), expected)


def _expected(logits: np.ndarray, labels: np.ndarray, batch_dice: bool) -> float:
    """Dice (background left out, smooth 1e-5) and cross entropy, as in nnU-Net v1."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponent / exponent.sum(1, keepdims=True)
    onehot = np.moveaxis(np.eye(logits.shape[1])[labels], -1, 1)
    entropy = -np.log((probabilities * onehot).sum(1)).mean()
    axes = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
    true_positive = (probabilities * onehot).sum(axes)
    false_positive = (probabilities * (1 - onehot)).sum(axes)
    false_negative = ((1 - probabilities) * onehot).sum(axes)
    dice = (2 * true_positive + 1e-5) / (
        2 * true_positive + false_positive + false_negative + 1e-5 + 1e-8
    )
    dice = dice[1:] if batch_dice else dice[:, 1:]
    return float(entropy - dice.mean())


@pytest.mark.parametrize("batch_dice", [False, True])
def test_loss_equals_the_formula(batch_dice: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(2, 3, n, n, n, generator=generator, dtype=torch.float64) for n in (8, 4)]
    labels = torch.randint(0, 3, (2, 8, 8, 8), generator=generator)
    expected = sum(
        weight
        * _expected(out.numpy(), downsample_labels(labels, out.shape[2:]).numpy(), batch_dice)
        for weight, out in zip((2 / 3, 1 / 3), outputs, strict=True)
    )
    loss = SegmentationLoss(batch_dice=batch_dice)(outputs, labels)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_ignored_voxels_do_not_count() -> None:
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    labels = torch.randint(0, 3, (1, 4, 4, 4))
    labels[0, :2] = 3
    loss = SegmentationLoss(ignore=3)([logits], labels)
    loss.backward()
    assert logits.grad is not None
    assert torch.all(logits.grad[:, :, :2] == 0)
    assert torch.any(logits.grad[:, :, 2:] != 0)
    visible = SegmentationLoss()([logits[:, :, 2:]], labels[:, 2:])
    assert loss.item() == pytest.approx(visible.item(), rel=1e-5)


def test_perfect_regions_cost_nothing() -> None:
    regions = [(1, 2, 3), (2, 3), (3,)]
    labels = torch.randint(0, 4, (1, 6, 6, 6))
    masks = region_masks(labels, regions)
    assert masks.shape == (1, 3, 6, 6, 6)
    assert torch.equal(masks[:, 1], (labels == 2) | (labels == 3))
    logits = torch.where(masks, 20.0, -20.0)
    loss = SegmentationLoss(regions)
    assert float(loss([logits], labels)) == pytest.approx(-1.0, abs=1e-4)
    assert float(loss([-logits], labels)) > 10


class _FakeRanks:
    """Ranks that are threads: each one's reducer waits for the values of all."""

    def __init__(self, world_size: int) -> None:
        self._values: list[Tensor] = [torch.empty(0)] * world_size
        self._barrier = threading.Barrier(world_size, timeout=60)

    def reducer(self, rank: int) -> Callable[[Tensor], Tensor]:
        def all_reduce(values: Tensor) -> Tensor:
            self._values[rank] = values
            self._barrier.wait()
            total = torch.stack(self._values).sum(0)
            self._barrier.wait()
            return total

        return all_reduce


def _losses_of_ranks(
    outputs: list[Tensor],
    labels: Tensor,
    regions: list[tuple[int, ...]],
    ignore: int | None,
    batch_dice: bool,
) -> list[Tensor]:
    """What each of two ranks finds, of half the batch."""
    ranks, found = _FakeRanks(2), [torch.empty(0)] * 2

    def run(rank: int) -> None:
        loss = SegmentationLoss(regions, ignore, batch_dice, ranks.reducer(rank))
        own = slice(2 * rank, 2 * rank + 2)
        found[rank] = loss([logits[own] for logits in outputs], labels[own])

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("ignore", [None, 3])
@pytest.mark.parametrize("regions", [[], [(1, 2), (2,)]])
def test_two_ranks_have_the_loss_of_one_large_batch(
    regions: list[tuple[int, ...]], ignore: int | None, batch_dice: bool
) -> None:
    """Value and gradient, averaged over the ranks as distributed training averages them."""
    generator = torch.Generator().manual_seed(1)
    channels = len(regions) or 3
    outputs = [
        torch.randn(4, channels, n, n, n, generator=generator, requires_grad=True) for n in (8, 4)
    ]
    labels = torch.randint(0, 3, (4, 8, 8, 8), generator=generator)
    if ignore is not None:  # of the first rank's half of the batch, much more
        labels[0, 1:], labels[3, 1] = ignore, ignore
    whole = SegmentationLoss(regions, ignore, batch_dice)(outputs, labels)
    shared = torch.stack(_losses_of_ranks(outputs, labels, regions, ignore, batch_dice)).mean()
    assert shared.item() == pytest.approx(whole.item(), rel=1e-5)
    for one, other in zip(
        torch.autograd.grad(whole, outputs), torch.autograd.grad(shared, outputs), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-8)


def test_ranks_that_do_not_reduce_have_another_batch_dice() -> None:
    """So that the test above would see it missing."""
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2)) * 3
    labels = torch.zeros(2, 8, 8, 8, dtype=torch.long)
    labels[0, :4], labels[1, 0] = 1, 2
    loss = SegmentationLoss(batch_dice=True)
    apart = (loss([logits[:1]], labels[:1]) + loss([logits[1:]], labels[1:])) / 2
    assert abs(float(apart - loss([logits], labels))) > 1e-2
