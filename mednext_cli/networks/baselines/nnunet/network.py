"""nnU-Net's U-Nets: the library's encoder, and its decoder in our order of outputs."""

from collections.abc import Iterator
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import (
    ConvDropoutNormReLU,
    StackedConvBlocks,
)
from torch import Tensor, nn

from mednext_cli.networks.baselines.nnunet.settings import NnUNetSettings, of_stages

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class UNet(nn.Module):
    """A U-Net of the library `dynamic-network-architectures`, each of its weights under one name.

    Args:
        network: of the library, initialised; its parts are taken.
        deep_supervision: whether to keep the heads on lower resolutions, which the library's
            networks always have.
    """

    def __init__(
        self, network: "PlainConvUNet | ResidualEncoderUNet", deep_supervision: bool
    ) -> None:
        super().__init__()
        decoder = network.decoder
        self.encoder = _without_second_names(network.encoder)
        self.decoder = nn.ModuleList(
            UpStage(up, _without_second_names(blocks))
            for up, blocks in zip(decoder.transpconvs, decoder.stages, strict=True)
        )
        heads = list(decoder.seg_layers)[::-1]
        self.heads = nn.ModuleList(heads if deep_supervision else heads[:1])

    def forward(self, x: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        """Logits.

        Args:
            x: image (B, C, D, H, W) or (B, C, H, W).
            deep_supervision: whether to give those of every head, full resolution first.
        """
        *skips, x = self.encoder(x)
        features = []
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            x = stage(x, skip)
            features.append(x)
        if not deep_supervision:
            head: Tensor = self.heads[0](x)
            return head
        return [head(x) for head, x in zip(self.heads, reversed(features), strict=True)]

    def recomputable(self) -> Iterator[nn.Module]:
        """The parts whose activations can be computed again, none of them part of another."""
        for module in self.encoder.modules():
            if isinstance(module, StackedConvBlocks | BasicBlockD):
                yield module
        yield from self.decoder


class UpStage(nn.Module):
    """Up to the skip's resolution, the two concatenated, and convolutions."""

    def __init__(self, up: nn.Module, blocks: nn.Module) -> None:
        super().__init__()
        self.up, self.blocks = up, blocks

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Features like those of `skip` (B, C, D, H, W), of `x` and `skip`."""
        features: Tensor = self.blocks(torch.cat((self.up(x), skip), 1))
        return features


def build_unet(
    settings: NnUNetSettings,
    in_channels: int,
    out_channels: int,
    residual: bool,
    deep_supervision: bool,
) -> UNet:
    """A fresh network, initialised as published.

    Args:
        settings: what was chosen.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
        residual: whether the encoder has residual blocks.
        deep_supervision: whether it has heads on lower resolutions.
    """
    topology = settings.topology
    stages, dimensions = len(topology.strides), settings.dimensions
    encoder_blocks = of_stages(settings.encoder_blocks, stages)
    depths = {"n_blocks_per_stage" if residual else "n_conv_per_stage": encoder_blocks}
    network: Any = (ResidualEncoderUNet if residual else PlainConvUNet)(
        input_channels=in_channels,
        n_stages=stages,
        features_per_stage=settings.widths,
        conv_op=_CONVOLUTIONS[dimensions],
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        num_classes=out_channels,
        n_conv_per_stage_decoder=of_stages(settings.decoder_blocks, stages - 1),
        conv_bias=True,
        norm_op=_NORMS[dimensions],
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
        **depths,
    )
    network.apply(network.initialize)
    return UNet(network, deep_supervision)


def _without_second_names(module: nn.Module) -> nn.Module:
    """The library's blocks hold their layers twice: as what they are, and in `all_modules`."""
    for block in module.modules():
        if isinstance(block, ConvDropoutNormReLU):
            for name in [name for name, _ in block.named_children() if name != "all_modules"]:
                delattr(block, name)
    return module
