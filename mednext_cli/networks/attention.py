"""Attention of tokens to tokens, for every network that has it."""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """`scaled_dot_product_attention`, and its formula while a network is exported.

    PyTorch's own keeps no weights of token against token, but its layout in memory, which views of
    the result rely on, is another one in ONNX: the export of such a network fails.

    Args:
        queries: (..., queries, C).
        keys: (..., keys, C).
        values: (..., keys, C).
        mask: broadcast to (..., queries, keys): added to the weights' logarithms, or True where a
            query may look.
        dropout: probability that a weight is dropped.
        scale: of the products of queries and keys; None is C^-0.5.

    Returns:
        (..., queries, C).
    """
    if not torch.compiler.is_exporting():
        return F.scaled_dot_product_attention(queries, keys, values, mask, dropout, scale=scale)
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    weights = queries * scale @ keys.transpose(-2, -1)
    if mask is not None:
        far = torch.zeros_like(weights).masked_fill(~mask, -torch.inf) if _is_choice(mask) else mask
        weights = weights + far
    return F.dropout(weights.softmax(-1), dropout) @ values


def _is_choice(mask: Tensor) -> bool:
    return mask.dtype is torch.bool
