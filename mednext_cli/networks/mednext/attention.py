"""Attention within windows in the place of a block's depthwise convolution.

The rest of the block - norm, expansion, GELU, compression, residual - stays, and so do the
resampling blocks: what is compared is how neighbouring voxels are mixed. Weights have shapes that
no patch decides: the table of biases is that of a whole window, of which a smaller one takes the
relative positions it has.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.attention import attend
from mednext_cli.networks.mednext.blocks import POINTWISE, MedNeXtBlock
from mednext_cli.networks.mednext.mixing import table_rows
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.windows import Box, Windows

_TABLE_DEVIATION = 0.02  # at the beginning, as in Swin
_TEMPERATURE, _MOST = 10.0, 100.0  # at the beginning, and the largest; as in Swin V2
_LAUNCH = 65_535  # windows: CUDA has no larger grid (pytorch/pytorch#142228)
_ALIGNMENT = 8  # channels of a head: CUDA attends in parts to multiples of these in half precision


class _WindowMixer(nn.Module):
    """What both mixers have: windows, and a table of biases.

    Args:
        settings: window and dimensions.
        heads: each has a column of the table.

    Attributes:
        shifted: whether the windows are moved by half their edge, as in every other block.
    """

    def __init__(self, settings: MedNeXtSettings, heads: int) -> None:
        super().__init__()
        self.shifted = False
        self._edge, dimensions = settings.window_edge, settings.dimensions
        self.table = nn.Parameter(torch.empty(heads, table_rows(self._edge, dimensions)))
        nn.init.trunc_normal_(self.table, std=_TABLE_DEVIATION)

    def _mix(self, tokens: Tensor) -> Tensor:
        """A map (B, D, H, W, channels) to (B, D, H, W, what `_mix_windows` gives)."""
        sizes = tuple(int(size) for size in tokens.shape[1:-1])
        windows = Windows.of(sizes, self._edge, self.shifted)
        laid = windows.lay(tokens)
        bias = self.table[:, windows.rows(self._edge, tokens.device)]
        boxes = []
        for box in windows.boxes():
            part = laid[(slice(None), *box.parts)]
            mixed = self._mix_windows(windows.split(part), _masked(bias, box))
            boxes.append(windows.merge(mixed, part.shape[:-1]))
        return windows.lift(windows.join(boxes))

    def _mix_windows(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Windows (N, places, channels), with a bias (heads, places, places)."""
        raise NotImplementedError


class WindowAttention(_WindowMixer):
    """Attention with cosines of queries and keys, a temperature and a learned bias.

    The input is not normalised before, so queries and keys are: their products stay small.
    Source: Swin V2, arXiv 2111.09883, section 3.3; biases from a table as in Swin.

    Args:
        settings: window, heads and dimensions.
        channels: C of input and output.
        kernel: of the depthwise convolution in whose place it is, which decides the inner width.
    """

    def __init__(self, settings: MedNeXtSettings, channels: int, kernel: int) -> None:
        heads = settings.heads_for(kernel)
        super().__init__(settings, heads)
        self._heads = heads
        width, pointwise = settings.inner_width(channels, kernel), POINTWISE[settings.dimensions]
        self.qkv = pointwise(channels, 3 * width)
        self.log_temperature = nn.Parameter(torch.full((heads, 1), math.log(_TEMPERATURE)))
        self.out = pointwise(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        parts = torch.unflatten(self.qkv(x).movedim(1, -1), -1, (3, self._heads, -1))
        queries, keys, values = parts.unbind(-3)
        temperature = self.log_temperature.clamp(max=math.log(_MOST)).exp()
        queries, keys = _unit(queries) * temperature, _unit(keys)
        tokens = torch.stack((queries.to(values.dtype), keys.to(values.dtype), values), -3)
        mixed: Tensor = self.out(self._mix(tokens.flatten(-3)).movedim(-1, 1))
        return mixed

    def _mix_windows(self, tokens: Tensor, bias: Tensor) -> Tensor:
        bias = bias.to(tokens.dtype)[None]
        parts = torch.unflatten(tokens, -1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = [_attend(part, bias) for part in torch.split(parts, _LAUNCH, 1)]
        return torch.cat(mixed).transpose(1, 2).flatten(2)


class WindowBias(_WindowMixer):
    """Attention without queries, keys and values: the softmax of a table for each channel.

    So what a voxel gives depends on where it lies, not on what is there.

    Args:
        settings: window and dimensions.
        channels: C of input and output.
    """

    def __init__(self, settings: MedNeXtSettings, channels: int) -> None:
        super().__init__(settings, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        return self._mix(x.movedim(1, -1)).movedim(-1, 1)

    def _mix_windows(self, tokens: Tensor, bias: Tensor) -> Tensor:
        weights = bias.softmax(-1).to(tokens.dtype)
        return torch.bmm(tokens.permute(2, 0, 1), weights.transpose(1, 2)).permute(1, 2, 0)


class AttentionBlock(MedNeXtBlock):
    """A MedNeXt block at one resolution with attention in the place of its convolution.

    Its operators are PyTorch's own, whatever `operators` says.

    Args:
        settings: of the network.
        channels: of input and output.
        expansion: factor of the inverted bottleneck.
        kernel: of the convolution that it has no more.
        grn: whether it has global response normalisation.
        shifted: whether its windows are moved by half their edge.
    """

    attention: WindowAttention | WindowBias

    def __init__(
        self,
        settings: MedNeXtSettings,
        channels: int,
        expansion: int,
        kernel: int,
        grn: bool,
        shifted: bool,
    ) -> None:
        super().__init__(settings, channels, channels, expansion, kernel, grn)
        self.attention.shifted = shifted

    def _add_mixer(self, settings: MedNeXtSettings, channels: int, kernel: int) -> None:
        if settings.mixer == "bias":
            self.attention = WindowBias(settings, channels)
        else:
            self.attention = WindowAttention(settings, channels, kernel)

    def _mix(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x)
        return mixed

    def is_plain(self) -> bool:
        """No: it has no depthwise convolution."""
        return False


def _masked(bias: Tensor, box: Box) -> Tensor:
    hidden = box.hidden(bias.device)
    # Every place sees itself, so no row of weights is empty.
    return bias if hidden is None else bias.masked_fill(hidden, -torch.inf)


def _unit(x: Tensor) -> Tensor:
    """Of length 1 over the last axis, in float32 at least: squares leave the range of float16."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _attend(parts: Tensor, bias: Tensor) -> Tensor:
    """Queries, keys and values (3, N, heads, places, A / heads); the bias is for all N."""
    width = parts.shape[-1]
    if parts.is_cuda:
        parts = F.pad(parts, (0, -width % _ALIGNMENT))
    queries, keys, values = parts.unbind(0)
    return attend(queries, keys, values, bias, scale=1.0)[..., :width]
