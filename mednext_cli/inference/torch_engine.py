"""PyTorch, on any of its devices."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mednext_cli.foundation.devices import is_out_of_memory
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.building import move_network
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import Operators

Array = NDArray[np.float32]


class NetworkEngine:
    """A network that is on its device already.

    Args:
        network: in evaluation mode.
        plan: whether its outputs are classes (softmax) or regions (sigmoid).
        device: where the network is.
        dtype: of the forward pass; float32 is full precision.
    """

    def __init__(
        self, network: nn.Module, plan: Plan, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._network, self._device = network, device
        self._regions = plan.label_set.region_training
        self._reduced = None if dtype is torch.float32 else dtype

    def __call__(self, images: Array) -> Array:
        """Images (B, C, D, H, W) to probabilities (B, K, D, H, W).

        Raises:
            SettingsError: the device has too little memory for a single tile.
        """
        try:
            return self._predict(images)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                tile = " x ".join(map(str, images.shape[2:]))
                raise _too_little_memory(self._device, f"a tile of {tile} voxels") from error
        half = len(images) // 2
        return np.concatenate([self(images[:half]), self(images[half:])])

    @torch.inference_mode()
    def _predict(self, images: Array) -> Array:
        batch = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last_3d)
        with torch.autocast(self._device.type, self._reduced, enabled=self._reduced is not None):
            logits = self._network(batch).float()
        probabilities = logits.sigmoid() if self._regions else logits.softmax(1)
        found: Array = probabilities.cpu().numpy()
        return found


class TorchEngine(NetworkEngine):
    """Channels-last; half precision on CUDA, as in training, full precision elsewhere.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes (softmax) or regions (sigmoid).
        device: cpu, cuda, cuda:N or mps.

    Raises:
        SettingsError: the device has too little memory for the network.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, device: str) -> None:
        place = torch.device(device)
        if place.type == "cpu":
            keep_freed_memory(large=True)
        network = build_network(checkpoint)
        try:
            network = move_network(network, place)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise _too_little_memory(place, "the network") from error
            raise
        super().__init__(network, plan, place, _precision(place))
        self._family = checkpoint.network.family

    def choose_operators(self, operators: Operators) -> None:
        """Which operators run the network.

        Raises:
            SettingsError: fused ones are asked for, and cannot run here.
        """
        self._family.set_operators(self._network, operators, self._device)


def _precision(device: torch.device) -> torch.dtype:
    """On CUDA bfloat16, which cannot overflow, where it has it, else float16; elsewhere float32."""
    if device.type != "cuda":
        return torch.float32
    return (
        torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    )


def _too_little_memory(device: torch.device, what: str) -> SettingsError:
    remedy = "" if device.type == "cpu" else ", or use --device cpu"
    return SettingsError(f"{device} has too little memory for {what}", f"Free some{remedy}.")
