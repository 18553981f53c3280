"""Imports of large packages without searches for garbage, of which they leave none."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around imports that take seconds: Python would search all that is there again and again.

    A seventh of the import of PyTorch. What is there at the end is passed over from then on.
    """
    if "torch" in sys.modules:  # what takes long is there
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
