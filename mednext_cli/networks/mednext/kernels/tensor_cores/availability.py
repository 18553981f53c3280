"""Which convolutions the tensor-core operator takes."""

import torch

from mednext_cli.networks.mednext.kernels.tensor_cores import compiling
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import DTYPES, SIZES

_OLDEST_CAPABILITY = (8, 0)
_VECTOR = 8  # channels of a 16-byte load


def takes(
    device: torch.device,
    dtype: torch.dtype,
    channels: int,
    kernel: int,
) -> bool:
    """Whether the tensor cores take these convolutions; if they are faster is to be measured.

    Args:
        device: of the image.
        dtype: of the image, or autocast's.
        channels: of the image.
        kernel: voxels.
    """
    fits = dtype in DTYPES and kernel in SIZES and channels > 0 and channels % _VECTOR == 0
    return fits and can_run(device)


def can_run(device: torch.device) -> bool:
    """Whether this is an NVIDIA GPU from Ampere on, and its compiler is installed."""
    if device.type != "cuda" or torch.version.hip is not None or compiling.library() is None:
        return False
    return torch.cuda.get_device_capability(device) >= _OLDEST_CAPABILITY


# As torch.compiler.assume_constant_result, which would import the whole compiler (1.2 s).
can_run._dynamo_marked_constant = True  # type: ignore[attr-defined]
