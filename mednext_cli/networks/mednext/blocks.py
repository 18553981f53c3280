"""The blocks of MedNeXt: ConvNeXt blocks with residual inverted bottlenecks, and their resampling.

Source: arXiv 2303.09975, section 2.1; arithmetic as in the published code. Tensors are
(B, C, D, H, W), or (B, C, H, W) in two dimensions; nothing here leaves the channels-last memory
format. How an operation is run (`cpu`, `kernels`) is the layers' own business.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.kernels import Operators
from mednext_cli.networks.mednext.kernels.convolution import can_take, is_taken
from mednext_cli.networks.mednext.native.layers import Bottleneck, Depthwise, fits, library_of
from mednext_cli.networks.mednext.native.library import Library
from mednext_cli.networks.mednext.native.operators import block
from mednext_cli.networks.mednext.native.training import train_block
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.ways import PYTORCH, TENSOR_CORES, is_ours
from mednext_cli.networks.short_axes import convolve_safely

_EPSILON = 1e-5
_GRN_EPSILON = 1e-6


class PointwiseConvolution(nn.Conv3d):
    """1x1x1 convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) to (B, out_channels, D, H, W)."""
        if cpu.is_arranged(x):
            return cpu.pointwise(x, self.weight, self.bias)
        return super().forward(x)


class StridedPointwiseConvolution(nn.Conv3d):
    """1x1x1 convolution of every second voxel along each axis."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, kernel_size=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, n, ...) to (B, out_channels, ceil(n / 2), ...)."""
        if cpu.is_arranged(x):
            return cpu.strided_pointwise(x, self.weight, self.bias)
        return super().forward(x)


class TransposedPointwiseConvolution(nn.ConvTranspose3d):
    """Transposed 1x1x1 convolution with stride 2."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, kernel_size=1, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, channels, n, ...) to (B, out_channels, 2n - 1, ...)."""
        if cpu.is_arranged(x):
            return cpu.transposed_pointwise(x, self.weight, self.bias)
        return super().forward(x, output_size)


class DepthwiseConvolution(nn.Conv3d):
    """Depthwise convolution in three dimensions, padded by half its kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape, or half of it with stride 2."""
        if cpu.is_arranged(x):
            return cpu.depthwise(x, self.weight, self.bias, self.stride[0])
        return convolve_safely(super().forward, x, self.kernel_size[0], self.stride[0], False)


class TransposedDepthwiseConvolution(nn.ConvTranspose3d):
    """Transposed depthwise convolution in three dimensions with stride 2."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, n, ...) to (B, C, 2n - 1, ...)."""
        if cpu.is_arranged(x):
            return cpu.transposed_depthwise(x, self.weight, self.bias)
        if output_size is not None:
            return super().forward(x, output_size)
        return convolve_safely(super().forward, x, self.kernel_size[0], 2, True)


class SpatialNorm(nn.GroupNorm):
    """Group norm with one channel a group: statistics over space, per sample and channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        if cpu.is_arranged(x):
            return cpu.spatial_norm(x, self.weight, self.bias, self.eps)
        return super().forward(x)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel, in any number of dimensions."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GlobalResponseNorm(nn.Module):
    """Global response normalisation over space (ConvNeXt V2, arXiv 2301.00808)."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        shape = (1, channels, *(1,) * dimensions)
        self.gamma = nn.Parameter(torch.zeros(shape))
        self.beta = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        # The sum of squares over a large patch leaves the range of float16.
        response = x.float().square().sum(tuple(range(2, x.ndim)), keepdim=True).sqrt()
        relative = response / (response.mean(dim=1, keepdim=True) + _GRN_EPSILON)
        return x * (1 + self.gamma * relative).to(x.dtype) + self.beta.to(x.dtype)


POINTWISE: dict[int, Callable[[int, int], nn.Module]] = {
    2: partial(nn.Conv2d, kernel_size=1),
    3: PointwiseConvolution,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"group": SpatialNorm, "layer": ChannelNorm}
_STRIDED: dict[int, Callable[[int, int], nn.Module]] = {
    2: partial(nn.Conv2d, kernel_size=1, stride=2),
    3: StridedPointwiseConvolution,
}
_TRANSPOSED: dict[int, Callable[[int, int], nn.Module]] = {
    2: partial(nn.ConvTranspose2d, kernel_size=1, stride=2),
    3: TransposedPointwiseConvolution,
}


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, norm, 1x1x1 expansion, GELU, (GRN,) 1x1x1 compression, residual.

    Args:
        settings: norm, residuals and dimensions.
        channels: of the input; the depthwise convolution keeps them.
        out_channels: of the output.
        expansion: factor of the inverted bottleneck.
        kernel: of the depthwise convolution, voxels.
        grn: whether this block has global response normalisation.

    Attributes:
        operators: which operators run it, see `kernels.depthwise_conv3d`. The fused ones have group
            norm without GRN in three dimensions; other blocks are PyTorch's own whatever it says.
            Fused, and on a CPU, hooks of the layers inside are not called.
        way: with operators "auto", the one of `ways` that was measured to be the fastest; "" where
            nothing was measured, which is PyTorch's own, arranged on a CPU.
    """

    operators: Operators = "auto"
    way: str = ""

    def __init__(
        self,
        settings: MedNeXtSettings,
        channels: int,
        out_channels: int,
        expansion: int,
        kernel: int,
        grn: bool,
    ) -> None:
        super().__init__()
        dimensions, inner = settings.dimensions, expansion * channels
        pointwise = POINTWISE[dimensions]
        self._add_mixer(settings, channels, kernel)
        self.norm = NORMS[settings.norm](channels)
        self.expand = pointwise(channels, inner)
        self.grn = GlobalResponseNorm(inner, dimensions) if grn else nn.Identity()
        self.compress = pointwise(inner, out_channels)
        self.shortcut = self._shortcut(settings, channels, out_channels)

    def _add_mixer(self, settings: MedNeXtSettings, channels: int, kernel: int) -> None:
        self.depthwise = self._depthwise(settings.dimensions, channels, kernel)

    def _mix(self, x: Tensor) -> Tensor:
        """What `_add_mixer` added: each channel's voxels with their neighbours."""
        mixed: Tensor = self.depthwise(x)
        return mixed

    def _depthwise(self, dimensions: int, channels: int, kernel: int, stride: int = 1) -> nn.Module:
        convolution = DepthwiseConvolution if dimensions == 3 else nn.Conv2d
        return convolution(
            channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels
        )

    def _shortcut(
        self, settings: MedNeXtSettings, channels: int, out_channels: int
    ) -> nn.Module | None:
        return nn.Identity() if settings.residual else None

    def _transform(self, x: Tensor) -> Tensor:
        """All but the compression and the residual."""
        expanded: Tensor = self.grn(F.gelu(self.expand(self.norm(self._mix(x)))))
        return expanded

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ...) to (B, out_channels, ...) at this block's resolution."""
        if self._is_fused(x):
            return self._fused(x)
        if self.operators == "auto" and self.way == PYTORCH and cpu.is_arranged(x):
            with cpu.left_to_pytorch():
                return self._by_layers(x)
        return self._by_layers(x)

    def _by_layers(self, x: Tensor) -> Tensor:
        if (cpu.is_arranged(x) or x.is_meta) and self.is_plain():
            reduced, parts = cpu.is_reduced(x), self._parts()
            x = x.bfloat16() if reduced else x
            library = library_of(x, *parts)
            if library is not None or (reduced and not x.is_meta and fits(x, *parts)):
                return self._native(library, x)
            if not (x.is_meta or reduced or torch.is_grad_enabled()):
                return self._in_pieces(x)
        y: Tensor = self.compress(self._transform(x))
        return y if self.shortcut is None else y + self.shortcut(x)

    def is_plain(self) -> bool:
        """Whether the fused operators have its arithmetic."""
        return (
            isinstance(self.depthwise, DepthwiseConvolution | TransposedDepthwiseConvolution)
            and isinstance(self.norm, SpatialNorm)
            and isinstance(self.grn, nn.Identity)
            and isinstance(self.expand, PointwiseConvolution)
            and isinstance(self.compress, PointwiseConvolution)
        )

    def wants_fused(self) -> bool:
        """Whether the fused operators run it, wherever they can take the image."""
        ours = self.operators == "fused" or (self.operators == "auto" and is_ours(self.way))
        return ours and self.is_plain()

    def _is_fused(self, x: Tensor) -> bool:
        if not self.is_plain():
            return False
        if self.operators == "auto":
            return is_ours(self.way) and can_take(x)
        return is_taken(self.operators, x, cast("nn.Conv3d", self.depthwise).weight)

    def _layers(self) -> list[nn.Conv3d]:
        """Norm, expansion and compression, as things with a weight and a bias."""
        return [cast("nn.Conv3d", layer) for layer in (self.norm, self.expand, self.compress)]

    def _parts(self) -> tuple[Depthwise, Bottleneck]:
        """What it computes with, of a plain block."""
        mixer = cast("nn.Conv3d", self.depthwise)
        (norm, expand, compress) = (
            (layer.weight, cast("Tensor", layer.bias)) for layer in self._layers()
        )
        transposed = isinstance(mixer, TransposedDepthwiseConvolution)
        depthwise = Depthwise(mixer.weight, cast("Tensor", mixer.bias), mixer.stride[0], transposed)
        return depthwise, Bottleneck(norm, _EPSILON, expand, compress)

    def _native(self, library: Library | None, x: Tensor) -> Tensor:
        compute = train_block if torch.is_grad_enabled() else block
        (depthwise, bottleneck), (residual, bias) = self._parts(), self._residual(x)
        bottleneck = bottleneck._replace(compress=(bottleneck.compress[0], bias))
        return compute(library, x, depthwise, bottleneck, residual)

    def _in_pieces(self, x: Tensor) -> Tensor:
        norm, expand, compress = self._layers()
        return cpu.inverted_bottleneck(
            # Past its hooks, which might keep a result that is overwritten.
            cast("Tensor", self.depthwise.forward(x)),
            (norm.weight, cast("Tensor", norm.bias), _EPSILON),
            (expand.weight, cast("Tensor", expand.bias)),
            (compress.weight, cast("Tensor", compress.bias)),
            None if self.shortcut is None else self.shortcut(x),
        )

    def _residual(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Residual and last bias of the block in one piece."""
        bias = cast("Tensor", cast("nn.Conv3d", self.compress).bias)
        return None if self.shortcut is None else self.shortcut(x), bias

    def _fused(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        from mednext_cli.networks.mednext.kernels.block import block

        convolution = cast("nn.Conv3d", self.depthwise)
        norm, expand, compress = self._layers()
        residual, bias = self._residual(x)
        return block(
            x,
            convolution.weight,
            cast("Tensor", convolution.bias),
            norm.weight,
            cast("Tensor", norm.bias),
            _EPSILON,
            (
                expand.weight,
                cast("Tensor", expand.bias),
                compress.weight,
                bias,
            ),
            residual,
            convolution.stride[0],
            isinstance(convolution, TransposedDepthwiseConvolution),
            skip,
            self.operators == "fused" or self.way == TENSOR_CORES,
        )


class DownBlock(MedNeXtBlock):
    """Halves the resolution: strided depthwise convolution, strided 1x1x1 residual."""

    def _depthwise(self, dimensions: int, channels: int, kernel: int, stride: int = 2) -> nn.Module:
        return super()._depthwise(dimensions, channels, kernel, stride)

    def _shortcut(
        self, settings: MedNeXtSettings, channels: int, out_channels: int
    ) -> nn.Module | None:
        if settings.resampling != "residual":
            return None
        return _STRIDED[settings.dimensions](channels, out_channels)


class UpBlock(MedNeXtBlock):
    """Doubles the resolution: transposed depthwise convolution, transposed 1x1x1 residual.

    Both give 2n - 1 voxels along an axis; a plane of zeros before the first makes 2n, as published.
    """

    def _depthwise(self, dimensions: int, channels: int, kernel: int, stride: int = 2) -> nn.Module:
        transposed = TransposedDepthwiseConvolution if dimensions == 3 else nn.ConvTranspose2d
        return transposed(
            channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels
        )

    def _shortcut(
        self, settings: MedNeXtSettings, channels: int, out_channels: int
    ) -> nn.Module | None:
        if settings.resampling != "residual":
            return None
        return _TRANSPOSED[settings.dimensions](channels, out_channels)

    def is_plain(self) -> bool:
        """The shortcut's weights are taken past it, so it must be the one that was made."""
        shortcut = self.shortcut
        own = shortcut is None or (
            isinstance(shortcut, TransposedPointwiseConvolution)
            and not (shortcut._forward_hooks or shortcut._forward_pre_hooks)
        )
        return own and super().is_plain()

    def _residual(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """The shortcut is a product at every second voxel, and its bias everywhere."""
        bias = cast("Tensor", cast("nn.Conv3d", self.compress).bias)
        if self.shortcut is None:
            return None, bias
        shortcut = cast("nn.ConvTranspose3d", self.shortcut)
        weight = shortcut.weight.transpose(0, 1)
        product = cpu.pointwise(x, weight, None) if cpu.is_arranged(x) else F.conv3d(x, weight)
        return product, bias + cast("Tensor", shortcut.bias)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, channels, n, ...) to (B, out_channels, 2n, ...), to which `skip` is added.

        Along an axis that was of odd length before it was halved, it is 2n - 1 as the skip is: the
        last plane is left out.
        """
        if skip is not None and _is_odd(skip, x):
            whole = (slice(None), slice(None))
            return skip + self.forward(x)[whole + tuple(map(slice, skip.shape[2:]))]
        if self._is_fused(x):
            return self._fused(x, skip)
        y = super().forward(x)
        if skip is not None and cpu.is_arranged(x) and cpu.lies_behind_first(skip, y):
            return cpu.add_behind_first(skip, y)
        y = F.pad(y, (1, 0) * (x.ndim - 2))
        return y if skip is None else y + skip


def _is_odd(skip: Tensor, below: Tensor) -> bool:
    """Whether an axis was of odd length before it was halved."""
    pairs = zip(skip.shape[2:], below.shape[2:], strict=True)
    left_out = [2 * half - length for length, half in pairs]
    return any(left_out) and all(one in (0, 1) for one in left_out)
