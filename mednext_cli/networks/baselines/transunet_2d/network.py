"""The 2D TransUNet: a residual network, a vision transformer on its features, a decoder.

Modules carry the names of the published code, so that weights travel as they are.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.baselines.transunet_2d.family import FAMILY
from mednext_cli.networks.baselines.transunet_2d.resnet import ResNet
from mednext_cli.networks.baselines.transunet_2d.settings import DOWNSAMPLING, TransUNet2DSettings
from mednext_cli.networks.baselines.vision_transformer import VisionTransformer

BOTTOM_CHANNELS = 512  # between transformer and decoder, whatever the sizes of both
_COLOURS = 3


class TransUNet2D(nn.Module):
    """R50-ViT of arXiv 2102.04306, which the MedNeXt paper calls TransUNet.

    Args:
        settings: what it is made of.
        in_channels: of the image; 1 is repeated to 3 unless `settings` say otherwise.
        out_channels: classes with the background, or regions.
    """

    def __init__(self, settings: TransUNet2DSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self._rule = FAMILY.patch_rule(settings)
        self._repeats = settings.repeat_channel and in_channels == 1
        backbone = ResNet(
            _COLOURS if self._repeats else in_channels,
            settings.base_channels,
            settings.resnet_blocks,
        )
        _, height, width = FAMILY.fixed_patch(settings)
        self.transformer = VisionTransformer(
            backbone.out_channels,
            (height // DOWNSAMPLING, width // DOWNSAMPLING),
            layers=settings.vit_layers,
            width=settings.vit_width,
            mlp_width=settings.vit_mlp_width,
            heads=settings.vit_heads,
            dropout=settings.vit_dropout,
        )
        self.transformer.embeddings.hybrid_model = backbone
        base = settings.base_channels
        self.decoder = Decoder(
            settings.vit_width, (8 * base, 4 * base, base, 0), settings.decoder_channels
        )
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(settings.decoder_channels[-1], out_channels, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, H, W) of an image (B, in_channels, H, W).

        Raises:
            SettingsError: a slice of another size than the one the network is tied to.
        """
        self._rule.check((1, *image.shape[2:]))
        if self._repeats and image.shape[1] == 1:
            image = image.expand(-1, _COLOURS, -1, -1)
        features, skips = self.backbone(image)
        logits: Tensor = self.segmentation_head(self.decoder(self.transformer(features), skips))
        return logits

    @property
    def backbone(self) -> ResNet:
        """The residual network; the published code keeps it among the embeddings."""
        return cast("ResNet", self.transformer.embeddings.hybrid_model)

    def recomputed(self) -> Iterator[nn.Module]:
        """Parts that gradient checkpointing may compute again."""
        yield from self.backbone.units
        yield from self.transformer.encoder.layer
        yield from self.decoder.blocks


class Decoder(nn.Module):
    """Four times up by 2, with a skip as long as there is one.

    Args:
        in_channels: at 1/16 of the resolution.
        skip_channels: at 1/8, 1/4, 1/2 and full resolution; 0 where there is none.
        channels: after each step.
    """

    def __init__(
        self, in_channels: int, skip_channels: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.conv_more = _convolution(in_channels, BOTTOM_CHANNELS)
        widths = zip((BOTTOM_CHANNELS, *channels), skip_channels, channels, strict=False)
        self.blocks = nn.ModuleList(UpBlock(below + skip, own) for below, skip, own in widths)

    def forward(self, features: Tensor, skips: list[Tensor]) -> Tensor:
        """(B, in_channels, h, w) to (B, channels[-1], 16 h, 16 w)."""
        features = self.conv_more(features)
        for index, block in enumerate(self.blocks):
            features = block(features, *skips[index : index + 1])
        return features


class UpBlock(nn.Module):
    """Bilinear interpolation to twice the size, the skip beside it, two convolutions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels)
        self.conv2 = _convolution(out_channels, out_channels)

    def forward(self, features: Tensor, *skip: Tensor) -> Tensor:
        """(B, C, h, w) and none or one (B, S, 2 h, 2 w), with C + S channels to go in."""
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        mixed: Tensor = self.conv2(self.conv1(torch.cat((larger, *skip), dim=1)))
        return mixed


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
