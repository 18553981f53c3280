"""PyTorch, on any of its devices."""

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.kernels import Kernels
from mednext_cli.networks.mednext import MedNeXt
from mednext_cli.preprocessing.plan import Plan

Array = NDArray[np.float32]


class TorchEngine:
    """Channels-last; half precision on CUDA, as in training, full precision elsewhere.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes (softmax) or regions (sigmoid).
        device: cpu, cuda, cuda:N or mps.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, device: str) -> None:
        self._device = torch.device(device)
        if self._device.type == "cpu":
            keep_freed_memory(large=True)
        network = build_network(checkpoint)
        self._network = network.to(  # type: ignore[call-overload]
            self._device, memory_format=torch.channels_last_3d
        )
        self._regions = plan.region_training
        self._precision = _half_precision(self._device)

    def choose_kernels(self, kernels: Kernels) -> None:
        """Which operators run the network, if it is a MedNeXt: see `MedNeXt.kernels`."""
        if isinstance(self._network, MedNeXt):
            self._network.kernels = kernels

    def __call__(self, images: Array) -> Array:
        """Images (B, C, D, H, W) to probabilities (B, K, D, H, W).

        Raises:
            SettingsError: the device has too little memory for a single tile.
        """
        try:
            return self._predict(images)
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise SettingsError(
                    f"{self._device} has too little memory for a tile of {images.shape[2:]} voxels",
                    "Free some, or use --device cpu.",
                ) from error
        half = len(images) // 2
        return np.concatenate([self(images[:half]), self(images[half:])])

    @torch.inference_mode()
    def _predict(self, images: Array) -> Array:
        batch = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last_3d)
        with torch.autocast(self._device.type, self._precision, enabled=bool(self._precision)):
            logits = self._network(batch).float()
        probabilities = logits.sigmoid() if self._regions else logits.softmax(1)
        found: Array = probabilities.cpu().numpy()
        return found


def _half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16, which cannot overflow, where CUDA has it, else float16; None elsewhere."""
    if device.type != "cuda":
        return None
    return (
        torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    )
