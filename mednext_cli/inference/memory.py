"""What the prediction of a case takes in memory and tiles, told from its header alone."""

from math import prod

from mednext_cli.datasets.dataset import Case
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.footprint import peek_grid
from mednext_cli.volumes.orientation import canonical_sizes
from mednext_cli.volumes.resample import resampled_shape
from mednext_cli.volumes.volume import Grid, Shape

_BYTES = 4  # of a float32
_DOUBTS = 2  # entropy and disagreement, or what becomes of it
_MAPS_TO_RESTORE = 3  # a class on the scan's grid, the largest so far, and their comparison


def peek(case: Case) -> Grid | None:
    """The grid of a case; None where it cannot be read, which is told when the case is."""
    return peek_grid(case.channels[0].path, case.channels[0].index)


def bytes_on(grid: Grid, plan: Plan, models: int, doubting: bool = False) -> int:
    """Estimated peak memory of a case on this grid, beside the network.

    On the prepared grid: the image, the probabilities of every class (twice where models are
    averaged), the tiles' weights and, where wanted, two maps of uncertainty, float32. On the
    scan's own: the channels, or a few maps while classes are brought back one after the other.
    Nothing is known yet of how far the scan will be cropped, so large margins of zeros make it
    less.
    """
    scan = prod(grid.shape)
    prepared = scan * prod(grid.spacing_mm) / prod(plan.spacing_mm)
    channels, scores = len(plan.channels), plan.output_channels * min(models, 2)
    doubts = _DOUBTS * doubting
    predicting = prepared * (channels + scores + 1 + doubts)
    restoring = prepared * (channels + plan.output_channels + doubts) + scan * _MAPS_TO_RESTORE
    reading = (scan + prepared) * channels
    return int(_BYTES * max(predicting, restoring, reading))


def estimate_shape(grid: Grid, plan: Plan) -> Shape:
    """(D, H, W) of the prepared image, if nothing is cropped."""
    shape, spacing = canonical_sizes(grid)
    return resampled_shape(shape, spacing, plan.spacing_mm)
