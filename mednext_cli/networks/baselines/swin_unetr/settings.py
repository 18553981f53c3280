"""What of a Swin UNETR can be chosen: the table `[model.swin_unetr]` of a recipe."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.settings.sections import Probability, Width

STAGES = 4
PatchMerging = Literal["since_1_5", "before_1_5", "v2"]
Flag = Annotated[bool, Field(strict=True)]
# Windows of 16 have 4,096 tokens; more is a slip.
_Window = Annotated[Width, Field(ge=2, le=16)]
_Depth = Annotated[Width, Field(le=64)]
_Features = Annotated[Width, Field(multiple_of=12)]


class SwinUNETRSettings(NetworkSettings):
    """The names are MONAI's; the defaults as MedNeXt compared it, but for the order of merging.

    Attributes:
        feature_size: width at half resolution; each stage doubles it. A multiple of 12
            (published).
        depths: blocks of each stage, every second one with shifted windows (published).
        num_heads: of attention, in each stage; they divide its width (published).
        window_size: edge of a window, in tokens of the stage (published).
        use_v2: a residual convolution block before each stage, "SwinUNETR-V2" (off as in the
            paper).
        patch_norm: layer norm of the patch embedding (off as published).
        patch_merging: which of the eight corners of 2 x 2 x 2 tokens are merged, in which order.
            `since_1_5` takes all eight; `before_1_5`, the bug of MONAI until then and of the
            networks compared in the paper of MedNeXt, takes two corners twice and two never; `v2`
            is MONAI's `mergingv2`, all in another order. Weights have the same shapes and other
            numbers, so they need the order they were trained with (published: before_1_5).
        drop_rate: dropout of tokens (published).
        attn_drop_rate: dropout of the attention's weights (published).
        dropout_path_rate: share of samples in which the last block is skipped; less in the blocks
            before (published).
    """

    feature_size: _Features = 48
    depths: tuple[_Depth, _Depth, _Depth, _Depth] = (2, 2, 2, 2)
    num_heads: tuple[Width, Width, Width, Width] = (3, 6, 12, 24)
    window_size: _Window = 7
    use_v2: Flag = False
    patch_norm: Flag = False
    patch_merging: PatchMerging = "since_1_5"
    drop_rate: Probability = 0.0
    attn_drop_rate: Probability = 0.0
    dropout_path_rate: Annotated[Probability, Field(lt=1.0)] = 0.0

    @model_validator(mode="after")
    def _heads_divide_the_widths(self) -> Self:
        for stage, heads in enumerate(self.num_heads):
            if self.width(stage) % heads:
                raise ValueError(
                    f"num_heads: {heads} heads do not divide the {self.width(stage)} channels of"
                    f" stage {stage}"
                )
        return self

    def width(self, stage: int) -> int:
        """Channels of the tokens in a stage, 0 to 3."""
        return self.feature_size * int(2**stage)
