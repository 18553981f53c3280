"""A run on the device "meta" that is to take what it would take on another device."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Pretence:
    """That tensors without values are on a device.

    Attributes:
        device_type: of the device, like "cpu".
        dtype: of autocast there, which PyTorch's own does not do without a device.
        fused: whether it is a GPU that runs fused operators.
        heeded: whether a network ran otherwise for it, by operators of its own.
    """

    device_type: str
    dtype: "torch.dtype | None" = None
    fused: bool = False
    heeded: bool = False


_CURRENT: ContextVar[Pretence | None] = ContextVar("pretence", default=None)


@contextmanager
def pretending(
    device_type: str, dtype: "torch.dtype | None" = None, fused: bool = False
) -> Iterator[Pretence]:
    """Within, networks run on "meta" as on this device; see `Pretence`."""
    pretence = Pretence(device_type, dtype, fused)
    token = _CURRENT.set(pretence)
    try:
        yield pretence
    finally:
        _CURRENT.reset(token)


def current_pretence() -> Pretence | None:
    """Of the caller; None where nothing is pretended."""
    return _CURRENT.get()
