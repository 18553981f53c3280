"""The MedNeXt network: four encoder levels, a bottleneck, four decoder levels, five outputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.architecture import DIVISOR, LEVELS, Architecture
from mednext_cli.networks.mednext.blocks import POINTWISE, DownBlock, MedNeXtBlock, UpBlock
from mednext_cli.networks.mednext.kernels import CHOICES, Operators, availability


class EncoderLevel(nn.Module):
    """Blocks at one resolution, and the block that leads one level down."""

    def __init__(self, blocks: Iterable[MedNeXtBlock], down: DownBlock) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.down = down


class DecoderLevel(nn.Module):
    """The block that leads up to one resolution, and the blocks there."""

    def __init__(self, up: UpBlock, blocks: Iterable[MedNeXtBlock]) -> None:
        super().__init__()
        self.up = up
        self.blocks = nn.ModuleList(blocks)


class MedNeXt(nn.Module):
    """MedNeXt in two or three dimensions.

    `encoder[i]`, `decoder[i]` and `heads[i]` work at 1 / 2^i of the input's resolution.

    Args:
        architecture: what it is made of.

    Attributes:
        checkpointing: keep only the blocks' inputs in the forward pass and compute the rest again
            in the backward pass: less memory, about a third more time, the same numbers.
        operators: "auto" runs the blocks by fused operators on the GPUs these were measured on and
            by PyTorch's own elsewhere; "fused" insists, and fails where they cannot run (an NVIDIA
            GPU and Triton are needed); "stock" never takes them.

    Source: arXiv 2303.09975, Figure 1 and section 2.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.checkpointing = False
        self._operators: Operators = "auto"
        widths = [architecture.base_channels * 2**level for level in range(LEVELS + 1)]
        pointwise = POINTWISE[architecture.dimensions]
        self.stem = pointwise(architecture.in_channels, widths[0])
        self.encoder = nn.ModuleList(self._encoder_level(level, widths) for level in range(LEVELS))
        self.bottleneck = nn.ModuleList(self._blocks(LEVELS, widths[LEVELS]))
        self.decoder = nn.ModuleList(self._decoder_level(level, widths) for level in range(LEVELS))
        heads = LEVELS + 1 if architecture.deep_supervision else 1
        self.heads = nn.ModuleList(
            pointwise(widths[level], architecture.out_channels) for level in range(heads)
        )

    def _blocks(self, stage: int, width: int) -> Iterable[MedNeXtBlock]:
        one = self.architecture
        kernel = one.encoder_kernel if stage < LEVELS else one.decoder_kernel
        return (
            MedNeXtBlock(one, width, width, one.expansion[stage], kernel, one.grn)
            for _ in range(one.blocks[stage])
        )

    def _encoder_level(self, level: int, widths: Sequence[int]) -> EncoderLevel:
        one = self.architecture
        grn = one.grn and (level > 0 or one.grn_in_first_downsampling)
        # A resampling block has the expansion of the stage it leads to (published code; MONAI's
        # port takes that of the stage before, which is why its sizes B to L differ).
        expansion = one.expansion[level + 1]
        down = DownBlock(one, widths[level], widths[level + 1], expansion, one.encoder_kernel, grn)
        return EncoderLevel(self._blocks(level, widths[level]), down)

    def _decoder_level(self, level: int, widths: Sequence[int]) -> DecoderLevel:
        one, stage = self.architecture, 2 * LEVELS - level
        up = UpBlock(
            one,
            widths[level + 1],
            widths[level],
            one.expansion[stage],
            one.decoder_kernel,
            one.grn,
        )
        return DecoderLevel(up, self._blocks(stage, widths[level]))

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

    @property
    def divisor(self) -> int:
        """Every axis of the input must be a multiple of this, voxels."""
        return DIVISOR

    @property
    def smallest_patch(self) -> tuple[int, ...]:
        """The smallest input that can be normalised, voxels; the longer axis may be any.

        Group norm with one channel a group needs two voxels in the bottleneck, layer norm one.
        """
        longest = 2 * DIVISOR if self.architecture.norm == "group" else DIVISOR
        return (DIVISOR,) * (self.architecture.dimensions - 1) + (longest,)

    def forward(self, x: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        """Logits for an image.

        Args:
            x: (B, in_channels, D, H, W), or (B, in_channels, H, W) in two dimensions; every axis
                a multiple of 16 voxels.
            deep_supervision: also return the logits of the lower resolutions.

        Returns:
            (B, out_channels, D, H, W); with `deep_supervision` a list of five, full resolution
            first, each next one with half the voxels along every axis.

        Raises:
            SettingsError: a size that cannot be halved four times or normalised, wrong channels,
                or deep supervision asked of a network without its heads.
        """
        self._check(x, deep_supervision)
        skips: list[Tensor] = []
        x = self.stem(x)
        if cpu.is_arranged(x) or availability.is_wanted(self.operators, x.device, x.dtype):
            x = cpu.channels_last(x)
        for encoder in cast("Iterable[EncoderLevel]", self.encoder):
            x = self._run(encoder.blocks, x)
            skips.append(x)
            x = self._run([encoder.down], x)
        x = self._run(self.bottleneck, x)
        outputs = [self.heads[LEVELS](x)] if deep_supervision else []
        for index in reversed(range(LEVELS)):
            decoder = cast("DecoderLevel", self.decoder[index])
            x = self._run([decoder.up], x) + skips.pop()
            x = self._run(decoder.blocks, x)
            if deep_supervision or index == 0:
                outputs.append(self.heads[index](x))
        return outputs[::-1] if deep_supervision else outputs[0]

    def _run(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        for block in blocks:
            x = self._recomputed(block, x) if self._recompute() else block(x)
        return x

    def _recompute(self) -> bool:
        return self.checkpointing and torch.is_grad_enabled()

    @staticmethod
    def _recomputed(block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        # No block draws random numbers, so no generator's state need be kept.
        result = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return cast("Tensor", result)

    def _check(self, x: Tensor, deep_supervision: bool) -> None:
        one = self.architecture
        if x.ndim != one.dimensions + 2 or x.shape[1] != one.in_channels:
            raise SettingsError(
                f"an input of shape {tuple(x.shape)} for a network of {one.in_channels} channels "
                f"and {one.dimensions} dimensions",
                "Check channels and patch.",
            )
        if deep_supervision and len(self.heads) == 1:
            raise SettingsError(
                "deep supervision asked of a network without its heads",
                "Build it with deep_supervision = true.",
            )
        check_patch(x.shape[2:], self.smallest_patch)


def check_patch(shape: Sequence[int], smallest: Sequence[int]) -> None:
    """Raise `SettingsError` unless a network can take patches of this shape.

    Args:
        shape: voxels along each axis.
        smallest: `MedNeXt.smallest_patch`; any axis may be its longest.
    """
    text = " x ".join(str(size) for size in shape)
    if any(size % DIVISOR or size == 0 for size in shape):
        lower = " x ".join(str(max(size // DIVISOR, 1) * DIVISOR) for size in shape)
        upper = " x ".join(str(max(-(-size // DIVISOR), 1) * DIVISOR) for size in shape)
        near = lower if lower == upper else f"{lower} or {upper}"
        raise SettingsError(
            f"a patch of {text} voxels: every axis must be divisible by {DIVISOR}",
            f"The nearest sizes are {near}.",
        )
    if max(shape) < max(smallest):
        least = " x ".join(str(size) for size in smallest)
        raise SettingsError(
            f"a patch of {text} voxels leaves group norm one value per channel in the bottleneck",
            f"The smallest patch is {least} (in any order of the axes).",
        )


def build(architecture: Architecture) -> MedNeXt:
    """Build a MedNeXt with PyTorch's default initialisation, as published.

    Args:
        architecture: what it is made of (see `variants.architecture` for the named sizes).
    """
    return MedNeXt(architecture)
