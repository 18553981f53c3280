"""MedNeXt as a family of networks; nothing here imports PyTorch before a network is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mednext_cli.networks.family import NetworkFamily, PublishedNetwork
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.variants import LEVELS

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mednext_cli.networks.mednext.network import MedNeXt
    from mednext_cli.networks.workload import Workload
    from mednext_cli.settings.sections import Operators

_CHECKPOINTED = ("M", "L")  # as published


class MedNeXtFamily(NetworkFamily[MedNeXtSettings]):
    """MedNeXt of any size, kernel and number of dimensions.

    Source: arXiv 2303.09975.
    Licence: Apache-2.0 (MIC-DKFZ/MedNeXt), written anew here.

    Differences from the published code:
    - the heads are plain 1x1x1 convolutions, there transposed ones; import and export turn them
    - global response normalisation can be had in the first downsampling, too
      (`grn_in_first_downsampling`), where the published code forgets it
    - `resampling = "plain"` takes strided and transposed convolutions, which the paper compares
      with and the published code cannot make
    - `mixer` can put attention in the place of the depthwise convolutions
    """

    name = "mednext"
    Settings = MedNeXtSettings
    deep_supervision = True
    auxiliary_weights: ClassVar = tuple(f"heads.{level}." for level in range(1, LEVELS + 1))
    recomputes = True
    fuses = True
    capturable = True
    trains_in_bfloat16_on_cpus = True
    runs_without_memory = True

    def build(
        self, settings: MedNeXtSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> "MedNeXt":
        """With PyTorch's default initialisation, as published."""
        from mednext_cli.networks.mednext.network import MedNeXt

        return MedNeXt(settings, in_channels, out_channels, deep_supervision)

    def divisor(self, settings: MedNeXtSettings) -> int:
        """16: the image is halved four times."""
        del settings
        return int(2**LEVELS)

    def taken_divisor(self, settings: MedNeXtSettings) -> int | None:
        """8, of blocks as published: what was of odd length before it was halved is so again."""
        as_published = settings.mixer == "depthwise" and settings.resampling != "plain"
        return int(2 ** (LEVELS - 1)) if as_published else None

    def is_the_same_by_threads(self, settings: MedNeXtSettings) -> bool:
        """By its own kernels, which are those of depthwise convolutions in three dimensions."""
        return settings.dimensions == 3 and settings.mixer == "depthwise"

    def dimensions(self, settings: MedNeXtSettings) -> int:
        """As chosen."""
        return settings.dimensions

    def smallest_patch(self, settings: MedNeXtSettings) -> tuple[int, ...]:
        """Group norm, one channel a group, needs two voxels in the bottleneck; layer norm one."""
        divisor = self.divisor(settings)
        longest = 2 * divisor if settings.norm == "group" else divisor
        return (divisor,) * (settings.dimensions - 1) + (longest,)

    def one_graph(self, settings: MedNeXtSettings) -> bool:
        """Convolutions take any length; windows of attention are laid out for one."""
        return settings.mixer == "depthwise"

    def label(self, settings: MedNeXtSettings) -> str:
        """``S-k3`` as published, else with what differs: ``S-k3-w16-plain``."""
        encoder, decoder = settings.kernels
        kernels = f"k{encoder}" if encoder == decoder else f"k{encoder}-{decoder}"
        return "-".join((_size(settings), kernels, *_differences(settings)))

    def checkpointing(self, settings: MedNeXtSettings) -> bool:
        """On for M and L, as published."""
        return settings.size in _CHECKPOINTED

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """See `MedNeXt.checkpointing`."""
        cast("MedNeXt", network).checkpointing = on

    def keeps_little(self, network: "nn.Module") -> bool:
        """See `MedNeXt.keeps_little`."""
        return cast("MedNeXt", network).keeps_little()

    def choose_operators(
        self, workload: "Workload", kept: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """See `kernels.measuring`; networks of slices have nothing to choose from."""
        if self.dimensions(cast("MedNeXtSettings", workload.network.settings)) != 3:
            return None
        from mednext_cli.networks.mednext.kernels.measuring.choosing import choose

        return choose(workload, kept)

    def bfloat16_gain(self, workload: "Workload") -> float | None:
        """See `kernels.measuring.precisions`; networks of slices have no operators of ours."""
        if self.dimensions(cast("MedNeXtSettings", workload.network.settings)) != 3:
            return None
        from mednext_cli.networks.mednext.kernels.measuring.precisions import bfloat16_gain

        return bfloat16_gain(workload)

    def set_operators(
        self,
        network: "nn.Module",
        operators: "Operators",
        device: "torch.device",
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """See `MedNeXt.operators`."""
        from mednext_cli.networks.mednext.kernels import availability

        availability.check(operators, device)
        cast("MedNeXt", network).operators = operators
        if chosen is not None and operators == "auto":
            from mednext_cli.networks.mednext.kernels.measuring.choices import apply_choices

            apply_choices(cast("MedNeXt", network), chosen)

    def kernels(self, settings: MedNeXtSettings) -> tuple[int, ...]:
        """Of the depthwise convolutions, in encoder and decoder; none where attention mixes.

        There only the resampling blocks have kernels, and what attention has instead follows from
        their size: it has no larger one to begin with.
        """
        return settings.kernels if settings.mixer == "depthwise" else ()

    def with_kernel(self, settings: MedNeXtSettings, kernel: int) -> MedNeXtSettings:
        """Everywhere."""
        return settings.with_kernel(kernel)

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[MedNeXtSettings]:
        """See `read_official`."""
        from mednext_cli.networks.mednext.official import read_official

        return read_official(weights, said)

    def publish(
        self, settings: MedNeXtSettings, state_dict: "Mapping[str, Tensor]"
    ) -> "dict[str, Tensor]":
        """See `to_official`."""
        from mednext_cli.networks.mednext.official import to_official

        return to_official(settings, state_dict)


def _size(settings: MedNeXtSettings) -> str:
    if settings.size is not None:
        return settings.size
    expansion, blocks = ("_".join(map(str, numbers)) for numbers in vars(settings.variant).values())
    return f"e{expansion}-b{blocks}"


def _differences(settings: MedNeXtSettings) -> list[str]:
    published = MedNeXtSettings()
    names = {
        "2d": settings.dimensions == 2,
        f"w{settings.base_channels}": settings.base_channels != published.base_channels,
        f"{settings.norm}_norm": settings.norm != published.norm,
        "grn": settings.grn and not settings.grn_in_first_downsampling,
        "grn_everywhere": settings.grn_in_first_downsampling,
        "plain": not settings.residual,
        f"{settings.resampling}_resampling": settings.resampling != published.resampling,
    }
    return [name for name, differs in names.items() if differs] + _mixer(settings)


def _mixer(settings: MedNeXtSettings) -> list[str]:
    if settings.mixer == "depthwise":
        return []
    mixer = {"window_attention": "window", "bias": "bias"}[settings.mixer]
    heads = [] if settings.heads is None else [f"heads{settings.heads}"]
    return [f"{mixer}{settings.window}", *heads]


FAMILY = MedNeXtFamily()
