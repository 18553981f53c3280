"""What a run of a recipe needs, before any memory is taken."""

from dataclasses import dataclass

_DEFAULT_PATCH, _DEFAULT_BATCH = (128, 128, 128), 2
_ADAMW_COPIES = 4  # weights, gradients, two moments


@dataclass(frozen=True)
class EstimateRow:
    """One line of `mednext recipes check`."""

    what: str
    value: str
