"""One step: forward, loss, backward, clipped gradients, the optimiser."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mednext_cli.networks.building import run_all_heads
from mednext_cli.training.distributed import mean_of
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.state import TrainingState


def update(state: TrainingState, loss: SegmentationLoss, images: Tensor, labels: Tensor) -> Tensor:
    """Take one step, unless loss or gradient is not finite: then weights and moments stay.

    That is decided on the device, so that the host does not wait for it here. Of several processes
    each has a batch of its own; loss and gradients are means over them, exchanged once a step.

    Args:
        state: network, optimiser and precision are used; progress is left to the caller.
        loss: over the outputs of deep supervision, if the recipe has it.
        images: (B, C, D, H, W) on the network's device; `accumulate` equal parts are run one after
            the other, and the mean of their losses and gradients is taken.
        labels: (B, D, H, W) class indices.

    Returns:
        (2,): the loss, and the norm of the gradient before it was clipped.
    """
    state.optimiser.zero_grad(set_to_none=True)
    parts = state.recipe.training.accumulate
    values: list[Tensor] = []
    for batch in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        with nullcontext() if len(values) == parts - 1 else _own_gradients(state):
            value = forward(state, loss, *batch) / parts
            backward(state, value)
        values.append(value.detach())
    return optimise(state, mean_of(state.processes, torch.stack(values).sum()))


def forward(state: TrainingState, loss: SegmentationLoss, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch; arguments as of `update`."""
    with state.precision.autocast():
        outputs = run_all_heads(state.parallel or state.network, images, state.spec)
    value: Tensor = loss(outputs, labels)
    return value


def backward(state: TrainingState, value: Tensor) -> None:
    """Gradients of the loss, scaled where the precision asks for it."""
    state.precision.scaler.scale(value).backward()  # type: ignore[no-untyped-call]


def _own_gradients(state: TrainingState) -> AbstractContextManager[None]:
    """Adds up the gradients of this process, until those of a last part are exchanged with them."""
    parallel = state.parallel
    return parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext()


def optimise(state: TrainingState, value: Tensor) -> Tensor:
    """Clip the gradients and move the weights; gives what `update` does."""
    state.precision.scaler.unscale_(state.optimiser)
    norm = torch.nn.utils.clip_grad_norm_(
        state.network.parameters(), state.recipe.training.gradient_clip
    )
    state.precision.step(state.optimiser, value, norm)
    return torch.stack([value, norm.to(value.dtype)])
