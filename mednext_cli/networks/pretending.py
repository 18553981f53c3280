"""A run on the device "meta" that is to take what it would take on another device."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Pretence:
    """That tensors without values are on a device.

    Attributes:
        device_type: of the device, like "cpu".
        heeded: whether a network ran otherwise for it, by operators of its own.
    """

    device_type: str
    heeded: bool = False


_CURRENT: ContextVar[Pretence | None] = ContextVar("pretence", default=None)


@contextmanager
def pretending(device_type: str) -> Iterator[Pretence]:
    """Within, networks run on "meta" as on this device."""
    pretence = Pretence(device_type)
    token = _CURRENT.set(pretence)
    try:
        yield pretence
    finally:
        _CURRENT.reset(token)


def current_pretence() -> Pretence | None:
    """Of the caller; None where nothing is pretended."""
    return _CURRENT.get()
