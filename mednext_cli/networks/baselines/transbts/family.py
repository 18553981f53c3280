"""TransBTS as a family of networks; nothing here imports PyTorch before a network is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from mednext_cli.networks.baselines.transbts.settings import TransBtsSettings
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork
from mednext_cli.networks.patches import Patch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.transbts.network import TransBts


class TransBtsFamily(NetworkFamily[TransBtsSettings]):
    """The published network, of any width; it is tied to the patch it is built for.

    Source: arXiv 2103.04430.
    Licence: Apache-2.0 (Wenxuan-1119/TransBTS), written anew here.

    Differences from the published code:
    - it gives logits, there probabilities; MedNeXt and 3D UX-Net dropped the softmax, too
    - channels are dropped in training alone, there in evaluation as well
      (`input_dropout_in_evaluation`)
    - patches need not be cubes
    - weights that are never used (`linear_encoding`, `pre_head_ln`: 67,072 of 32,789,854) are
      left out: an import passes over them, an export writes zeros
    """

    name = "transbts"
    Settings = TransBtsSettings
    recomputes = True
    runs_without_memory = True

    def build(
        self,
        settings: TransBtsSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> "TransBts":
        """With PyTorch's default initialisation, positions 0, as published."""
        from mednext_cli.networks.baselines.transbts.network import TransBts

        del deep_supervision  # it has one head
        return TransBts(settings, in_channels, out_channels)

    def planned(
        self,
        settings: TransBtsSettings,
        patch_voxels: Patch,
        spacing_mm: tuple[float, float, float],
    ) -> TransBtsSettings:
        """Tied to the nearest patch."""
        del spacing_mm
        if settings.patch_voxels is not None:
            return settings
        return settings.model_copy(update={"patch_voxels": settings.rule.fit(patch_voxels)})

    def divisor(self, settings: TransBtsSettings) -> int:
        """8: the image is halved three times."""
        return settings.rule.divisors[0]

    def smallest_patch(self, settings: TransBtsSettings) -> tuple[int, ...]:
        """Batch norm needs two voxels at the bottom."""
        return settings.rule.smallest

    def fixed_patch(self, settings: TransBtsSettings) -> Patch:
        """Each of its tokens has a learned position."""
        return settings.patch

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Of every block and every layer of the transformer."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("TransBts", network).parts(), on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[TransBtsSettings]:
        """See `published.read_published`."""
        from mednext_cli.networks.baselines.transbts.published import read_published

        return read_published(weights, said)

    def publish(
        self, settings: TransBtsSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """See `published.publish`."""
        from mednext_cli.networks.baselines.transbts.published import publish

        return publish(settings, state_dict)


FAMILY = TransBtsFamily()
