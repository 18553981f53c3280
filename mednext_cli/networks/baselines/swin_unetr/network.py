"""Swin UNETR: MONAI's embedding and convolutions around stages of our own."""

from typing import cast

import torch.nn.functional as F
from monai.networks.blocks import PatchEmbed, UnetOutBlock
from torch import Tensor, nn

from mednext_cli.networks.baselines.convolutions import residual_block, upsampling_block
from mednext_cli.networks.baselines.swin_unetr.settings import STAGES, SwinUNETRSettings
from mednext_cli.networks.baselines.swin_unetr.stage import Stage


class SwinUNETR(nn.Module):
    """Takes images (B, in_channels, D, H, W), gives logits (B, out_channels, D, H, W).

    Attributes have MONAI's names, so that weights need none of their own.

    Args:
        settings: of the network.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
    """

    def __init__(self, settings: SwinUNETRSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = settings.feature_size
        self.swinViT = SwinTransformer(settings, in_channels)
        self.encoder1 = residual_block(in_channels, width)
        self.encoder2 = residual_block(width, width)
        self.encoder3 = residual_block(2 * width, 2 * width)
        self.encoder4 = residual_block(4 * width, 4 * width)
        self.encoder10 = residual_block(16 * width, 16 * width)
        self.decoder5 = upsampling_block(16 * width, 8 * width)
        self.decoder4 = upsampling_block(8 * width, 4 * width)
        self.decoder3 = upsampling_block(4 * width, 2 * width)
        self.decoder2 = upsampling_block(2 * width, width)
        self.decoder1 = upsampling_block(width, width)
        self.out = UnetOutBlock(3, width, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Edges of the image are multiples of 32."""
        half, quarter, eighth, sixteenth, bottom = self.swinViT(image)
        decoded = self.decoder5(self.encoder10(bottom), sixteenth)
        decoded = self.decoder4(decoded, self.encoder4(eighth))
        decoded = self.decoder3(decoded, self.encoder3(quarter))
        decoded = self.decoder2(decoded, self.encoder2(half))
        logits: Tensor = self.out(self.decoder1(decoded, self.encoder1(image)))
        return logits

    @property
    def recomputable(self) -> list[nn.Module]:
        """Parts between which gradient checkpointing keeps activations."""
        encoders = (self.encoder1, self.encoder2, self.encoder3, self.encoder4, self.encoder10)
        decoders = (self.decoder5, self.decoder4, self.decoder3, self.decoder2, self.decoder1)
        return [*self.swinViT.recomputable, *encoders, *decoders]


class SwinTransformer(nn.Module):
    """Takes an image, gives maps at 1/2 to 1/32 of its resolution, each twice as wide.

    Args:
        settings: of the network.
        in_channels: channels of the image.
    """

    def __init__(self, settings: SwinUNETRSettings, in_channels: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(
            in_chans=in_channels,
            embed_dim=settings.feature_size,
            norm_layer=nn.LayerNorm if settings.patch_norm else None,
        )
        self.pos_drop = nn.Dropout(settings.drop_rate)
        for stage in range(STAGES):
            width = settings.width(stage)
            if settings.use_v2:
                self.add_module(f"layers{stage + 1}c", _alone(residual_block(width, width)))
            self.add_module(f"layers{stage + 1}", _alone(Stage(settings, stage)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Finest first, each normed over its channels, without weights."""
        maps = [self.pos_drop(self.patch_embed(image))]
        for stage in self._stages():
            inner = maps[-1]
            for part in stage:
                inner = part(inner)
            maps.append(inner)
        return [_normed(found) for found in maps]

    def _stages(self) -> list[list[nn.Module]]:
        """What each stage consists of, in order."""
        parts = cast("dict[str, nn.ModuleList]", dict(self.named_children()))
        names = [(f"layers{stage}c", f"layers{stage}") for stage in range(1, STAGES + 1)]
        return [[parts[name][0] for name in pair if name in parts] for pair in names]

    @property
    def recomputable(self) -> list[nn.Module]:
        """See `SwinUNETR.recomputable`."""
        parts: list[nn.Module] = []
        for *convolutions, stage in self._stages():
            parts += [*convolutions, *cast("Stage", stage).recomputable]
        return parts


def _alone(module: nn.Module) -> nn.ModuleList:
    """MONAI keeps each part in a list of one; the names of weights show it."""
    return nn.ModuleList([module])


def _normed(image: Tensor) -> Tensor:
    return F.layer_norm(image.movedim(1, -1), (image.shape[1],)).movedim(-1, 1)
