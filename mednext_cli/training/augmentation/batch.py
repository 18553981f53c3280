"""Augmentation as one operation on a batch, on the device where the batch lies."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.affine import Affine, Box
from mednext_cli.training.augmentation.intensity import change_intensities
from mednext_cli.training.augmentation.parameters import Parameters, draw_parameters
from mednext_cli.training.augmentation.planes import Planes
from mednext_cli.training.augmentation.resampling import resample_image, resample_labels
from mednext_cli.training.batches import Batch, ReadSample
from mednext_cli.volumes.turning import UNTURNED, Turn

_OUTSIDE = -1  # nnU-Net's label of voxels outside the non-zero mask


class Augmentation:
    """nnU-Net's augmentations of a batch, each sample decided by its own seed alone.

    So neither its neighbours nor the process that augments it matter to a sample. On another kind
    of device the parameters are the same; noise and rounding are that device's.

    Args:
        patch_voxels: (D, H, W) of what it gives.
        settings: probabilities and ranges.
        masked_channels: channels that stay 0 outside the non-zero mask.
        turn: that its images were turned by; the axes that `settings` mirror are those before.
        planes: that voxels stay in but for mirroring, as `choose_planes` has them; None for all
            directions.
    """

    def __init__(
        self,
        patch_voxels: Sequence[int],
        settings: AugmentationSettings,
        masked_channels: Sequence[int] = (),
        turn: Turn = UNTURNED,
        planes: Planes | None = None,
    ) -> None:
        self._patch = tuple(patch_voxels)
        self._settings = settings
        self._masked = list(masked_channels)
        self._planes = planes
        axes = turn.axes(settings.mirrored)
        self._mirror_axes = [axis for axis in axes if self._patch[axis] > 1]

    def parameters(self, seed: int, channels: int) -> Parameters:
        """What a sample of this seed and so many channels is augmented by."""
        return draw_parameters(seed, self._settings, channels, self._mirror_axes, self._planes)

    def needed(self, seed: int, channels: int) -> Box:
        """The voxels to read for it: the patch alone, unless it is turned or zoomed."""
        parameters = self.parameters(seed, channels)
        if not parameters.moves_voxels:
            return whole_patch(self._patch)
        return Affine(self._patch, parameters).box

    def __call__(self, samples: Sequence[ReadSample]) -> Batch:
        """The batch to train on, of the type and on the device of the samples' images."""
        images, labels = zip(*map(self._augment, samples), strict=True)
        return torch.stack(images), torch.stack(labels)

    def _augment(self, sample: ReadSample) -> tuple[Tensor, Tensor]:
        parameters = self.parameters(sample.seed, len(sample.image))
        labels = mark_outside(sample.image, sample.label, self._masked)
        image, labels = self._cut(sample._replace(label=labels), parameters)
        image = change_intensities(image, parameters)
        if parameters.mirrored:
            image = image.flip([axis + 1 for axis in parameters.mirrored])
            labels = labels.flip(parameters.mirrored)
        if self._masked:
            outside = labels == _OUTSIDE
            for channel in self._masked:
                image[channel].masked_fill_(outside, 0)
            labels = labels.masked_fill_(outside, 0)
        return image.to(sample.image.dtype), labels.to(torch.uint8)

    def _cut(self, sample: ReadSample, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """The patch (C, D, H, W) float32 and its labels, both new in memory."""
        around = _OUTSIDE if self._masked else 0
        if not parameters.moves_voxels:
            image, labels = cut_patch(sample, self._patch, around)
            contiguous = torch.contiguous_format
            return image.to(torch.float32, copy=True, memory_format=contiguous), labels
        affine = Affine(self._patch, parameters)
        return (
            resample_image(sample.image.float(), affine, sample.corner),
            resample_labels(sample.label, affine, sample.corner, around),
        )


def whole_patch(patch_voxels: Sequence[int]) -> Box:
    """The box of the patch itself."""
    depth, height, width = patch_voxels
    return Box((0, 0, 0), (depth, height, width))


def cut_patch(
    sample: ReadSample, patch_voxels: Sequence[int], around: int = 0
) -> tuple[Tensor, Tensor]:
    """Image (C, D, H, W) and labels (D, H, W) of the patch; what was read, where that is all.

    Args:
        sample: read within the patch.
        patch_voxels: (D, H, W).
        around: label of what was not read; the image is 0 there.
    """
    if sample.label.shape == tuple(patch_voxels):
        return sample.image, sample.label
    place = tuple(
        slice(first, first + length)
        for first, length in zip(sample.corner, sample.label.shape, strict=True)
    )
    image = sample.image.new_zeros((len(sample.image), *patch_voxels))
    labels = sample.label.new_full(tuple(patch_voxels), around)
    image[(slice(None), *place)] = sample.image
    labels[place] = sample.label
    return image, labels


def mark_outside(image: Tensor, labels: Tensor, masked_channels: Sequence[int]) -> Tensor:
    """Labels as int16, -1 for background outside the non-zero mask; as they are without one.

    Outside is where every masked channel is exactly 0, which is what preprocessing writes there.

    Args:
        image: (C, D, H, W), normalised.
        labels: (D, H, W) class indices.
        masked_channels: channels whose normalisation uses the non-zero mask.
    """
    if not masked_channels:
        return labels
    outside = labels == 0
    for channel in masked_channels:
        outside &= image[channel] == 0
    return labels.short().masked_fill_(outside, _OUTSIDE)
