"""Gradient checkpointing of a network's parts, whoever wrote them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def set_recomputed(modules: Iterable[nn.Module], on: bool) -> None:
    """Let these modules keep their inputs alone for the gradient, and compute the rest again.

    Numbers stay the same, dropout and the averages of batch norms included. Without gradients the
    modules run as they are.

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
    if not any(_norms(module)):
        return checkpoint(forward, module, *inputs, use_reentrant=False)
    return checkpoint(_once(forward), module, *inputs, use_reentrant=False)


def _norms(module: nn.Module) -> Iterator[BatchNorm]:
    """Batch norms that keep a running average of the batches they see."""
    for part in module.modules():
        if isinstance(part, BatchNorm) and part.training and part.track_running_stats:
            yield part


def _once(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but that batch norms count the batch in the first call only."""
    calls: Iterator[Callable[..., Any]] = chain((forward,), repeat(partial(_uncounted, forward)))
    return lambda module, *inputs: next(calls)(module, *inputs)


def _uncounted(forward: Callable[..., Any], module: nn.Module, *inputs: Any) -> Any:  # noqa: ANN401
    norms = [(norm, norm.momentum, norm.num_batches_tracked) for norm in _norms(module)]
    for norm, _, _ in norms:
        # Averages that do not move: without any, autograd would keep other tensors than before.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        return forward(module, *inputs)
    finally:
        for norm, momentum, count in norms:
            norm.momentum, norm.num_batches_tracked = momentum, count
