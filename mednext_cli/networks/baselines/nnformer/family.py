"""nnFormer as a family of networks; nothing here imports PyTorch before a network is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mednext_cli.networks.baselines.nnformer.settings import NnFormerSettings
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork, label_of
from mednext_cli.networks.patches import Patch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.nnformer.network import NnFormer


class NnFormerFamily(NetworkFamily[NnFormerSettings]):
    """Both published networks, of any width; each is tied to the patch it is built for.

    Source: arXiv 2109.03201.
    Licence: MIT (282857341/nnFormer), written anew here.

    Differences from the published code:
    - none in the numbers: relative positions share rows of the table of biases, of which 115 of
      343 are used, unless `positions` is "distinct", and the decoder for tumours has the heads
      of the encoder's next level
    """

    name = "nnformer"
    Settings = NnFormerSettings
    deep_supervision = True
    auxiliary_weights: ClassVar = ("heads.1.", "heads.2.")
    recomputes = True
    runs_without_memory = True

    def build(
        self,
        settings: NnFormerSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> "NnFormer":
        """With PyTorch's default initialisation but for the biases of positions, as published."""
        from mednext_cli.networks.baselines.nnformer.network import NnFormer

        return NnFormer(settings, in_channels, out_channels, deep_supervision)

    def planned(
        self,
        settings: NnFormerSettings,
        patch_voxels: Patch,
        spacing_mm: tuple[float, float, float],
    ) -> NnFormerSettings:
        """Tied to the nearest patch."""
        del spacing_mm
        if settings.patch_voxels is not None:
            return settings
        return settings.model_copy(update={"patch_voxels": settings.rule.fit(patch_voxels)})

    def supervises(self, settings: NnFormerSettings) -> bool:
        """As published: the network for Synapse has three heads, the one for tumours one."""
        return settings.variant == "synapse"

    def divisor(self, settings: NnFormerSettings) -> Patch:
        """Voxels of a token, halved three times."""
        depth, height, width = settings.rule.divisors
        return depth, height, width

    def fixed_patch(self, settings: NnFormerSettings) -> Patch:
        """The windows are cut for it."""
        return settings.patch

    def label(self, settings: NnFormerSettings) -> str:
        """``nnformer``, ``nnformer_synapse``, and what differs from the variant."""
        head = self.name if settings.variant == "tumour" else f"{self.name}_{settings.variant}"
        return label_of(head, settings, NnFormerSettings(variant=settings.variant))

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Of the embedding and every block."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("NnFormer", network).parts(), on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[NnFormerSettings]:
        """See `published.read_published`."""
        from mednext_cli.networks.baselines.nnformer.published import read_published

        return read_published(weights, said)

    def publish(
        self, settings: NnFormerSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """See `published.publish`."""
        from mednext_cli.networks.baselines.nnformer.published import publish

        return publish(settings, state_dict)


FAMILY = NnFormerFamily()
