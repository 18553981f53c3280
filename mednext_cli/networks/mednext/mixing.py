"""What mixes neighbouring voxels in a block: a depthwise convolution, or attention in its place.

Attention is given the weights of the convolution it replaces, by its inner width: queries, keys and
values have A channels where the block has C. A convolution has C k^3 + C of them, attention
4 C A + 3 A + C + h ((2 w - 1)^3 + 1) with h heads in windows of w^3 voxels: projections with their
biases, then a table of biases and a temperature for each head.
"""

from typing import Literal

Mixer = Literal["depthwise", "window_attention", "bias"]
DEFAULT_WINDOW = 4  # divides all maps of a 128^3 patch, down to 8^3


def usual_heads(kernel: int | None) -> int:
    """Heads of attention in a kernel's place: A is about 6 for kernel 3, about 28 for 5."""
    return 1 if kernel == 3 else 2


def table_rows(window: int, dimensions: int) -> int:
    """Relative positions of two voxels of a window."""
    return int((2 * window - 1) ** dimensions)


def matched_width(channels: int, kernel: int, window: int, heads: int, dimensions: int) -> int:
    """Inner width A with which attention has nearest the weights of a depthwise convolution.

    Args:
        channels: C of the block.
        kernel: of the convolution, voxels.
        window: edge of the windows, voxels.
        heads: A is a multiple of them.
        dimensions: 2 or 3.

    Returns:
        A; 0 or less where the tables alone have about as many weights as the convolution.
    """
    spare: int = channels * kernel**dimensions - heads * (table_rows(window, dimensions) + 1)
    steps = round(spare / (heads * (4 * channels + 3)))
    return heads * steps
