"""How this process gets memory from the system."""

import ctypes
import gc
import mmap
import sys
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

# <malloc.h>: parameters of mallopt, and values.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER, _NONE = -1, 0
_LARGEST_THRESHOLD = 32 << 20
_KEPT_BYTES = 1 << 30
_SMALL = 1 << 20  # bytes, not worth pages of their own


def give_memory_back() -> None:
    """Return what is freed to the system: after a network, before another that may be larger."""
    gc.collect()
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def map_zeros(shape: Sequence[int]) -> "NDArray[np.float32]":
    """Float32 zeros in pages of their own, which the system has back as soon as nobody holds them.

    Whatever `keep_freed_memory` has the C library do: large blocks of many sizes that come and go
    would leave holes in what it keeps.

    Raises:
        MemoryError: there is none.
    """
    import numpy as np

    size = np.dtype(np.float32).itemsize * prod(shape)
    if size < _SMALL:
        return np.zeros(tuple(shape), dtype=np.float32)
    try:
        pages = mmap.mmap(-1, size)
    except OSError as error:
        raise MemoryError(f"{size} bytes") from error
    return np.frombuffer(pages, dtype=np.float32, count=prod(shape)).reshape(tuple(shape))


def peak_bytes(device: "torch.device") -> int:
    """The most memory so far: the GPU's, else this process's; 0 where the system does not tell."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@cache
def keep_freed_memory(*, large: bool) -> None:
    """Let the C library keep blocks that are freed, for the next ones.

    glibc returns them to the system, whose fresh pages must be zeroed and mapped again: a fifth of
    a training step on a small patch, half the time of a network on a large tile. Does nothing where
    the C library is another.

    Args:
        large: blocks over 32 MiB as well. That can cost memory, since what is left between them
            serves only smaller ones: up to a third more for a prediction, twice as much for
            training, which should not ask for it.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    library.mallopt(_TRIM_THRESHOLD, _NEVER if large else _KEPT_BYTES)
    if large:
        library.mallopt(_MMAP_MAX, _NONE)
