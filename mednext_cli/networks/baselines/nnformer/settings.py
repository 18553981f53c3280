"""What of an nnFormer can be chosen: the table `[model.nnformer]` of a recipe."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.patches import Patch, PatchRule
from mednext_cli.settings.sections import Probability, Width

LEVELS = 4
_HEAD_COUNTS = {"tumour": (3, 6, 12, 24), "synapse": (6, 12, 24, 48)}
_WIDTHS = {"tumour": 96, "synapse": 192}
_TOKENS: dict[str, Patch] = {"tumour": (4, 4, 4), "synapse": (2, 4, 4)}
_PATCHES: dict[str, Patch] = {"tumour": (128, 128, 128), "synapse": (64, 128, 128)}

Levels = Annotated[tuple[Width, ...], Field(min_length=LEVELS, max_length=LEVELS)]
_Depth = Annotated[Width, Field(le=64)]
Depths = Annotated[tuple[_Depth, ...], Field(min_length=LEVELS, max_length=LEVELS)]


class NnFormerSettings(NetworkSettings):
    """Everything but channels that fixes the shapes and the arithmetic of an nnFormer.

    Source: arXiv 2109.03201 and its code, which has two networks that differ in tokens and heads.

    Attributes:
        variant: which of the published codes: `tumour`, which MedNeXt was compared with, has tokens
            of 4 x 4 x 4 voxels and one output, `synapse` tokens of 2 x 4 x 4 and outputs at three
            resolutions (published).
        embed_dim: width of a token at full resolution; each level down doubles it (published: 96,
            of synapse 192).
        heads: of each encoder level's attention (published; of synapse twice as many).
        depths: blocks of each encoder level; the decoder has the first three (published).
        window: edge of each level's windows, tokens; smaller where a level has fewer (published).
        drop_path: probability that the last block's branches are left out in training; it falls
            to 0 at the first (published).
        positions: how a relative position finds its row in the table of biases: "published" takes
            strides with which different positions share rows, 115 of 343, and published weights
            need it; "distinct" gives each its own (published).
        patch_voxels: (D, H, W) of the patches, the only ones the network takes; left out, the
            plan's (published: 128, 128, 128, of synapse 64, 128, 128).
    """

    variant: Literal["tumour", "synapse"] = "tumour"
    embed_dim: Annotated[Width, Field(multiple_of=2)] = _WIDTHS["tumour"]
    heads: Levels = _HEAD_COUNTS["tumour"]
    depths: Depths = (2, 2, 2, 2)
    window: Levels = (4, 4, 8, 4)
    drop_path: Annotated[Probability, Field(lt=1.0)] = 0.2
    positions: Literal["published", "distinct"] = "published"
    patch_voxels: tuple[Width, Width, Width] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_variant_has_it(cls, values: object) -> object:
        if not isinstance(values, dict) or values.get("variant") not in _WIDTHS:
            return values
        variant: str = values["variant"]
        published: dict[str, Any] = {
            "embed_dim": _WIDTHS[variant],
            "heads": _HEAD_COUNTS[variant],
        }
        return {**published, **{name: value for name, value in values.items() if value is not None}}

    @model_validator(mode="after")
    def _divided_evenly(self) -> Self:
        pairs = zip(self.widths, self.heads, strict=True)
        pairs_up = zip(self.widths, self.decoder_heads, strict=False)
        for width, heads in (*pairs, *pairs_up):
            if width % heads:
                raise ValueError(f"{heads} heads do not divide a width of {width}")
        if self.patch_voxels is not None and (problem := self.rule.problem(self.patch_voxels)):
            raise ValueError(problem)
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the tokens at each level, full resolution first."""
        return tuple(self.embed_dim * 2**level for level in range(LEVELS))

    @property
    def decoder_heads(self) -> tuple[int, ...]:
        """Of each decoder level's attention, full resolution first.

        The code for tumours counts from the wrong end: each level has the heads of the encoder's
        next one. The shapes of its weights follow, so this cannot be otherwise.
        """
        return self.heads[1:] if self.variant == "tumour" else self.heads[:-1]

    @property
    def token_voxels(self) -> Patch:
        """(D, H, W) of the image that a token stands for."""
        return _TOKENS[self.variant]

    @property
    def patch(self) -> Patch:
        """The only patch (D, H, W): what was chosen or planned, else the published one."""
        return self.patch_voxels or _PATCHES[self.variant]

    @property
    def grids(self) -> tuple[Patch, ...]:
        """Tokens (D, H, W) at each level, full resolution first."""
        depth, height, width = (
            voxels // token for voxels, token in zip(self.patch, self.token_voxels, strict=True)
        )
        return tuple((depth >> level, height >> level, width >> level) for level in range(LEVELS))

    @property
    def rule(self) -> PatchRule:
        """Which patches there can be a network for: tokens are halved three times."""
        depth, height, width = (token << LEVELS - 1 for token in self.token_voxels)
        return PatchRule((depth, height, width), (depth, height, width))
