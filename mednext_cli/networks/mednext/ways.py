"""The ways to run a block, by name, as measurements, run folders and tables have them."""

import re

PYTORCH = "pytorch"
"""PyTorch's own operators, as they are."""
ARRANGED = "arranged"
"""On a CPU: the same arithmetic as `cpu` arranges it, or `native` where no gradients are asked."""
TRITON = "triton"
"""The fused operators; ``triton:NAME`` with the tiles that `kernels.tilings` has by this name."""
TENSOR_CORES = "tensor_cores"
"""The fused operators with the depthwise convolution on tensor cores."""

PATTERN = re.compile(rf"{PYTORCH}|{ARRANGED}|{TENSOR_CORES}|{TRITON}(:[a-z_]{{1,20}})?")


def is_ours(way: str) -> bool:
    """Whether it runs kernels of our own, which want the channels last in memory."""
    return way == TENSOR_CORES or tiling_of(way) is not None


def tiling_of(way: str) -> str | None:
    """The name of the tiles of a Triton way, "" for the usual ones; None of another way."""
    name, _, tiling = way.partition(":")
    return tiling if name == TRITON else None
