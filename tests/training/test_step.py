"""One step against the same step written out: loss, gradient, clipping, AdamW."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, distributed, nn

from mednext_cli.training.distributed import ALONE
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.precision import Precision
from mednext_cli.training.state import TrainingState
from mednext_cli.training.step import update
from tests.process_groups import distribute, group_of_one

RATE, DECAY, EPSILON = 0.01, 0.1, 1e-3
CPU = torch.device("cpu")


class _Network(nn.Module):
    """Two heads on one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 3, 1)

    def forward(self, images: Tensor, deep_supervision: bool = False) -> Any:
        logits = self.convolution(images)
        return [logits, logits[..., ::2, ::2, ::2]] if deep_supervision else logits


def _state(clip: float = math.inf, deep_supervision: bool = True) -> TrainingState:
    torch.manual_seed(4)
    network = _Network()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=RATE, weight_decay=DECAY, eps=EPSILON, fused=True
    )
    state = SimpleNamespace(
        network=network,
        spec=SimpleNamespace(deep_supervision=deep_supervision),
        optimiser=optimiser,
        precision=Precision("float32", CPU),
        recipe=SimpleNamespace(training=SimpleNamespace(gradient_clip=clip, accumulate=1)),
        processes=ALONE,
        parallel=None,
    )
    return cast(TrainingState, state)


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(2, 1, 4, 4, 4, generator=generator)
    return images, torch.randint(0, 3, (2, 4, 4, 4), generator=generator)


def _expected(clip: float, deep_supervision: bool) -> tuple[list[Tensor], float, float]:
    """Weights after the first step of AdamW, the loss, and the norm before clipping."""
    images, labels = _batch()
    network = _state().network
    logits = network(images)
    outputs = [logits, logits[..., ::2, ::2, ::2]] if deep_supervision else [logits]
    loss = SegmentationLoss()(outputs, labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    norm = math.sqrt(sum(float(one.double().square().sum()) for one in gradients))
    share = min(1.0, clip / norm)
    weights = []
    for weight, gradient in zip(network.parameters(), gradients, strict=True):
        clipped = gradient * share  # both moments of a first step, their bias taken off
        change = clipped / (clipped.abs() + EPSILON)
        weights.append((weight * (1 - RATE * DECAY) - RATE * change).detach())
    return weights, loss.item(), norm


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("clip", [math.inf, 0.05])
def test_a_step_is_that_of_the_formula(clip: float, deep_supervision: bool) -> None:
    weights, loss, norm = _expected(clip, deep_supervision)
    assert norm > 0.05  # so that clipping is seen
    state = _state(clip, deep_supervision)
    made = update(state, SegmentationLoss(), *_batch())
    assert made.tolist() == pytest.approx([loss, norm], rel=1e-5)
    for one, other in zip(state.network.parameters(), weights, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_gradient_of_a_step_is_not_added_to_the_next() -> None:
    """Without movement the second step finds what the first one found."""
    state = _state()
    for group in state.optimiser.param_groups:
        group["lr"] = 0.0
    first, second = (update(state, SegmentationLoss(), *_batch()) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_left_out_and_told(value: float) -> None:
    state = _state()
    images, labels = _batch()
    update(state, SegmentationLoss(), images, labels)
    before = [one.clone() for one in state.network.parameters()]
    moments = [
        {name: moment.clone() for name, moment in found.items()}
        for found in state.optimiser.state.values()
    ]
    images[0, 0, 0, 0, 0] = value
    assert not update(state, SegmentationLoss(), images, labels).isfinite().all()
    assert all(map(torch.equal, before, state.network.parameters()))
    for kept, found in zip(moments, state.optimiser.state.values(), strict=True):
        assert all(torch.equal(kept[name], found[name]) for name in kept)


def test_accumulated_gradients_are_exchanged_once_a_step() -> None:
    """And are those of the whole batch."""
    whole, parts = _state(), _state()
    exchanged: list[Tensor] = []

    def exchange(bucket: distributed.GradBucket) -> None:
        exchanged.append(bucket.buffer().clone())

    parts.recipe.training.accumulate = 2  # type: ignore[misc]
    images, labels = _batch()
    labels[1] = labels[0]  # then Dice, which is a quotient, is the same in parts
    images[1] = images[0]
    loss = SegmentationLoss()
    with group_of_one():
        parts.parallel = distribute(parts.network, exchange)
        made = [update(state, loss, images, labels).tolist() for state in (parts, whole)]
    assert len(exchanged) == 1
    assert made[0] == pytest.approx(made[1], rel=1e-5)
    for one, other in zip(parts.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
