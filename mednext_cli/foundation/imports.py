"""Imports of large packages without searches for garbage, of which they leave none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around imports that take seconds: Python would search all that is there again and again.

    A seventh of the import of PyTorch. What is there at the end is passed over from then on.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
