"""UNETR as a family of networks; nothing here imports PyTorch or MONAI before one is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkFamily, NetworkSettings, PublishedNetwork
from mednext_cli.networks.patches import Patch, PatchRule
from mednext_cli.settings.sections import Probability, Width

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.unetr.network import UNETR

TOKEN = 16  # voxels along each axis of what becomes one token
LAYERS = 12  # of the transformer
PUBLISHED_PATCH: Patch = (128, 128, 128)
Edge = Annotated[Width, Field(multiple_of=TOKEN)]


class UNETRSettings(NetworkSettings):
    """The names are MONAI's; the defaults as MedNeXt compared it.

    Attributes:
        patch_voxels: (D, H, W) that the network is tied to, since each token has a learned
            position; left out, the plan's (published: 128 x 128 x 128).
        feature_size: width of the decoder at full resolution; each level down doubles it
            (published).
        hidden_size: width of a token (published).
        mlp_dim: inner width of the transformer's perceptrons (published).
        num_heads: of attention; they divide `hidden_size` (published).
        proj_type: what makes tokens of voxels, a linear layer or a convolution; the same sums in
            another order (published: perceptron).
        dropout_rate: in the transformer (published).
    """

    patch_voxels: tuple[Edge, Edge, Edge] | None = None
    feature_size: Width = 16
    hidden_size: Width = 768
    mlp_dim: Width = 3072
    num_heads: Width = 12
    proj_type: Literal["perceptron", "conv"] = "perceptron"
    dropout_rate: Probability = 0.0

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError("hidden_size must be divisible by num_heads")
        return self

    @property
    def patch(self) -> Patch:
        """(D, H, W) that the network takes, voxels."""
        return self.patch_voxels or PUBLISHED_PATCH


class UNETRFamily(NetworkFamily[UNETRSettings]):
    """UNETR as MONAI has it; it has no deep supervision, as published.

    Source: arXiv 2103.10504 and MONAI 1.6.
    Licence: Apache-2.0 (MONAI, which builds it).
    """

    name = "unetr"
    Settings = UNETRSettings
    requires: ClassVar = {"monai": "mednext[baselines]", "einops": "mednext[baselines]"}
    unused_weights: ClassVar = tuple(
        f"vit.blocks.{layer}.norm_cross_attn." for layer in range(LAYERS)
    )
    recomputes = True
    runs_without_memory = True

    def build(
        self, settings: UNETRSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> "UNETR":
        """With MONAI's initialisation."""
        from mednext_cli.networks.baselines.unetr.network import UNETR

        del deep_supervision
        return UNETR(settings, in_channels, out_channels)

    def planned(
        self, settings: UNETRSettings, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
    ) -> UNETRSettings:
        """Tied to the nearest patch of whole tokens."""
        del spacing_mm
        if settings.patch_voxels is not None:
            return settings
        tokens = PatchRule(divisors=(TOKEN,) * 3, smallest=(TOKEN,) * 3)
        return settings.model_copy(update={"patch_voxels": tokens.fit(patch_voxels)})

    def divisor(self, settings: UNETRSettings) -> int:
        """16: a token."""
        del settings
        return TOKEN

    def fixed_patch(self, settings: UNETRSettings) -> Patch:
        """The one whose tokens have positions."""
        return settings.patch

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Layer by layer of the transformer, block by block of the convolutions."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("UNETR", network).recomputable, on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[UNETRSettings]:
        """See `read_monai`."""
        from mednext_cli.networks.baselines.unetr.published import read_monai

        return read_monai(weights, said)

    def publish(
        self, settings: UNETRSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """Names are MONAI's."""
        del settings
        return dict(state_dict)


FAMILY = UNETRFamily()
