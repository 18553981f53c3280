"""The 2D TransUNet as a family of networks; nothing here imports PyTorch before one is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from mednext_cli.networks.baselines.transunet_2d.settings import (
    DOWNSAMPLING,
    SLICES,
    TransUNet2DSettings,
)
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork
from mednext_cli.networks.patches import Patch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.transunet_2d.network import TransUNet2D

_PUBLISHED_PATCH = (1, 512, 512)


class TransUNet2DFamily(NetworkFamily[TransUNet2DSettings]):
    """R50-ViT-B/16 of any size; a network of slices, tied to the size of its slice.

    Source: arXiv 2102.04306.
    Licence: Apache-2.0 (Beckschen/TransUNet), written anew here.

    Differences from the published code:
    - weights are random at first, as in MedNeXt's comparison, there from ImageNet
    - slices need not be square, and images of two channels, or more than three, have a first
      convolution of their own, which an export keeps
    """

    name = "transunet_2d"
    Settings = TransUNet2DSettings
    recomputes = True
    runs_without_memory = True

    def build(
        self,
        settings: TransUNet2DSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> "TransUNet2D":
        """With PyTorch's default initialisation, as published but for ImageNet's weights."""
        from mednext_cli.networks.baselines.transunet_2d.network import TransUNet2D

        del deep_supervision  # it has one output
        return TransUNet2D(settings, in_channels, out_channels)

    def planned(
        self,
        settings: TransUNet2DSettings,
        patch_voxels: Patch,
        spacing_mm: tuple[float, float, float],
    ) -> TransUNet2DSettings:
        """Tied to the nearest slice."""
        del spacing_mm
        if settings.patch_voxels is not None:
            return settings
        return settings.model_copy(update={"patch_voxels": SLICES.fit(patch_voxels)})

    def divisor(self, settings: TransUNet2DSettings) -> int:
        """16: the residual network halves the slice four times."""
        del settings
        return DOWNSAMPLING

    def dimensions(self, settings: TransUNet2DSettings) -> int:
        """2."""
        del settings
        return 2

    def smallest_patch(self, settings: TransUNet2DSettings) -> tuple[int, ...]:
        """16 x 32."""
        del settings
        return SLICES.smallest

    def fixed_patch(self, settings: TransUNet2DSettings) -> Patch:
        """The slice that the table of positions is of."""
        return settings.patch_voxels or _PUBLISHED_PATCH

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """See `TransUNet2D.recomputed`."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("TransUNet2D", network).recomputed(), on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[TransUNet2DSettings]:
        """See `published.read_published`."""
        from mednext_cli.networks.baselines.transunet_2d.published import read_published

        return read_published(weights, said)

    def publish(
        self, settings: TransUNet2DSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """Under the same names."""
        del settings
        return dict(state_dict)


FAMILY = TransUNet2DFamily()
