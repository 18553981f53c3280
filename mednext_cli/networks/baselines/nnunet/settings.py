"""What of nnU-Net's networks can be chosen: `[model.nnunet]` and `[model.nnunet_resenc]`."""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mednext_cli.networks.baselines.nnunet.topology import Axes, Topology, plan_topology
from mednext_cli.networks.family import NetworkSettings
from mednext_cli.settings.sections import Width, refuse_truth

MOST_STAGES = 12  # 2 ** 11 voxels are halved down to 1
PATCH = 128  # voxels along each axis that an unplanned network is for
_Stride = Annotated[Literal[1, 2, 3, 4], BeforeValidator(refuse_truth)]
_Kernel = Annotated[Literal[1, 3, 5, 7], BeforeValidator(refuse_truth)]
_Blocks = Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=64)]
_OfStages = Field(min_length=2, max_length=MOST_STAGES)
_OfAxes = Field(min_length=2, max_length=3)
Strides = Annotated[tuple[Annotated[tuple[_Stride, ...], _OfAxes], ...], _OfStages]
KernelSizes = Annotated[tuple[Annotated[tuple[_Kernel, ...], _OfAxes], ...], _OfStages]
Blocks = Annotated[tuple[_Blocks, ...], Field(min_length=1, max_length=MOST_STAGES)]


class NnUNetSettings(NetworkSettings):
    """A plain U-Net whose stages the plan decides, as nnU-Net does.

    Source: nnU-Net v2, `ExperimentPlanner`; Isensee et al., Nature Methods 2021.

    Attributes:
        features: width at full resolution; each stage down doubles it (published).
        max_features: largest width; left out, 320, and 512 in two dimensions (published).
        strides: of each stage along each axis, the first one's 1; left out, the plan's (published).
        kernel_sizes: of each stage along each axis, voxels; given with `strides` (published).
        encoder_blocks: blocks of each stage of the encoder; the last number is that of all stages
            after it, too (published).
        decoder_blocks: convolutions of each stage of the decoder, from the bottom up; likewise
            (published).
        dimensions: 3, or 2 for a network of slices (published).
    """

    published_features: ClassVar = {2: 512, 3: 320}

    features: Width = 32
    max_features: Width | None = None
    strides: Strides | None = None
    kernel_sizes: KernelSizes | None = None
    encoder_blocks: Blocks = (2,)
    decoder_blocks: Blocks = (2,)
    dimensions: Annotated[Literal[2, 3], BeforeValidator(refuse_truth)] = 3

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if (self.strides is None) is not (self.kernel_sizes is None):
            raise ValueError("strides and kernel_sizes must be given together")
        if self.strides is None or self.kernel_sizes is None:
            return self
        if len(self.strides) != len(self.kernel_sizes):
            raise ValueError("strides and kernel_sizes must have as many stages")
        if {*map(len, self.strides), *map(len, self.kernel_sizes)} != {self.dimensions}:
            raise ValueError(f"strides and kernel_sizes have {self.dimensions} numbers a stage")
        if set(self.strides[0]) != {1}:
            raise ValueError("the strides of the first stage are 1: it has the full resolution")
        return self

    @property
    def topology(self) -> Topology:
        """Strides and kernels of the stages; unplanned, those of 128 voxels along each axis."""
        if self.strides is None or self.kernel_sizes is None:
            return plan_topology((PATCH,) * self.dimensions, (1.0,) * self.dimensions)
        return Topology(self.strides, self.kernel_sizes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each stage."""
        most = self.max_features or self.published_features[self.dimensions]
        stages = range(len(self.topology.strides))
        return tuple(min(most, self.features * 2**stage) for stage in stages)

    @property
    def divisors(self) -> Axes:
        """What a patch is a multiple of along each axis, voxels."""
        return tuple(math.prod(strides) for strides in zip(*self.topology.strides, strict=True))


class ResEncSettings(NnUNetSettings):
    """The same with residual blocks in the encoder; presets M, L and XL differ in the patch alone.

    Source: nnU-Net v2, `ResEncUNetPlanner`; Isensee et al., arXiv 2404.09556.
    """

    encoder_blocks: Blocks = (1, 3, 4, 6)
    decoder_blocks: Blocks = (1,)


def of_stages(blocks: tuple[int, ...], stages: int) -> tuple[int, ...]:
    """One number a stage: the last one goes on."""
    return (*blocks, *blocks[-1:] * stages)[:stages]
