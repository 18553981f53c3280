"""Stochastic depth: in training, branches of some samples are left out."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, leaves a branch out for some samples and makes up for it in the others.

    Args:
        probability: that it is left out, below 1.

    Source: arXiv 1603.09382.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self._kept = 1 - probability

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to the same shape."""
        if not self.training or self._kept == 1:
            return branch
        samples = branch.new_full((len(branch), *[1] * (branch.ndim - 1)), self._kept)
        return branch * torch.bernoulli(samples) / self._kept
