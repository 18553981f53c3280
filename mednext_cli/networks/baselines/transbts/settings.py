"""What of a TransBTS can be chosen: the table `[model.transbts]` of a recipe."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.patches import Patch, PatchRule
from mednext_cli.settings.sections import Probability, Width

BLOCKS = (1, 2, 2, 4)  # of the encoder's levels, full resolution first
GROUPS = 8  # of the encoder's norms
_DOWNSAMPLING = 8
_EMBEDDING = 32  # width of a token, in base channels
_PUBLISHED_PATCH = (128, 128, 128)
_Dropout = Annotated[Probability, Field(lt=1.0)]


class TransBtsSettings(NetworkSettings):
    """Everything but channels that fixes the shapes and the arithmetic of a TransBTS.

    Source: arXiv 2103.04430 and its code.

    Attributes:
        base_channels: width at full resolution, in groups of 8; each level down doubles it, a token
            has 32 times as many (published).
        layers: of the transformer (published).
        heads: of its attention (published).
        hidden_dim: of its perceptrons (published).
        dropout: of tokens and of what the transformer adds to them (published).
        attention_dropout: of its weights (published).
        input_dropout: of whole channels of the first convolution (published).
        input_dropout_in_evaluation: drop them in evaluation, too, as the published code does, so
            that no two predictions are the same (ours: off).
        patch_voxels: (D, H, W) of the patches, the only ones the network takes, for each token has
            a learned position; left out, the plan's (published: 128, 128, 128).
    """

    base_channels: Annotated[Width, Field(multiple_of=GROUPS)] = 16
    layers: Annotated[Width, Field(le=64)] = 4
    heads: Width = 8
    hidden_dim: Width = 4096
    dropout: _Dropout = 0.1
    attention_dropout: _Dropout = 0.1
    input_dropout: _Dropout = 0.2
    input_dropout_in_evaluation: Annotated[bool, Field(strict=True)] = False
    patch_voxels: tuple[Width, Width, Width] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.embed_dim % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.embed_dim}")
        if self.patch_voxels is not None and (problem := self.rule.problem(self.patch_voxels)):
            raise ValueError(problem)
        return self

    @property
    def embed_dim(self) -> int:
        """Width of a token."""
        return _EMBEDDING * self.base_channels

    @property
    def patch(self) -> Patch:
        """The only patch (D, H, W): what was chosen or planned, else the published one."""
        return self.patch_voxels or _PUBLISHED_PATCH

    @property
    def grid(self) -> Patch:
        """Tokens (D, H, W)."""
        depth, height, width = self.patch
        return depth // _DOWNSAMPLING, height // _DOWNSAMPLING, width // _DOWNSAMPLING

    @property
    def rule(self) -> PatchRule:
        """Which patches there can be a network for: batch norm needs two voxels at the bottom."""
        smallest = (_DOWNSAMPLING, _DOWNSAMPLING, 2 * _DOWNSAMPLING)
        return PatchRule((_DOWNSAMPLING,) * 3, smallest)
