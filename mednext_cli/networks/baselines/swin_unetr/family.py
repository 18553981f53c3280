"""Swin UNETR as a family; nothing here imports PyTorch or MONAI before a network is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mednext_cli.networks.baselines.swin_unetr.settings import SwinUNETRSettings
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.swin_unetr.network import SwinUNETR

_DIVISOR = 32  # the image is halved five times


class SwinUNETRFamily(NetworkFamily[SwinUNETRSettings]):
    """Swin UNETR, versions 1 and 2, as MONAI has it; without deep supervision there, too.

    Source: arXiv 2201.01266 and MONAI 1.6.
    Licence: Apache-2.0 (MONAI, which builds it).

    Differences from the published code:
    - all eight corners of 2 x 2 x 2 tokens are merged, unless `patch_merging` is "before_1_5":
      MONAI before 1.5, and so MedNeXt's comparison, merged two of them twice and two never
    - attention stores no weights of pairs of tokens; the numbers are the same
    """

    name = "swin_unetr"
    Settings = SwinUNETRSettings
    requires: ClassVar = {"monai": "mednext[baselines]"}
    recomputes = True
    runs_without_memory = True

    def build(
        self,
        settings: SwinUNETRSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> "SwinUNETR":
        """With MONAI's initialisation."""
        from mednext_cli.networks.baselines.swin_unetr.network import SwinUNETR

        del deep_supervision
        return SwinUNETR(settings, in_channels, out_channels)

    def divisor(self, settings: SwinUNETRSettings) -> int:
        """32: five times a half."""
        del settings
        return _DIVISOR

    def smallest_patch(self, settings: SwinUNETRSettings) -> tuple[int, ...]:
        """Instance norm needs two voxels at the bottom."""
        del settings
        return (_DIVISOR, _DIVISOR, 2 * _DIVISOR)

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Block by block, of attention as of convolutions."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("SwinUNETR", network).recomputable, on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[SwinUNETRSettings]:
        """See `read_monai`."""
        from mednext_cli.networks.baselines.swin_unetr.published import read_monai

        return read_monai(weights, said)

    def publish(
        self, settings: SwinUNETRSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """See `to_monai`."""
        from mednext_cli.networks.baselines.swin_unetr.published import to_monai

        return to_monai(settings, state_dict)


FAMILY = SwinUNETRFamily()
