"""What of a 3D TransUNet can be chosen: the table `[model.transunet]` of a recipe."""

from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.settings.sections import Count, Probability, Width

Transformer = Literal["encoder", "encoder_decoder", "decoder"]
Triple = tuple[int, int, int]
MASK_LEVELS = 3  # resolutions that the mask decoder looks at: 1/8, 1/4, 1/2
_Flag = Annotated[bool, Field(strict=True)]
_Layers = Annotated[Count, Field(le=64)]
_Step = Annotated[int, Field(strict=True, ge=1, le=2)]
_Kernel = Literal[1, 3]


class TransUNetSettings(NetworkSettings):
    """Everything but channels that fixes the shapes and the arithmetic of a 3D TransUNet.

    Attributes:
        transformer: a vision transformer in the bottleneck, a mask decoder behind the U-Net, or
            both: the encoder-only, decoder-only and encoder + decoder of the paper (published).
        patch_voxels: (D, H, W), the patch that the vision transformer is tied to; left out, the
            plan's (published: 128 x 128 x 128).
        strides: (D, H, W) of each step down; left out, as the patch and the spacing allow
            (published).
        kernels: (D, H, W) of each resolution's convolutions, the bottleneck's last; left out, as
            the spacing suggests (published).
        base_channels, most_channels: width at full resolution, which doubles with each step down,
            and where that ends (published).
        vit_layers, vit_width, vit_mlp_width, vit_heads: of the vision transformer, ViT-B
            (published).
        vit_dropout: probability, of tokens and in its perceptrons (published).
        vit_layer_scale: a learned scale, at first 1e-5, of what each of its layers adds to, where
            LayerScale is of what is added; the published code has it so, and all its
            configurations train with it (published).
        mask_queries, mask_width, mask_layers, mask_heads: of the mask decoder, a layer at least
            for each resolution that it looks at (published).
        mask_layer_scale: learned scales, at first 1e-5, in its self attention and of the sums in
            its feed-forward layers (published).
    """

    transformer: Transformer = "encoder"
    patch_voxels: tuple[Width, Width, Width] | None = None
    strides: Annotated[
        tuple[tuple[_Step, _Step, _Step], ...] | None, Field(min_length=1, max_length=8)
    ] = None
    kernels: Annotated[
        tuple[tuple[_Kernel, _Kernel, _Kernel], ...] | None, Field(min_length=2, max_length=9)
    ] = None
    base_channels: Width = 32
    most_channels: Width = 320
    vit_layers: _Layers = 12
    vit_width: Width = 768
    vit_mlp_width: Annotated[int, Field(ge=1, le=16384)] = 3072
    vit_heads: Width = 12
    vit_dropout: Probability = 0.1
    vit_layer_scale: _Flag = True
    mask_queries: Width = 20
    mask_width: Annotated[Width, Field(multiple_of=96)] = 192
    mask_layers: Annotated[_Layers, Field(ge=MASK_LEVELS)] = 3
    mask_heads: Width = 8
    mask_layer_scale: _Flag = True

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for part in ("vit", "mask"):
            if getattr(self, f"{part}_width") % getattr(self, f"{part}_heads"):
                raise ValueError(f"{part}_width must be a multiple of {part}_heads")
        if self.patch_voxels is not None and not self.attends:
            raise ValueError("patch_voxels is of the vision transformer, which is left out")
        if self.strides is None and self.kernels is not None:
            raise ValueError("kernels are given with strides")
        if self.strides is not None:
            self._check_steps(self.strides)
        return self

    def _check_steps(self, strides: tuple[Triple, ...]) -> None:
        if (1, 1, 1) in strides:
            raise ValueError("every step of strides halves at least one axis")
        if len(strides) < self.least_steps:
            raise ValueError(f"the mask decoder needs {self.least_steps} steps of strides")
        if self.kernels is not None and len(self.kernels) != len(strides) + 1:
            raise ValueError("kernels are one more than strides")
        divisors = tuple(map(prod, zip(*strides, strict=True)))
        if any(map(int.__mod__, self.patch_voxels or (0, 0, 0), divisors)):
            raise ValueError(f"patch_voxels must be multiples of {divisors}, as strides say")

    @property
    def least_steps(self) -> int:
        """How often the image is halved at least."""
        return MASK_LEVELS if self.masks else 1

    @property
    def attends(self) -> bool:
        """Whether there is a vision transformer in the bottleneck."""
        return self.transformer != "decoder"

    @property
    def masks(self) -> bool:
        """Whether there is a mask decoder."""
        return self.transformer != "encoder"
