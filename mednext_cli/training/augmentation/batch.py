"""Augmentation as one operation on a batch, run by whoever holds the batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import default_collate

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.transforms import (
    build_augmentation,
    enlarged_patch,
    mark_outside,
    seed_augmentation,
)
from mednext_cli.training.batches import Batch, SeededBatch
from mednext_cli.volumes.turning import UNTURNED, Turn


class Augmentation:
    """nnU-Net's augmentations of a batch.

    Every sample is decided by its own seed, and so neither by its neighbours nor by the process
    that augments it. It runs on the CPU and draws from the process's global generators.

    Args:
        patch_voxels: (D, H, W) of what it gives.
        settings: probabilities and ranges.
        masked_channels: channels that stay 0 outside the non-zero mask.
        turn: that its images were turned by.

    Attributes:
        read_voxels: (D', H', W') of what it is to be given, larger where it rotates or zooms.
    """

    def __init__(
        self,
        patch_voxels: Sequence[int],
        settings: AugmentationSettings,
        masked_channels: Sequence[int] = (),
        turn: Turn = UNTURNED,
    ) -> None:
        self.read_voxels = enlarged_patch(patch_voxels, settings)
        self._masked_channels = masked_channels
        self._transform = build_augmentation(patch_voxels, settings, masked_channels, turn)

    def __call__(self, batch: SeededBatch) -> Batch:
        """The batch to train on; of the given one only images and labels may be overwritten."""
        samples = [self._augment(*sample) for sample in zip(*batch, strict=True)]
        images, labels = default_collate(samples)
        return images, labels

    def _augment(self, image: Tensor, label: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        seed_augmentation(seed)
        marked = mark_outside(label.numpy(), image.numpy(), self._masked_channels)
        made = self._transform(image=image, segmentation=torch.from_numpy(marked[None]))
        return made["image"].contiguous(), made["segmentation"][0].to(torch.uint8)
