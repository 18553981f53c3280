"""How much memory the prediction of a case takes."""

from math import prod

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import ScanError
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.volumes.scans import read_grid

_BYTES = 4  # of a float32
_MAPS_TO_RESTORE = 3  # a class on the scan's grid, the largest so far, and their comparison


def estimate_bytes(case: Case, plan: Plan, models: int) -> int:
    """Estimated peak memory of one case beside the network, from its headers alone; 0 unless read.

    On the prepared grid: the image, the probabilities of every class (twice where models are
    averaged) and the tiles' weights, float32. On the scan's own: the channels, or a few maps while
    classes are brought back one after the other. Nothing is known yet of how far the scan will be
    cropped, so large margins of zeros make it less.

    Args:
        case: the case.
        plan: target spacing and classes.
        models: how many are averaged.
    """
    first = case.channels[0]
    try:
        grid = read_grid(first.path, first.index)
    except ScanError:
        return 0  # reported when the case is read
    scan = prod(grid.shape)
    prepared = scan * prod(grid.spacing_mm) / prod(plan.spacing_mm)
    channels, scores = len(plan.channels), plan.output_channels * min(models, 2)
    predicting = prepared * (channels + scores + 1)
    restoring = prepared * (channels + plan.output_channels) + scan * _MAPS_TO_RESTORE
    reading = (scan + prepared) * channels
    return int(_BYTES * max(predicting, restoring, reading))
