"""Autocast for tensors without memory: PyTorch's own knows real devices only."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# PyTorch's documentation, "Automatic Mixed Precision", op reference; what our networks call.
_LOW = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "addbmm"),
        *("baddbmm", "einsum", "prelu", "scaled_dot_product_attention"),
    }
)
_LOSSES = ("binary_cross_entropy_with_logits", "nll_loss", "mse_loss")
_FULL = {
    "cpu": frozenset({"avg_pool3d", *_LOSSES}),
    "cuda": frozenset(
        {
            *("group_norm", "layer_norm", "softmax", "log_softmax", "exp", "log", "pow", "__pow__"),
            *("rsqrt", "sum", "prod", "cumsum", "norm", "softplus", *_LOSSES),
        }
    ),
}


class AutocastAs(TorchFunctionMode):
    """What autocast to a half precision does on a device, done to tensors on another.

    Convolutions and products of matrices take half precision, what needs the range takes float32,
    all else what it is given. As there, half copies of weights are kept until `forget`.

    Args:
        device_type: "cpu"; anything else is taken for a GPU.
        dtype: bfloat16 or float16.
    """

    def __init__(self, device_type: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._full = _FULL["cpu" if device_type == "cpu" else "cuda"]
        self._copies: dict[int, Tensor] | None = {}

    def forget(self) -> None:
        """Drop the copies of weights and keep no more, as after autocast's forward pass."""
        self._copies = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as torch hands it over
        del types
        name, named = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in _LOW:
            args, named = tree_map(self._low, (args, named))
        elif name in self._full:
            args, named = tree_map(self._high, (args, named))
        return func(*args, **named)

    def _low(self, value: object) -> object:
        if not isinstance(value, Tensor) or value.dtype is not torch.float32:
            return value
        if self._copies is None or not (value.is_leaf and value.requires_grad):
            return value.to(self._dtype)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(self._dtype)
        return self._copies[id(value)]

    def _high(self, value: object) -> object:
        return value.float() if isinstance(value, Tensor) and value.dtype is self._dtype else value
