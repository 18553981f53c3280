"""One step: forward, loss, backward, clipped gradients, the optimiser."""

import torch
from torch import Tensor

from mednext_cli.networks.building import run_all_heads
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.state import TrainingState


def update(state: TrainingState, loss: SegmentationLoss, images: Tensor, labels: Tensor) -> Tensor:
    """Take one step, unless loss or gradient is not finite: then weights and moments stay.

    That is decided on the device, so that the host does not wait for it here.

    Args:
        state: network, optimiser and precision are used; progress is left to the caller.
        loss: over the outputs of deep supervision, if the recipe has it.
        images: (B, C, D, H, W) on the network's device.
        labels: (B, D, H, W) class indices.

    Returns:
        (2,): the loss, and the norm of the gradient before it was clipped.
    """
    state.optimiser.zero_grad(set_to_none=True)
    with state.precision.autocast():
        outputs = run_all_heads(state.network, images, state.spec)
    value = loss(outputs, labels)
    state.precision.scaler.scale(value).backward()
    state.precision.scaler.unscale_(state.optimiser)
    norm = torch.nn.utils.clip_grad_norm_(
        state.network.parameters(), state.recipe.training.gradient_clip
    )
    value = value.detach()
    state.precision.step(state.optimiser, value, norm)
    return torch.stack([value, norm.to(value.dtype)])
