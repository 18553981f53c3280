"""What of a 2D TransUNet can be chosen: the table `[model.transunet_2d]` of a recipe."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.patches import PatchRule
from mednext_cli.settings.sections import Count, Probability, Width

DOWNSAMPLING = 16
# Batch norm needs two voxels at the bottom.
SLICES = PatchRule((DOWNSAMPLING,) * 2, (DOWNSAMPLING, 2 * DOWNSAMPLING), dimensions=2)
_Blocks = Annotated[int, Field(strict=True, ge=1, le=64)]
_Layers = Annotated[Count, Field(le=64)]
_Slice = tuple[Annotated[int, Field(strict=True, ge=1, le=1)], Width, Width]


class TransUNet2DSettings(NetworkSettings):
    """The R50-ViT-B/16 of the published code, and smaller or larger ones.

    Attributes:
        patch_voxels: (1, H, W), the slice it is tied to; left out, the plan's (published:
            1 x 512 x 512 in the comparison of MedNeXt).
        repeat_channel: whether an image of one channel is repeated to the three that the published
            weights have (published).
        base_channels: width of the residual network's first convolution, in groups of 32
            (published).
        resnet_blocks: blocks at 1/4, 1/8 and 1/16 of the resolution (published).
        vit_layers, vit_width, vit_mlp_width, vit_heads: of the vision transformer (published).
        vit_dropout: probability, of tokens and in its perceptrons (published).
        decoder_channels: widths at 1/8, 1/4, 1/2 and full resolution (published).
    """

    patch_voxels: _Slice | None = None
    repeat_channel: Annotated[bool, Field(strict=True)] = True
    base_channels: Annotated[Width, Field(multiple_of=32)] = 64
    resnet_blocks: tuple[_Blocks, _Blocks, _Blocks] = (3, 4, 9)
    vit_layers: _Layers = 12
    vit_width: Width = 768
    vit_mlp_width: Annotated[int, Field(ge=1, le=16384)] = 3072
    vit_heads: Width = 12
    vit_dropout: Probability = 0.1
    decoder_channels: tuple[Width, Width, Width, Width] = (256, 128, 64, 16)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.vit_width % self.vit_heads:
            raise ValueError("vit_width must be a multiple of vit_heads")
        if self.patch_voxels is not None and (problem := SLICES.problem(self.patch_voxels)):
            raise ValueError(problem)
        return self
