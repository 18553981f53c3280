"""3D TransUNet as a family of networks; nothing here imports PyTorch before one is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mednext_cli.networks.baselines.transunet.planning import complete, divisors_of, plan_settings
from mednext_cli.networks.baselines.transunet.settings import TransUNetSettings
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork
from mednext_cli.networks.patches import Patch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.transunet.network import TransUNet

_MOST_STEPS = 8
_UNUSED = "unused_head."


class TransUNetFamily(NetworkFamily[TransUNetSettings]):
    """TransUNet of three dimensions, with transformers in the encoder, the decoder or both.

    Source: arXiv 2310.07781.
    Licence: Apache-2.0 (Beckschen/3D-TransUNet), written anew here.

    Differences from the published code:
    - none in the numbers of published weights, quirks included: the scale of the transformer's
      layers is of what they add to, not of what is added (`vit_layer_scale`), that of the mask
      decoder's feed-forward layers of the whole sum (`mask_layer_scale`), and the convolutions
      on the way up have the kernels of the resolution below
    - weights of the vision transformer are random at first, there from ImageNet
    - the mask decoder is trained by the loss of all networks on its semantic map, there by
      matching queries to classes; its logits are the logarithm of that map, which softmax
      undoes: for regions that overlap, whose logits a sigmoid takes, it is of little use
    - without deep supervision the encoder-only network has a head at full resolution, there
      none at all
    """

    name = "transunet"
    Settings = TransUNetSettings
    deep_supervision = True
    auxiliary_weights: ClassVar = (
        *(f"heads.{level}." for level in range(1, _MOST_STEPS)),
        _UNUSED,
    )
    unused_weights: ClassVar = (_UNUSED,)
    recomputes = True
    runs_without_memory = True

    def build(
        self,
        settings: TransUNetSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> "TransUNet":
        """Initialised as published, but for ImageNet's weights in the vision transformer."""
        from mednext_cli.networks.baselines.transunet.network import TransUNet

        return TransUNet(settings, in_channels, out_channels, deep_supervision)

    def planned(
        self,
        settings: TransUNetSettings,
        patch_voxels: Patch,
        spacing_mm: tuple[float, float, float],
    ) -> TransUNetSettings:
        """See `plan_settings`."""
        return plan_settings(settings, patch_voxels, spacing_mm)

    def supervises(self, settings: TransUNetSettings) -> bool:
        """On unless the decoder alone has transformers, as published."""
        return settings.attends

    def divisor(self, settings: TransUNetSettings) -> int | Patch:
        """What the steps down divide by."""
        divisors = divisors_of(settings)
        return divisors[0] if len(set(divisors)) == 1 else divisors

    def smallest_patch(self, settings: TransUNetSettings) -> tuple[int, ...]:
        """Instance norm needs two voxels in the bottleneck."""
        depth, height, width = divisors_of(settings)
        return depth, height, 2 * width

    def fixed_patch(self, settings: TransUNetSettings) -> Patch | None:
        """The patch that the vision transformer's table of positions is of, if it has one."""
        return complete(settings).patch_voxels

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """See `TransUNet.recomputed`."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("TransUNet", network).recomputed(), on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[TransUNetSettings]:
        """See `published.read_published`."""
        from mednext_cli.networks.baselines.transunet.published import read_published

        return read_published(weights, said)

    def publish(
        self, settings: TransUNetSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """See `published.publish`."""
        from mednext_cli.networks.baselines.transunet.published import publish

        return publish(settings, state_dict)


FAMILY = TransUNetFamily()
