"""The stages of a prediction, and who is told when each begins and ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

Stage = Literal["read", "prepare", "network", "restore", "write"]
"""Files to voxels; crop, resampling and normalisation; tiles through the networks; classes on the
scan's own grid; label map to file."""
STAGES: tuple[Stage, ...] = get_args(Stage)
Observe = Callable[[Stage], AbstractContextManager[object]]
"""Gives the context that a stage of one case is run in, in the thread that does it."""


def unobserved(stage: Stage) -> AbstractContextManager[object]:
    """For who does not want to know."""
    del stage
    return nullcontext()
