"""How long a step takes at least, and as published trainings let expect, on a named device.

The floor is a roofline: each operator of PyTorch takes the longer of its arithmetic at the device's
peak and its bytes at the peak of its memory, one after the other; depthwise convolutions compute
outside the units for products of matrices.

No library reaches that. What stock PyTorch reaches on an A100 is fitted to the published hours of
eight trainings (`published.REVISITED`): all but depthwise convolutions take `SLOWER` times their
floor, and depthwise convolutions compute at `DEPTHWISE_SHARE` of the plain peak. Two numbers for
eight trainings, and no other to test them: `benchmarks/scale_anchors.py` shows what they leave.
Fused operators, which pass over memory less often than that floor counts, took `FUSED` times the
floor on an H100, in half precision without checkpointing (eight MedNeXts, 0.95 to 1.16:
`benchmarks/kernels.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mednext_cli.scaling.device_sheets import DeviceSheet
from mednext_cli.scaling.ledger import Operation

SLOWER = 2.3
DEPTHWISE_SHARE = 0.025
FUSED = 1.07
PUBLISHED_STEPS = 1000 * 250  # epochs and steps of each, as MedNeXt and nnU-Net are trained
_OPTIMISER_BYTES = (
    7 * 4
)  # AdamW in one kernel: reads weight, gradient and two moments, writes three
_HOUR = 3600


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of a training step.

    Attributes:
        floor_seconds: by the roofline.
        expected_seconds: with stock libraries.
    """

    floor_seconds: float
    expected_seconds: float

    def hours(self, steps: int = PUBLISHED_STEPS) -> float:
        """Of so many steps, as expected; validation, loading and saving left out."""
        return self.expected_seconds * steps / _HOUR

    def floor_hours(self, steps: int = PUBLISHED_STEPS) -> float:
        """The same by the roofline."""
        return self.floor_seconds * steps / _HOUR

    def fused_hours(self, steps: int = PUBLISHED_STEPS) -> float:
        """The same by fused operators, where this is PyTorch's own work in half precision."""
        return FUSED * self.floor_seconds * steps / _HOUR


def estimate_time(
    work: Mapping[Operation, int], weights_bytes: int, sheet: DeviceSheet
) -> TimeEstimate:
    """A step with this work, and the optimiser's.

    Args:
        work: of the forward and backward pass.
        weights_bytes: of the network in float32.
        sheet: of the device.
    """
    optimiser = _OPTIMISER_BYTES / torch.float32.itemsize * weights_bytes
    floor = optimiser / (1e9 * sheet.gigabytes_per_second)
    expected = SLOWER * floor
    for operation, times in work.items():
        arithmetic = operation.operations / (1e12 * _peak(operation, sheet))
        memory = operation.bytes_moved / (1e9 * sheet.gigabytes_per_second)
        longer = max(arithmetic, memory)
        floor += times * longer
        if operation.kind == "depthwise" and sheet.device_type != "cpu":
            expected += times * max(arithmetic / DEPTHWISE_SHARE, SLOWER * memory)
        else:
            expected += times * SLOWER * longer
    return TimeEstimate(floor, expected)


def _peak(operation: Operation, sheet: DeviceSheet) -> float:
    """TFLOP/s."""
    if operation.kind != "dense":
        return sheet.plain
    return sheet.dense_float32 if operation.dtype is torch.float32 else sheet.dense_half
