"""What a device reaches at its best, so that a block's time can be held against it."""

import torch

from mednext_cli.networks.mednext.kernels.measuring.timing import Bench, time_in_turns
from mednext_cli.networks.mednext.kernels.measuring.trials import Peaks

_EDGE = {"cuda": 8192, "cpu": 1024}  # of the matrices
_BYTES = {"cuda": 2**30, "cpu": 2**26}  # that are copied
_SECONDS = 1.0
_ROUNDS = 10


def measure_peaks(device: torch.device, dtype: torch.dtype, bench: Bench) -> Peaks:
    """By a large product of matrices in this number format, and a large copy.

    Args:
        device: cpu or cuda.
        dtype: of the matrices.
        bench: to time on.
    """
    edge, size = _EDGE[device.type], _BYTES[device.type]
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    given, taken = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    works = {"product": lambda: left @ right, "copy": lambda: taken.copy_(given)}
    timed = time_in_turns(works, bench, rounds=_ROUNDS, seconds=_SECONDS).timed
    seconds = {name: one.milliseconds / 1e3 for name, one in timed.items()}
    return Peaks(2 * edge**3 / seconds["product"], 2 * size / seconds["copy"])
