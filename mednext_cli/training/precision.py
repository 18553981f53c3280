"""Mixed precision where the device has it."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from mednext_cli.foundation.devices import pick_dtype

_DECIDING = ("cpu", "cuda")  # devices whose fused optimisers leave a step out by themselves
_FLAG = "found_inf"


class Precision:
    """The number format of the forward pass, and the loss scaling that goes with it.

    Args:
        name: "auto", "float32", "bfloat16" or "float16". "auto" on CUDA is bfloat16 where the
            hardware has it, else float16; float32 on every other device, where a run may have
            chosen otherwise before (`precision_choice`).
        device: where the network runs.

    Raises:
        SettingsError: float16 on a CPU, which has no arithmetic for it.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._device = device
        self.dtype = pick_dtype(name, device)
        scaled = self.dtype is torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    @property
    def epsilon(self) -> float:
        """AdamW's epsilon: 1e-4 under float16 as published (1e-8 rounds to 0 there), else 1e-8."""
        return 1e-4 if self.dtype is torch.float16 else 1e-8

    def step(self, optimiser: torch.optim.Optimizer, loss: Tensor, norm: Tensor) -> None:
        """Step, unless the loss or the gradient's norm is not finite.

        Where the optimiser is fused the device decides, and the host need not wait: it is handed
        the flag that a `GradScaler` gives it. The loss scale follows overflowing gradients, as
        usual, but not a loss that is not finite by itself, which no scale would mend.

        Args:
            optimiser: its gradients already unscaled.
            loss: of this step.
            norm: of its gradient.
        """
        bad = ~(loss.isfinite() & norm.isfinite())
        if self._device.type in _DECIDING:
            setattr(optimiser, _FLAG, bad.float())
            try:
                optimiser.step()
            finally:
                delattr(optimiser, _FLAG)
        elif not bool(bad):
            optimiser.step()
        if self.scaler.is_enabled():
            self._update_scale(loss)

    def _update_scale(self, loss: Tensor) -> None:
        unit = torch.ones((), device=loss.device)
        before = self.scaler.scale(unit)
        self.scaler.update()
        after = self.scaler.scale(unit)
        self.scaler.update(torch.where(loss.isfinite(), after, before))

    def is_searching_scale(self) -> bool:
        """Whether an overflowing gradient may be the loss scale's doing; waits for the device."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1

    def autocast(self) -> AbstractContextManager[object]:
        """The context of the forward pass."""
        mixed = self.dtype is not torch.float32
        return torch.autocast(self._device.type, self.dtype if mixed else None, enabled=mixed)
