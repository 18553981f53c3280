"""PyTorch, on any of its devices."""

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.preprocessing.plan import Plan

Array = NDArray[np.float32]


class TorchEngine:
    """Channels-last, half precision on CUDA, full precision elsewhere.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes (softmax) or regions (sigmoid).
        device: cpu, cuda, cuda:N or mps.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, device: str) -> None:
        self._device = torch.device(device)
        network = build_network(checkpoint)
        self._network = network.to(  # type: ignore[call-overload]
            self._device, memory_format=torch.channels_last_3d
        )
        self._regions = plan.region_training

    def __call__(self, images: Array) -> Array:
        """Images (B, C, D, H, W) to probabilities (B, K, D, H, W).

        Raises:
            SettingsError: the device has too little memory for a tile.
        """
        try:
            return self._predict(images)
        except torch.OutOfMemoryError as error:
            raise SettingsError(
                f"{self._device} has too little memory for tiles of {images.shape[2:]}",
                "Free some, or use --device cpu.",
            ) from error

    @torch.inference_mode()
    def _predict(self, images: Array) -> Array:
        batch = torch.from_numpy(images).to(
            self._device, memory_format=torch.channels_last_3d
        )
        with torch.autocast(self._device.type, enabled=self._device.type == "cuda"):
            logits = self._network(batch).float()
        probabilities = logits.sigmoid() if self._regions else logits.softmax(1)
        found: Array = probabilities.cpu().numpy()
        return found
