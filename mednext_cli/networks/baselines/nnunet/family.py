"""nnU-Net's plain and residual-encoder U-Net as families; nothing here imports PyTorch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.nnunet.settings import (
    MOST_STAGES,
    NnUNetSettings,
    ResEncSettings,
)
from mednext_cli.networks.baselines.nnunet.topology import plan_topology
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork
from mednext_cli.networks.patches import Patch, shown_patch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mednext_cli.networks.baselines.nnunet.network import UNet


class NnUNetFamily(NetworkFamily[NnUNetSettings]):
    """The plain U-Net: convolution, instance norm, leaky ReLU.

    Source: Isensee et al., Nature Methods 2021; `PlainConvUNet` of
    dynamic-network-architectures.
    Licence: Apache-2.0 (nnU-Net and dynamic-network-architectures, which builds it).

    Differences from the published code:
    - all outputs count in the loss, half as much with each halving of the resolution; there the
      lowest counts nothing
    - heads on lower resolutions are left out without deep supervision, there they are always
      there; an export writes zeros for them
    - the plan's patch goes to the nearest multiple of what the stages halve, there to the next
      larger one
    """

    name = "nnunet"
    Settings: type[NnUNetSettings] = NnUNetSettings
    requires: ClassVar = {"dynamic_network_architectures": "mednext[baselines]"}
    deep_supervision = True
    auxiliary_weights: ClassVar = tuple(f"heads.{level}." for level in range(1, MOST_STAGES))
    published_entry = "network_weights"  # `nnUNetv2_train -pretrained_weights` looks there
    recomputes = True
    runs_without_memory = True
    residual: ClassVar = False

    def one_graph(self, settings: NnUNetSettings) -> bool:
        """Convolutions take any length."""
        del settings
        return True

    def build(
        self, settings: NnUNetSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> "UNet":
        """With nnU-Net's initialisation: He's for a slope of 0.01, biases 0."""
        from mednext_cli.networks.baselines.nnunet.network import build_unet

        return build_unet(settings, in_channels, out_channels, self.residual, deep_supervision)

    def planned(
        self, settings: NnUNetSettings, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
    ) -> NnUNetSettings:
        """Strides and kernels as nnU-Net chooses them, unless the settings say them.

        Raises:
            SettingsError: the patch is too small to be halved at all.
        """
        if settings.strides is not None:
            return settings
        first = len(patch_voxels) - settings.dimensions
        topology = plan_topology(patch_voxels[first:], spacing_mm[first:])
        if len(topology.strides) == 1:
            raise SettingsError(
                f"network {self.name}: a patch of {shown_patch(patch_voxels)} voxels has nothing "
                "that can be halved",
                "Take 12 voxels or more along each axis.",
            )
        return settings.model_copy(update=vars(topology))

    def divisor(self, settings: NnUNetSettings) -> int | tuple[int, ...]:
        """What the strides of all stages make of an axis."""
        divisors = settings.divisors
        return divisors[0] if len(set(divisors)) == 1 else divisors

    def dimensions(self, settings: NnUNetSettings) -> int:
        """As chosen."""
        return settings.dimensions

    def smallest_patch(self, settings: NnUNetSettings) -> tuple[int, ...]:
        """Instance norm needs two voxels in the bottleneck: on the axis where they are cheapest."""
        smallest = list(settings.divisors)
        axis = min(range(len(smallest)), key=lambda axis: (smallest[axis], -axis))
        smallest[axis] *= 2
        return tuple(smallest)

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Each stage of the plain encoder, each residual block, each stage of the decoder."""
        from mednext_cli.networks.recompute import set_recomputed

        set_recomputed(cast("UNet", network).recomputable(), on)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[NnUNetSettings]:
        """Of nnU-Net v2, as `checkpoint_final.pth` holds them; the shapes tell everything."""
        from mednext_cli.networks.baselines.nnunet.published import read_published

        return read_published(self, weights, said)

    def publish(
        self, settings: NnUNetSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """Under every name that nnU-Net's network has for them."""
        from mednext_cli.networks.baselines.nnunet.published import published_weights

        return published_weights(settings, state_dict)


class ResEncFamily(NnUNetFamily):
    """The U-Net with a residual encoder, ResEnc M, L or XL by its patch and batch.

    Source: Isensee et al., arXiv 2404.09556; `ResidualEncoderUNet` of
    dynamic-network-architectures.
    Licence: Apache-2.0 (nnU-Net and dynamic-network-architectures, which builds it).

    Differences from the published code:
    - all outputs count in the loss, half as much with each halving of the resolution; there the
      lowest counts nothing
    - heads on lower resolutions are left out without deep supervision, there they are always
      there; an export writes zeros for them
    - the plan's patch goes to the nearest multiple of what the stages halve, there to the next
      larger one
    - M, L and XL are recipes for scans of 1 mm; there the planner fits patch and batch to the
      memory for any spacing and size
    """

    name = "nnunet_resenc"
    Settings = ResEncSettings
    residual = True


PLAIN = NnUNetFamily()
RESIDUAL = ResEncFamily()
