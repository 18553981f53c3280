"""What is computed by this package rather than by PyTorch, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from mednext_cli.networks.pretending import current_pretence

_REDUCED = ("cpu", torch.bfloat16)
_arranging: ContextVar[bool] = ContextVar("arranging", default=True)


@contextmanager
def left_to_pytorch() -> Iterator[None]:
    """Within, nothing is computed by this package: where it was measured to be slower."""
    token = _arranging.set(False)
    try:
        yield
    finally:
        _arranging.reset(token)


def is_arranged(x: Tensor) -> bool:
    """Whether this tensor is computed by this package.

    Not on accelerators (nor "meta"), in float16, or where a graph is recorded for another engine,
    which knows PyTorch's own operators best. Nor in two dimensions: training a small
    network so ended in a damaged heap in oneDNN (PyTorch 2.13 on an AMD EPYC; contiguous does not).
    """
    return (
        x.device.type == "cpu"
        and x.ndim == 5
        and x.dtype in _taken_types()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
        and _arranging.get()
    )


def _taken_types() -> tuple[torch.dtype, ...]:
    if not torch.is_autocast_enabled("cpu"):
        return (torch.float32, torch.float64)
    return (torch.float32, torch.bfloat16) if is_reduced() else ()


def is_reduced(x: Tensor | None = None) -> bool:
    """Whether autocast to bfloat16 is on for CPUs, or pretended to be for a tensor on "meta"."""
    if x is not None and x.is_meta:
        pretence = current_pretence()
        return pretence is not None and (pretence.device_type, pretence.dtype) == _REDUCED
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
