"""Transforms of intensities, of one image (C, D, H, W) float32 on any device.

All but `blur` and `lower_resolution` work in place. None asks the device for a number, so that a
GPU is never waited for.

Source: the transforms of batchgeneratorsv2 0.3.6, which give the same for the same parameters
(tests/training/augmentation compares them).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.training.augmentation.parameters import Parameters, Triple

_TINY = 1e-7  # the least range that a gamma curve divides by
_BLUR_REACH = 6.0  # length of the blurring kernel, in standard deviations


def change_intensities(image: Tensor, parameters: Parameters) -> Tensor:
    """All that the parameters ask for, in nnU-Net's order; the given image may be overwritten."""
    if parameters.noise is not None:
        add_noise(image, parameters.noise, parameters.seed)
    for channel, sigmas in enumerate(parameters.blur):
        if sigmas is not None:
            image[channel] = blur(image[channel], sigmas)
    for channel, factor in enumerate(parameters.brightness):
        image[channel].mul_(factor)
    for channel, factor in enumerate(parameters.contrast):
        change_contrast(image[channel], factor)
    for channel, zoom in enumerate(parameters.low_resolution):
        if zoom is not None:
            image[channel] = lower_resolution(image[channel], zoom, parameters.across)
    for channel, exponent in enumerate(parameters.gamma_inverted):
        apply_gamma(image[channel].neg_(), exponent).neg_()
    for channel, exponent in enumerate(parameters.gamma):
        apply_gamma(image[channel], exponent)
    return image


def add_noise(image: Tensor, deviation: float, seed: int) -> Tensor:
    """Independent Gaussian noise on every voxel; each kind of device draws its own from a seed."""
    generator = torch.Generator(image.device).manual_seed(seed)
    noise = torch.empty_like(image).normal_(0.0, deviation, generator=generator)
    return image.add_(noise)


def blur(channel: Tensor, sigmas: Triple) -> Tensor:
    """A Gaussian blur of (D, H, W), mirrored at its ends, along one axis after the other.

    Along each axis it is a product with a matrix, which took a quarter of the time of a convolution
    with one channel (one core, 128^3).

    Args:
        channel: (D, H, W).
        sigmas: standard deviations along the axes, voxels.
    """
    for axis, sigma in enumerate(sigmas):
        if channel.shape[axis] > 1:
            channel = _along(channel, axis, _blurring(channel.shape[axis], sigma, channel.device))
    return channel


def _along(channel: Tensor, axis: int, matrix: Tensor) -> Tensor:
    if axis == 0:
        return (matrix @ channel.reshape(len(channel), -1)).view_as(channel)
    return matrix @ channel if axis == 1 else channel @ matrix.T


def _blurring(length: int, sigma: float, device: torch.device) -> Tensor:
    """(length, length): each row the kernel about its voxel, folded back at the ends."""
    reach = _kernel_length(sigma) // 2
    offsets = torch.arange(-reach, reach + 1, device=device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2) if sigma else (offsets == 0).float()
    kernel /= kernel.sum()
    period = 2 * (length - 1)  # mirrored without repeating the last voxel
    source = (torch.arange(length, device=device)[:, None] + offsets) % period
    source = torch.minimum(source, period - source)
    return torch.zeros(length, length, device=device).scatter_add_(
        1, source, kernel.expand_as(source).contiguous()
    )


def _kernel_length(sigma: float) -> int:
    """The odd number nearest to `_BLUR_REACH` standard deviations and a half."""
    wished = sigma * _BLUR_REACH + 0.5
    nearest = round(wished)
    if nearest % 2:
        return nearest
    return nearest + 1 if wished >= nearest else nearest - 1


def change_contrast(channel: Tensor, factor: float) -> Tensor:
    """Stretch (D, H, W) about its mean, within the range that it had."""
    low, high = torch.aminmax(channel)
    mean = _mean(channel)
    return channel.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def lower_resolution(channel: Tensor, zoom: float, across: int | None = None) -> Tensor:
    """(D, H, W) brought down by the nearest voxel, and linearly up again.

    Args:
        channel: (D, H, W).
        zoom: of the lengths, at most 1 brings down.
        across: axis that keeps its length; None for none.
    """
    small = [max(1, round(length * zoom)) for length in channel.shape]
    if across is not None:
        small[across] = channel.shape[across]
    down = F.interpolate(channel[None, None], small, mode="nearest-exact")
    return F.interpolate(down, list(channel.shape), mode="trilinear")[0, 0]


def apply_gamma(channel: Tensor, exponent: float) -> Tensor:
    """A gamma curve over the range of (D, H, W), which then has mean and deviation of before."""
    mean = _mean(channel)
    deviation = _deviation(channel, mean)
    low, high = torch.aminmax(channel)
    extent = high - low
    channel.sub_(low).div_(extent.clamp(min=_TINY))
    channel.log2_().mul_(exponent).exp2_()  # a third of the time of pow
    channel.mul_(extent).add_(low)
    now = _mean(channel)
    spread = _deviation(channel, now)
    return channel.sub_(now).mul_(deviation / spread.clamp(min=_TINY)).add_(mean)


def _mean(channel: Tensor) -> Tensor:
    """Axis by axis, which gives the same with any number of threads."""
    return channel.mean(2).mean(1).mean(0)


def _deviation(channel: Tensor, mean: Tensor) -> Tensor:
    """Of a sample, as ``torch.std`` has it."""
    voxels = channel.numel()
    return (_mean((channel - mean).square_()) * (voxels / max(1, voxels - 1))).sqrt_()
