"""The depthwise 3D convolution as a function and as a drop-in module."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.kernels import availability
from mednext_cli.networks.pretending import current_pretence
from mednext_cli.networks.short_axes import convolve_safely
from mednext_cli.settings.sections import Operators


def computed_type(x: Tensor) -> torch.dtype:
    """The type in which a convolution of `x` runs: autocast's, within `torch.autocast`."""
    kind = x.device.type
    if kind == "meta":  # shapes only: autocast does not know it
        pretence = current_pretence()
        return x.dtype if pretence is None or pretence.dtype is None else pretence.dtype
    if torch.is_autocast_enabled(kind) and x.is_floating_point() and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype


def autocast(x: Tensor) -> Tensor:
    """The rule under `torch.autocast`: the image in autocast's type, as for any convolution.

    A rule registered with the operator could name one type only; weights stay as they are, for the
    sums are made in float32 anyway.
    """
    return x.to(computed_type(x))


def depthwise_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    transposed: bool = False,
    operators: Operators = "auto",
) -> Tensor:
    """Depthwise 3D convolution, padded by half the kernel.

    Args:
        x: (N, C, D, H, W), float32, bfloat16 or float16; fastest in `torch.channels_last_3d`,
            which the result has.
        weight: (C, 1, K, K, K), K 3, 5 or 7 for the fused operator.
        bias: (C,), or None.
        stride: 1 or 2.
        transposed: the transposed convolution with stride 2: n voxels to 2n - 1.
        operators: "fused" insists on the fused operator; "stock" is PyTorch's own, and so is
            "auto" here: only of whole networks is it measured what is faster (`measuring`).

    Returns:
        (N, C, D, H, W) in the type of `x`, or of autocast; sums are made in float32.

    Raises:
        SettingsError: shapes, types or devices that do not fit, or "fused" where it cannot run.
    """
    _check(x, weight, stride, transposed)
    _check_parameters(x, weight, bias)
    if not is_taken(operators, x, weight):
        return _stock(x, weight, bias, stride, transposed)
    from mednext_cli.networks.mednext.kernels.depthwise import depthwise

    result: Tensor = depthwise(autocast(x), weight, bias, stride, transposed, False)[0]
    return result


def can_take(x: Tensor) -> bool:
    """Whether the fused operators can run on this image; nothing is raised."""
    return _is_computed(x) and availability.can_run(x.device)


def _is_computed(x: Tensor) -> bool:
    return x.numel() > 0 and availability.is_computed(computed_type(x), x.device)


def is_taken(operators: Operators, x: Tensor, weight: Tensor) -> bool:
    """Whether the fused operator takes this convolution; raises as `availability.is_wanted`.

    Images of no voxels or of integers, and float64 on a GPU, are PyTorch's own to take or refuse.
    """
    if not availability.is_wanted(operators, x.device) or not _is_computed(x):
        return False
    if weight.shape[-1] not in availability.SIZES:
        raise SettingsError(
            f"operators = fused with a kernel of {weight.shape[-1]} voxels", "It has 3, 5 and 7."
        )
    return True


def _check(x: Tensor, weight: Tensor, stride: int, transposed: bool) -> None:
    if x.ndim != 5 or weight.shape != (x.shape[1], 1, *weight.shape[-1:] * 3):
        raise SettingsError(
            f"an image of shape {tuple(x.shape)} and a weight of shape {tuple(weight.shape)}",
            "Give (N, C, D, H, W) and (C, 1, K, K, K).",
        )
    if weight.shape[-1] % 2 == 0 or stride not in (1, 2) or (transposed and stride != 2):
        raise SettingsError(
            f"kernel {weight.shape[-1]}, stride {stride}, transposed {transposed}",
            "Kernels are odd, strides 1 or 2; the transposed convolution has stride 2.",
        )


def _check_parameters(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if not weight.is_floating_point() or weight.device != x.device:
        raise SettingsError(
            f"a weight of {weight.dtype} on {weight.device} for an image on {x.device}",
            "Give a floating-point weight on the image's device.",
        )
    if bias is not None and (bias.shape, bias.dtype, bias.device) != (
        weight.shape[:1],
        weight.dtype,
        weight.device,
    ):
        raise SettingsError(
            f"a bias of shape {tuple(bias.shape)}, {bias.dtype} on {bias.device} beside a weight "
            f"of {weight.dtype} on {weight.device}",
            f"Give ({len(weight)},) in the weight's type, on its device.",
        )


def _stock(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, transposed: bool) -> Tensor:
    kernel, groups = weight.shape[-1], x.shape[1]
    convolve = F.conv_transpose3d if transposed else F.conv3d
    return convolve_safely(
        lambda image: convolve(image, weight, bias, stride, kernel // 2, groups=groups),
        x,
        kernel,
        stride,
        transposed,
    )


class DepthwiseConv3d(nn.Module):
    """Drop-in for a depthwise `nn.Conv3d` or `nn.ConvTranspose3d`, with the same state dict.

    Args:
        channels: of the input and the output.
        kernel: voxels, odd.
        stride: 1 or 2.
        bias: whether there is one.
        transposed: the transposed convolution with stride 2.
        operators: see `depthwise_conv3d`.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        stride: int = 1,
        bias: bool = True,
        transposed: bool = False,
        operators: Operators = "auto",
    ) -> None:
        super().__init__()
        convolution = nn.ConvTranspose3d if transposed else nn.Conv3d
        like = convolution(channels, channels, kernel, groups=channels, bias=bias)
        self.weight, self.bias = like.weight, like.bias
        self.stride, self.transposed = stride, transposed
        self.operators: Operators = operators

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) to (N, C, ...): see `depthwise_conv3d`."""
        return depthwise_conv3d(
            x, self.weight, self.bias, self.stride, self.transposed, self.operators
        )
