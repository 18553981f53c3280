"""The nnFormer network: an encoder of four levels, a decoder of three, a head on each of these."""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.nnformer.blocks import (
    Downsampling,
    Embedding,
    Head,
    SkipBlock,
    TransformerBlock,
    Upsampling,
)
from mednext_cli.networks.baselines.nnformer.settings import LEVELS, NnFormerSettings
from mednext_cli.networks.baselines.nnformer.windows import fitted_windows


class EncoderStage(nn.Module):
    """Blocks of one level, every other one with moved windows, and what leads one level down."""

    def __init__(
        self, settings: NnFormerSettings, level: int, drop_paths: Iterable[float], last: bool
    ) -> None:
        super().__init__()
        width, heads = settings.widths[level], settings.heads[level]
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                heads,
                fitted_windows(settings.grids[level], settings.window[level], index % 2 == 1),
                settings.positions == "distinct",
                drop_path,
            )
            for index, drop_path in enumerate(drop_paths)
        )
        self.downsample = None if last else Downsampling(width)


class Encoder(nn.Module):
    """An image to tokens of every level."""

    def __init__(self, settings: NnFormerSettings, in_channels: int) -> None:
        super().__init__()
        self.embedding = Embedding(in_channels, settings.embed_dim, settings.token_voxels)
        drop_paths = _rising(settings.drop_path, settings.depths)
        self.stages = nn.ModuleList(
            EncoderStage(settings, level, next(drop_paths), last=level == LEVELS - 1)
            for level in range(LEVELS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in settings.widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, in_channels, D, H, W) to (B, d, h, w, width) of each level, full resolution first."""
        x, levels = self.embedding(image), []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            for block in cast("Iterable[nn.Module]", stage.blocks):
                x = block(x)
            levels.append(norm(x))
            if isinstance(stage.downsample, Downsampling):
                x = stage.downsample(x)
        return levels


class DecoderStage(nn.Module):
    """What leads up to one level, a block that looks into the encoder, and the other blocks."""

    def __init__(self, settings: NnFormerSettings, level: int, drop_paths: Iterable[float]) -> None:
        super().__init__()
        width, heads = settings.widths[level], settings.decoder_heads[level]
        self.upsample = Upsampling(width)
        self.blocks = nn.ModuleList(
            (SkipBlock if index == 0 else TransformerBlock)(
                width,
                heads,
                fitted_windows(settings.grids[level], settings.window[level], index > 0),
                settings.positions == "distinct",
                drop_path,
            )
            for index, drop_path in enumerate(drop_paths)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, d, h, w, 2 C) of the level below, and (B, 2 d, 2 h, 2 w, C) of the encoder's."""
        first, *others = self.blocks
        x = first(self.upsample(x), skip)
        for block in others:
            x = block(x)
        return x


class NnFormer(nn.Module):
    """nnFormer for patches of one size.

    Args:
        settings: what it is made of.
        in_channels: image channels.
        out_channels: classes with the background, or regions.
        deep_supervision: whether the two lower resolutions have heads, too.

    Source: arXiv 2109.03201.
    """

    def __init__(
        self,
        settings: NnFormerSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self._patch, levels = settings.patch, LEVELS - 1
        self.encoder = Encoder(settings, in_channels)
        depths = settings.depths[:levels]
        # The decoder's first stage to run is its deepest, where paths are dropped least.
        drop_paths = list(_rising(settings.drop_path, depths[::-1]))[::-1]
        self.decoder = nn.ModuleList(
            DecoderStage(settings, level, drop_paths[level]) for level in range(levels)
        )
        self.heads = nn.ModuleList(
            Head(width, out_channels, settings.token_voxels)
            for width in settings.widths[: levels if deep_supervision else 1]
        )

    def forward(self, x: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        """Logits for an image.

        Args:
            x: (B, in_channels, D, H, W) of the patch that the network is tied to.
            deep_supervision: also return the logits of the lower resolutions.

        Returns:
            (B, out_channels, D, H, W); with `deep_supervision` a list of three, full resolution
            first, each next one with half the voxels along every axis.

        Raises:
            SettingsError: another patch, or deep supervision of a network without its heads.
        """
        self._check(x, deep_supervision)
        *skips, x = self.encoder(x)
        outputs = []
        for stage, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = stage(x, skip)
            outputs.append(x)
        heads = self.heads if deep_supervision else self.heads[:1]
        logits = [head(tokens) for head, tokens in zip(heads, reversed(outputs), strict=False)]
        return logits if deep_supervision else logits[0]

    def parts(self) -> list[nn.Module]:
        """What can be computed again for the gradient, each from its input."""
        stages = (*self.encoder.stages, *self.decoder)
        return [self.encoder.embedding, *(block for stage in stages for block in stage.blocks)]

    def _check(self, x: Tensor, deep_supervision: bool) -> None:
        if tuple(x.shape[2:]) != self._patch:
            raise SettingsError(
                f"an input of shape {tuple(x.shape)} for a network of patches {self._patch}",
                "Give patches of the size it was built for.",
            )
        if deep_supervision and len(self.heads) == 1:
            raise SettingsError(
                "deep supervision asked of a network without its heads",
                "Build it with deep_supervision = true.",
            )


def _rising(highest: float, depths: tuple[int, ...]) -> Iterator[list[float]]:
    """Probabilities from 0 to the highest, evenly over all blocks, for each level's."""
    steps = torch.linspace(0, highest, sum(depths), device="cpu")  # numbers, whatever is built
    return (part.tolist() for part in torch.split(steps, list(depths)))
