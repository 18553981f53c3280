"""PyTorch, on any of its devices."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from mednext_cli.foundation.devices import is_out_of_memory, pick_dtype, too_little_memory
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.inference.engine import (
    Activation,
    EngineOptions,
    activation_of,
    tiles_at_once,
)
from mednext_cli.networks.building import move_network
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.workload import Workload
from mednext_cli.settings.plan import Plan

logger = logging.getLogger(__name__)


class NetworkEngine:
    """A network that is on its device already.

    Args:
        network: in evaluation mode.
        activation: what makes probabilities of its logits.
        device: where the network is.
        dtype: of the forward pass; float32 is full precision.
    """

    def __init__(
        self, network: nn.Module, activation: Activation, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.device, self.activation = device, activation
        self._network = network
        self._reduced = None if dtype is torch.float32 else dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, D, H, W) to logits (B, K, D, H, W), both on the device."""
        batch = images.to(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, self._reduced, enabled=self._reduced is not None):
            logits: Tensor = self._network(batch)
        return logits


class TorchEngine(NetworkEngine):
    """Channels-last; half precision on CUDA, as in training, full precision elsewhere.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes (softmax) or regions (sigmoid).
        options: how to compute.

    Raises:
        SettingsError: the device has too little memory for the network, fused operators are asked
            for and cannot run there, or it has no such precision.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> None:
        device = options.device
        if device.type == "cpu":
            keep_freed_memory(large=True)
        dtype = pick_dtype(options.precision, device)
        _tell_of_bfloat16(checkpoint, plan, options)
        operators = _choose_operators(checkpoint, plan, options, dtype)
        network = build_network(checkpoint)
        try:
            network = move_network(network, device)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise too_little_memory(device, "the network") from error
            raise
        family, settings = checkpoint.network.family, checkpoint.network.settings
        family.set_operators(network, options.operators, device, operators)
        exact = dtype is torch.float32 and family.is_the_same_by_threads(settings)
        self.runs_side_by_side = device.type == "cpu" and exact
        super().__init__(network, activation_of(plan), device, dtype)


def _tell_of_bfloat16(checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> None:
    """What another precision would bring on this CPU; left alone, results stay as they are."""
    if options.precision != "auto" or options.device.type != "cpu":
        return
    gain = checkpoint.network.family.bfloat16_gain(
        _workload(checkpoint, plan, options, torch.bfloat16)
    )
    if gain is not None and gain > 1:
        logger.info(
            "the network runs in float32; a block of it is %.1f times as fast here in bfloat16 "
            "(--precision bfloat16), which rounds to three digits",
            gain,
        )


def _choose_operators(
    checkpoint: Checkpoint, plan: Plan, options: EngineOptions, dtype: torch.dtype
) -> dict[str, Any] | None:
    """Before the network takes the device's memory; None takes what needs no choice."""
    if options.operators != "auto":
        return None
    workload = _workload(checkpoint, plan, options, dtype)
    return checkpoint.network.family.choose_operators(workload)


def _workload(
    checkpoint: Checkpoint, plan: Plan, options: EngineOptions, dtype: torch.dtype
) -> Workload:
    return Workload(
        network=checkpoint.network,
        patch_voxels=plan.patch_voxels,
        batch=tiles_at_once(options.device, plan.patch_voxels),
        dtype=dtype,
        training=False,
        device=options.device,
    )
