"""The same arithmetic, arranged for CPUs, where PyTorch's own backward passes are slow.

Forward and backward, milliseconds of one AVX-512 core, PyTorch 2.13, channels-last float32
(2, 16, 32, 48, 32): depthwise 3x3x3 22 in PyTorch, 7.5 here; 5x5x5 73 and 32; norm 7.5 and 2.8;
1x1x1 to 32 channels 11 and 4.1; transposed depthwise from (2, 32, 16, 24, 16) 24 and 9.5. A whole
training step of S with 16 base channels: kernel 3 567 and 246, kernel 5 972 and 360. The norm is
also more exact here: PyTorch's takes a channels-last variance as a difference of squares.

Under autocast to bfloat16 images are that, and products of them; statistics and sums are float32.
"""

from mednext_cli.networks.mednext.cpu.convolution import (
    convolve,
    depthwise,
    image_gradient,
    taps_gradient,
    transposed_depthwise,
)
from mednext_cli.networks.mednext.cpu.memory import (
    add_at_even,
    add_behind_first,
    channels_last,
    lies_behind_first,
)
from mednext_cli.networks.mednext.cpu.normalisation import inverted_bottleneck, spatial_norm
from mednext_cli.networks.mednext.cpu.products import (
    pointwise,
    strided_pointwise,
    transposed_pointwise,
)
from mednext_cli.networks.mednext.cpu.taken import is_arranged, is_reduced, left_to_pytorch

__all__ = [
    "add_at_even",
    "add_behind_first",
    "channels_last",
    "convolve",
    "depthwise",
    "image_gradient",
    "inverted_bottleneck",
    "is_arranged",
    "is_reduced",
    "left_to_pytorch",
    "lies_behind_first",
    "pointwise",
    "spatial_norm",
    "strided_pointwise",
    "taps_gradient",
    "transposed_depthwise",
    "transposed_pointwise",
]
