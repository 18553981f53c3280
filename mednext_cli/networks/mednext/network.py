"""The MedNeXt network: four encoder levels, a bottleneck, four decoder levels, five outputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.attention import AttentionBlock
from mednext_cli.networks.mednext.blocks import POINTWISE, DownBlock, MedNeXtBlock, UpBlock
from mednext_cli.networks.mednext.family import FAMILY
from mednext_cli.networks.mednext.kernels import CHOICES, Operators, availability
from mednext_cli.networks.mednext.plain_resampling import PlainDown, PlainUp
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.variants import LEVELS


class EncoderLevel(nn.Module):
    """Blocks at one resolution, and what leads one level down."""

    def __init__(self, blocks: Iterable[MedNeXtBlock], down: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.down = down


class DecoderLevel(nn.Module):
    """What leads up to one resolution, and the blocks there."""

    def __init__(self, up: nn.Module, blocks: Iterable[MedNeXtBlock]) -> None:
        super().__init__()
        self.up = up
        self.blocks = nn.ModuleList(blocks)


class MedNeXt(nn.Module):
    """MedNeXt in two or three dimensions.

    `encoder[i]`, `decoder[i]` and `heads[i]` work at 1 / 2^i of the input's resolution.

    Args:
        settings: what it is made of.
        in_channels: image channels.
        out_channels: classes (with the background) or regions.
        deep_supervision: whether the four lower resolutions have output heads of their own.

    Attributes:
        checkpointing: keep only the blocks' inputs in the forward pass and compute the rest again
            in the backward pass: less memory, about a third more time, the same numbers.
        operators: "auto" runs each block in its `way`, as measured, and by PyTorch's own operators
            where nothing was; "fused" insists on the fused ones, and fails where they cannot run
            (an NVIDIA GPU and Triton are needed); "stock" never takes them.
        contiguous: with operators "auto", whether images stay contiguous where the channels would
            be laid last: where that was measured to be faster.

    Source: arXiv 2303.09975, Figure 1 and section 2.
    """

    def __init__(
        self,
        settings: MedNeXtSettings,
        in_channels: int,
        out_channels: int,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        self._settings, self._in_channels = settings, in_channels
        self._rule = FAMILY.patch_rule(settings)
        self.checkpointing = False
        self._operators: Operators = "auto"
        self.contiguous = False
        widths = [settings.base_channels * 2**level for level in range(LEVELS + 1)]
        pointwise = POINTWISE[settings.dimensions]
        self.stem = pointwise(in_channels, widths[0])
        self.encoder = nn.ModuleList(self._encoder_level(level, widths) for level in range(LEVELS))
        self.bottleneck = nn.ModuleList(self._blocks(LEVELS, widths[LEVELS]))
        self.decoder = nn.ModuleList(self._decoder_level(level, widths) for level in range(LEVELS))
        heads = LEVELS + 1 if deep_supervision else 1
        self.heads = nn.ModuleList(pointwise(widths[level], out_channels) for level in range(heads))

    def _blocks(self, stage: int, width: int) -> Iterable[MedNeXtBlock]:
        return (self._block(stage, width, n) for n in range(self._settings.variant.blocks[stage]))

    def _block(self, stage: int, width: int, number: int) -> MedNeXtBlock:
        settings, expansion = self._settings, self._settings.variant.expansion[stage]
        kernel, shifted = settings.kernels[0 if stage < LEVELS else 1], number % 2 == 1
        if settings.mixer == "depthwise":
            return MedNeXtBlock(settings, width, width, expansion, kernel, settings.grn)
        return AttentionBlock(settings, width, expansion, kernel, settings.grn, shifted)

    def _encoder_level(self, level: int, widths: Sequence[int]) -> EncoderLevel:
        return EncoderLevel(
            self._blocks(level, widths[level]), self._down(level, widths[level], widths[level + 1])
        )

    def _down(self, level: int, width: int, below: int) -> nn.Module:
        settings = self._settings
        if settings.resampling == "plain":
            return PlainDown(settings, width, below)
        grn = settings.grn and (level > 0 or settings.grn_in_first_downsampling)
        # A resampling block has the expansion of the stage it leads to (published code; MONAI's
        # port takes that of the stage before, which is why its sizes B to L differ).
        expansion = settings.variant.expansion[level + 1]
        return DownBlock(settings, width, below, expansion, settings.kernels[0], grn)

    def _decoder_level(self, level: int, widths: Sequence[int]) -> DecoderLevel:
        stage = 2 * LEVELS - level
        return DecoderLevel(
            self._up(stage, widths[level + 1], widths[level]), self._blocks(stage, widths[level])
        )

    def _up(self, stage: int, below: int, width: int) -> nn.Module:
        settings = self._settings
        if settings.resampling == "plain":
            return PlainUp(settings, below, width)
        expansion = settings.variant.expansion[stage]
        return UpBlock(settings, below, width, expansion, settings.kernels[1], settings.grn)

    @property
    def operators(self) -> Operators:
        """Which operators run the blocks."""
        return self._operators

    @operators.setter
    def operators(self, choice: Operators) -> None:
        if choice not in CHOICES:
            raise SettingsError(f"unknown operators {choice!r}", f"Give {', '.join(CHOICES)}.")
        self._operators = choice
        for block in self.modules():
            if isinstance(block, MedNeXtBlock):
                block.operators = choice

    def keeps_little(self) -> bool:
        """Whether the fused operators run the blocks of the two finest resolutions.

        Nearly all activations are theirs, and of these operators' none is kept that is expanded.
        """
        levels = [level for stack in (self.encoder, self.decoder) for level in [*stack][:2]]
        blocks = [block for level in levels for block in cast("EncoderLevel", level).blocks]
        return all(isinstance(one, MedNeXtBlock) and one.wants_fused() for one in blocks)

    def forward(self, x: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        """Logits for an image.

        Args:
            x: (B, in_channels, D, H, W), or (B, in_channels, H, W) in two dimensions; every axis
                a multiple of 8 voxels; of 16 with attention or plain resampling.
            deep_supervision: also return the logits of the lower resolutions.

        Returns:
            (B, out_channels, D, H, W); with `deep_supervision` a list of five, full resolution
            first, each next one with half the voxels along every axis.

        Raises:
            SettingsError: a size that it does not take, wrong channels,
                or deep supervision asked of a network without its heads.
        """
        self._check(x, deep_supervision)
        skips: list[Tensor] = []
        x = self._laid_out(self.stem(x))
        for encoder in cast("Iterable[EncoderLevel]", self.encoder):
            x = self._run(encoder.blocks, x)
            skips.append(x)
            x = self._run([encoder.down], x)
        x = self._run(self.bottleneck, x)
        outputs = [self.heads[LEVELS](x)] if deep_supervision else []
        for index in reversed(range(LEVELS)):
            decoder = cast("DecoderLevel", self.decoder[index])
            x = self._join(decoder.up, x, skips.pop())
            x = self._run(decoder.blocks, x)
            if deep_supervision or index == 0:
                outputs.append(self.heads[index](x))
        return outputs[::-1] if deep_supervision else outputs[0]

    def _laid_out(self, x: Tensor) -> Tensor:
        """In the memory format that the blocks keep; as it is where PyTorch has the choice."""
        if self.operators == "auto" and self.contiguous:
            return x.contiguous()
        if cpu.is_arranged(x) or availability.is_wanted(self.operators, x.device):
            return cpu.channels_last(x)
        return cpu.channels_last(x) if self._has_ways() else x

    def _has_ways(self) -> bool:
        first = cast("EncoderLevel", self.encoder[0]).blocks[0]
        return self.operators == "auto" and bool(cast("MedNeXtBlock", first).way)

    def _run(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        for block in blocks:
            x = self._recomputed(block, x) if self._recompute() else block(x)
        return x

    def _join(self, up: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
        if not isinstance(up, UpBlock):
            return self._run([up], x) + skip
        return self._recomputed(up, x, skip) if self._recompute() else cast("Tensor", up(x, skip))

    def _recompute(self) -> bool:
        return self.checkpointing and torch.is_grad_enabled()

    @staticmethod
    def _recomputed(block: Callable[..., Tensor], *given: Tensor) -> Tensor:
        # No block draws random numbers, so no generator's state need be kept.
        result = checkpoint(block, *given, use_reentrant=False, preserve_rng_state=False)
        return cast("Tensor", result)

    def _check(self, x: Tensor, deep_supervision: bool) -> None:
        channels, dimensions = self._in_channels, self._settings.dimensions
        if x.ndim != dimensions + 2 or x.shape[1] != channels:
            raise SettingsError(
                f"an input of shape {tuple(x.shape)} for a network of {channels} channels "
                f"and {dimensions} dimensions",
                "Check channels and patch.",
            )
        if deep_supervision and len(self.heads) == 1:
            raise SettingsError(
                "deep supervision asked of a network without its heads",
                "Build it with deep_supervision = true.",
            )
        if not torch.compiler.is_exporting():
            self._rule.check([int(length) for length in x.shape[2:]])
