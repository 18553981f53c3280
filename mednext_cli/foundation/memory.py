"""How this process gets memory from the system."""

import ctypes
import sys
from functools import cache

# <malloc.h>: the parameters of mallopt, and the values that switch them off.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


@cache
def keep_freed_memory() -> None:
    """Let the C library keep large blocks that are freed, for the next ones.

    glibc returns each to the system, whose fresh pages must be zeroed and mapped again: half the
    time of a network on a large tile, a quarter of a training step on a small one. Does nothing
    where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_MAX, _NONE)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
