"""The TransBTS network: an encoder of four levels, a transformer at the bottom, a decoder."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.transbts.blocks import (
    DecoderBlock,
    EncoderBlock,
    Stem,
    Upsampling,
)
from mednext_cli.networks.baselines.transbts.settings import BLOCKS, TransBtsSettings
from mednext_cli.networks.baselines.transbts.transformer import TransformerLayer


class Bottleneck(nn.Module):
    """Every voxel at 1/8 of the resolution is a token; all attend to all.

    The published network also has a last norm, which it computes and does not use.
    """

    def __init__(self, settings: TransBtsSettings) -> None:
        super().__init__()
        channels, width = 8 * settings.base_channels, settings.embed_dim
        tokens = torch.Size(settings.grid).numel()
        self.norm = nn.BatchNorm3d(channels)
        self.embedding = nn.Conv3d(channels, width, 3, padding=1)
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        self.drop = nn.Dropout(settings.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                settings.heads,
                settings.hidden_dim,
                settings.dropout,
                settings.attention_dropout,
            )
            for _ in range(settings.layers)
        )
        self.blocks = nn.ModuleList(
            (DecoderBlock(width, channels, residual=False), DecoderBlock(channels, channels, True))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        image = self.embedding(F.relu(self.norm(x)))
        tokens = self.drop(image.flatten(2).transpose(1, 2) + self.positions)
        for layer in self.layers:
            tokens = layer(tokens)
        x = tokens.transpose(1, 2).unflatten(2, image.shape[2:])
        for block in self.blocks:
            x = block(x)
        return x


class DecoderStage(nn.Module):
    """What leads up to one level, and its block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = Upsampling(width)
        self.block = DecoderBlock(width, width, residual=True)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, 2 width, n, ...) and (B, width, 2n, ...) to (B, width, 2n, ...)."""
        decoded: Tensor = self.block(self.up(x, skip))
        return decoded


class TransBts(nn.Module):
    """TransBTS for patches of one size.

    Args:
        settings: what it is made of.
        in_channels: image channels.
        out_channels: classes with the background, or regions.

    Source: arXiv 2103.04430, with logits in the place of its softmax, as in MedNeXt's comparison.
    """

    def __init__(self, settings: TransBtsSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self._patch = settings.patch
        widths = [settings.base_channels * 2**level for level in range(len(BLOCKS))]
        always = settings.input_dropout_in_evaluation
        self.stem = Stem(in_channels, widths[0], settings.input_dropout, always)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(EncoderBlock(width) for _ in range(blocks)))
            for width, blocks in zip(widths, BLOCKS, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv3d(width, 2 * width, 3, stride=2, padding=1) for width in widths[:-1]
        )
        self.bottleneck = Bottleneck(settings)
        self.decoder = nn.ModuleList(DecoderStage(width) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits for an image.

        Args:
            x: (B, in_channels, D, H, W) of the patch that the network is tied to.

        Returns:
            (B, out_channels, D, H, W).

        Raises:
            SettingsError: another patch.
        """
        self._check(x)
        x, skips = self.stem(x), []
        for blocks, down in zip(self.encoder[:-1], self.down, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(self.encoder[-1](x))
        for stage, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = stage(x, skip)
        logits: Tensor = self.head(x)
        return logits

    def parts(self) -> list[nn.Module]:
        """What can be computed again for the gradient, each from its input."""
        encoder = (block for level in self.encoder for block in cast("Iterable[nn.Module]", level))
        return [*encoder, *self.bottleneck.layers, *self.bottleneck.blocks, *self.decoder]

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[2:]) != self._patch:
            raise SettingsError(
                f"an input of shape {tuple(x.shape)} for a network of patches {self._patch}",
                "Give patches of the size it was built for.",
            )
