"""The moving average of a network's weights: what is validated, predicted with and saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average over the steps, as long as the network itself at first.

    After step t the past counts ``min(decay, (1 + t) / (10 + t))``, so that the first weights,
    which are drawn by chance, are soon forgotten. What is no floating-point number is copied.

    Source: ``ExponentialMovingAverage`` of TensorFlow with ``num_updates``; timm's `ModelEmaV3`.

    Args:
        network: on its device; the average begins with its weights.
        decay: weight of the past.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._values = {name: one.detach().clone() for name, one in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step.

        Args:
            step: steps taken before it.
        """
        past = min(self._decay, (1 + step) / (10 + step))
        pairs = [(self._values[name], now) for name, now in self._network.state_dict().items()]
        moving = [(kept, now) for kept, now in pairs if kept.is_floating_point()]
        kept_values, now_values = ([pair[side] for pair in moving] for side in (0, 1))
        torch._foreach_lerp_(kept_values, now_values, 1 - past)
        for kept, now in pairs:
            if not kept.is_floating_point():
                kept.copy_(now)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(self._values)

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from averaged weights.

        Raises:
            KeyError, RuntimeError: they are of another network.
        """
        for name, kept in self._values.items():
            kept.copy_(saved[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights while the context lasts, and then its own again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, now in self._network.state_dict().items():
            own = now.clone()
            now.copy_(self._values[name])
            self._values[name].copy_(own)
