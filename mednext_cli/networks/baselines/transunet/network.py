"""The 3D TransUNet: a U-Net, a vision transformer in its bottleneck, a mask decoder behind it."""

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.transunet.family import FAMILY
from mednext_cli.networks.baselines.transunet.mask_decoder import MaskDecoder
from mednext_cli.networks.baselines.transunet.planning import complete, divisors_of
from mednext_cli.networks.baselines.transunet.settings import (
    MASK_LEVELS,
    TransUNetSettings,
    Triple,
)
from mednext_cli.networks.baselines.transunet.unet import UNet
from mednext_cli.networks.baselines.vision_transformer import VisionTransformer

_GROUPS = 32


class TransUNet(UNet):
    """TransUNet with transformers in the encoder, the decoder or both.

    Modules carry the names of the published code, but for the heads: `heads["i"]` is at step i
    down, `published` knows how they are called there.

    Args:
        settings: what it is made of.
        in_channels: image channels.
        out_channels: classes with the background, or regions.
        deep_supervision: whether lower resolutions have heads of their own.

    Source: arXiv 2310.07781.
    """

    def __init__(
        self,
        settings: TransUNetSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool,
    ) -> None:
        settings = complete(settings)
        strides = cast("tuple[Triple, ...]", settings.strides)
        depth = len(strides)
        widths = [
            min(settings.base_channels * 2**level, settings.most_channels)
            for level in range(depth + 1)
        ]
        kernels = settings.kernels or ((3, 3, 3),) * (depth + 1)
        super().__init__(in_channels, widths, strides, kernels)
        self._rule, self._settings = FAMILY.patch_rule(settings), settings
        if settings.attends:
            self._add_transformer(widths[-1])
        if settings.masks:
            self._add_mask_decoder(widths, out_channels)
        levels = range(1 if settings.masks else 0, depth if deep_supervision else 1)
        self.heads = nn.ModuleDict(
            {str(level): _head(widths[level], out_channels) for level in levels}
        )
        if settings.masks and deep_supervision:
            # The published network has a head at full resolution even where the mask decoder is
            # the output; kept, so that its weights travel both ways.
            self.unused_head = _head(widths[0], out_channels)

    def _add_transformer(self, channels: int) -> None:
        settings = self._settings
        patch, divisors = cast("Triple", settings.patch_voxels), divisors_of(settings)
        self.transformer = VisionTransformer(
            channels,
            tuple(length // step for length, step in zip(patch, divisors, strict=True)),
            layers=settings.vit_layers,
            width=settings.vit_width,
            mlp_width=settings.vit_mlp_width,
            heads=settings.vit_heads,
            dropout=settings.vit_dropout,
            scale_shortcut=settings.vit_layer_scale,
        )
        self.conv_more = nn.Conv3d(settings.vit_width, channels, 1)

    def _add_mask_decoder(self, widths: list[int], out_channels: int) -> None:
        settings, width = self._settings, self._settings.mask_width
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv3d(widths[level], width, 1), nn.GroupNorm(_GROUPS, width))
            for level in range(MASK_LEVELS, 0, -1)
        )
        self.linear_mask_features = nn.Conv3d(widths[0], width, 1)
        self.predictor = MaskDecoder(
            out_channels,
            queries=settings.mask_queries,
            width=width,
            layers=settings.mask_layers,
            heads=settings.mask_heads,
            levels=MASK_LEVELS,
            layer_scale=settings.mask_layer_scale,
        )

    def forward(self, image: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        """Logits for an image.

        With a mask decoder, those at full resolution are the logarithm of its semantic map:
        softmax makes probabilities of them again, scaled to a sum of 1.

        Args:
            image: (B, in_channels, D, H, W).
            deep_supervision: also return the logits of the lower resolutions.

        Returns:
            (B, out_channels, D, H, W); with `deep_supervision` a list, full resolution first, one
            for each step down but the last.

        Raises:
            SettingsError: a patch that the network does not take, or deep supervision asked of a
                network without its heads.
        """
        features = self.features(image)
        if self._settings.masks:
            logits = self.predictor(*self.mask_inputs(features)).log_semantic_map()
        else:
            logits = self.heads["0"](features[-1])
        return [logits, *self._lower_logits(features)] if deep_supervision else logits

    def features(self, image: Tensor) -> list[Tensor]:
        """Of the U-Net's decoder at every resolution, the bottleneck's first."""
        self._rule.check(image.shape[2:])
        *skips, bottom = self.encode(image)
        if self._settings.attends:
            bottom = self.conv_more(self.transformer(bottom))
        return self.decode(bottom, skips)

    def mask_inputs(self, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """What the mask decoder looks at, coarsest first, and the features of its masks."""
        finest = len(features) - 1
        levels = range(finest - MASK_LEVELS, finest)
        looked_at = [
            project(features[level]) for project, level in zip(self.input_proj, levels, strict=True)
        ]
        return looked_at, self.linear_mask_features(features[-1])

    def _lower_logits(self, features: list[Tensor]) -> list[Tensor]:
        lower = [level for level in self.heads if level != "0"]
        if not lower:
            raise SettingsError(
                "this network has no heads for deep supervision",
                "Build it with deep_supervision = true.",
            )
        return [self.heads[level](features[-1 - int(level)]) for level in lower]

    def recomputed(self) -> Iterator[nn.Module]:
        """Parts that gradient checkpointing may compute again."""
        yield from self.conv_blocks_context
        yield from self.conv_blocks_localization
        if self._settings.attends:
            yield from self.transformer.encoder.layer
        if self._settings.masks:
            yield from self.predictor.layers


def _head(in_channels: int, out_channels: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, 1, bias=False)
