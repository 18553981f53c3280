"""What a network is run on: together with the device it decides which operators are fastest."""

from dataclasses import dataclass

import torch

from mednext_cli.networks.patches import Patch
from mednext_cli.networks.spec import NetworkSpec


@dataclass(frozen=True)
class Workload:
    """A network and what it is given, over and over.

    Attributes:
        network: what it is built from.
        patch_voxels: (D, H, W) of each image.
        batch: images at once.
        dtype: of the forward pass; all but float32 by autocast.
        training: whether gradients are computed, too.
        device: where.
    """

    network: NetworkSpec
    patch_voxels: Patch
    batch: int
    dtype: torch.dtype
    training: bool
    device: torch.device
