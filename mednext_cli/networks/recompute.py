"""Gradient checkpointing of a network's parts, whoever wrote them."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def set_recomputed(modules: Iterable[nn.Module], on: bool) -> None:
    """Let these modules keep their inputs alone for the gradient, and compute the rest again.

    Numbers stay the same, dropout included. Without gradients the modules run as they are.

    Args:
        modules: none of them part of another.
        on: False undoes it.
    """
    for module in modules:
        module.__dict__.pop("forward", None)
        if on:
            module.__dict__["forward"] = partial(_recomputed, type(module).forward, module)


def _recomputed(forward: Callable[..., Any], module: nn.Module, *inputs: Any) -> Any:  # noqa: ANN401 - as the module's own
    if not torch.is_grad_enabled():
        return forward(module, *inputs)
    return checkpoint(forward, module, *inputs, use_reentrant=False)
