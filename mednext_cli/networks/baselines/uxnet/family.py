"""3D UX-Net as a family of networks; nothing here imports PyTorch before one is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field

from mednext_cli.networks.family import NetworkFamily, NetworkSettings, PublishedNetwork
from mednext_cli.settings.sections import Positive, Probability, Width

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.uxnet.network import UXNet

STAGES = 4
_DIVISOR = 16  # the image is halved four times
_Depth = Annotated[Width, Field(le=64)]
_Scale = Annotated[Positive, Field(le=1.0)]


class UXNetSettings(NetworkSettings):
    """The names are the published ones.

    Attributes:
        depths: blocks of each stage, from half the resolution down (published).
        feat_size: width of each stage; the first is the decoder's at full resolution (published).
        hidden_size: width at the bottom (published).
        drop_path_rate: share of samples in which the last block is skipped; less in the blocks
            before (published).
        layer_scale: what a block's output is first multiplied by, then learned (published).
    """

    depths: tuple[_Depth, _Depth, _Depth, _Depth] = (2, 2, 2, 2)
    feat_size: tuple[Width, Width, Width, Width] = (48, 96, 192, 384)
    hidden_size: Width = 768
    drop_path_rate: Annotated[Probability, Field(lt=1.0)] = 0.0
    layer_scale: _Scale = 1e-6


class UXNetFamily(NetworkFamily[UXNetSettings]):
    """3D UX-Net; it has no deep supervision, as published.

    Source: arXiv 2209.15076.
    Licence: MIT by its README, without a file that says so; written anew here, of blocks of MONAI
    (Apache-2.0).

    Differences from the published code:
    - the head takes the width of the decoder, there always 48
    """

    name = "uxnet"
    Settings = UXNetSettings
    requires: ClassVar = {"monai": "mednext[baselines]"}
    recomputes = True
    runs_without_memory = True

    def build(
        self, settings: UXNetSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> "UXNet":
        """With PyTorch's default initialisation, as published."""
        from mednext_cli.networks.baselines.uxnet.network import UXNet

        del deep_supervision
        return UXNet(settings, in_channels, out_channels)

    def divisor(self, settings: UXNetSettings) -> int:
        """16: four times a half."""
        del settings
        return _DIVISOR

    def smallest_patch(self, settings: UXNetSettings) -> tuple[int, ...]:
        """Instance norm needs two voxels at the bottom."""
        del settings
        return (_DIVISOR, _DIVISOR, 2 * _DIVISOR)

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Block by block."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("UXNet", network).recomputable, on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[UXNetSettings]:
        """See `read_published`."""
        from mednext_cli.networks.baselines.uxnet.published import read_published

        return read_published(weights, said)

    def publish(
        self, settings: UXNetSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """Names are the published ones."""
        del settings
        return dict(state_dict)


FAMILY = UXNetFamily()
