"""Attention on the device "meta" as another device computes it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def attention_as_on(device_type: str) -> Iterator[None]:
    """Tensors without memory attend as those on such a device: in parts, or with all weights kept.

    PyTorch keeps the weights of every pair of tokens where there is no memory, which no GPU does;
    a CPU does where weights are dropped or what is added to them is learned.

    Args:
        device_type: "cpu"; anything else is taken for a GPU.
    """
    attend = _on_cpu if device_type == "cpu" else _in_parts
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("scaled_dot_product_attention", attend, "AutogradMeta")  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        del library  # and with it what it changed


def _in_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention`."""
    del enable_gqa  # of language models
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    attended: tuple[Tensor, ...] = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale
    )
    return attended[0]


def _on_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention`."""
    learned = attn_mask is not None and attn_mask.requires_grad
    if not learned and dropout_p == 0:
        return _in_parts(query, key, value, attn_mask, 0.0, is_causal, scale=scale)
    attended: tuple[Tensor, ...] = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )
    return attended[0]
