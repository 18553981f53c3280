"""The distinct blocks of a network: what is measured once serves all that are alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Literal, cast

import torch
from torch import nn

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext_cli.networks.patches import Patch
from mednext_cli.networks.shortcuts import Shortcuts
from mednext_cli.networks.workload import Workload

Kind = Literal["block", "down", "up"]
_BACKWARD = 2  # multiply-adds of both gradients, in forward passes


@dataclass(frozen=True)
class BlockShape:
    """What of a block and its input decides how long it takes.

    Attributes:
        kind: at one resolution, to the next lower or to the next higher one.
        batch: images.
        channels: of the input.
        hidden: expanded channels.
        out_channels: of the output.
        kernel: of the depthwise convolution, voxels; 0 where attention is in its place.
        voxels: (D, H, W) of the input.
        plain: whether fused operators can take it.
    """

    kind: Kind
    batch: int
    channels: int
    hidden: int
    out_channels: int
    kernel: int
    voxels: Patch
    plain: bool = True

    @property
    def name(self) -> str:
        """For people: ``block 32-64-32 k3 128x128x128``."""
        widths = f"{self.channels}-{self.hidden}-{self.out_channels}"
        return f"{self.kind} {widths} k{self.kernel} {'x'.join(map(str, self.voxels))}"

    @property
    def stride(self) -> int:
        """Of the depthwise convolution."""
        return 1 if self.kind == "block" else 2

    @property
    def transposed(self) -> bool:
        """Whether the depthwise convolution is."""
        return self.kind == "up"

    @property
    def out_voxels(self) -> int:
        """Of one image."""
        factor = {"block": 1.0, "down": 1 / 8, "up": 8.0}[self.kind]
        return int(factor * prod(self.voxels))

    def multiply_adds(self, training: bool) -> int:
        """Of the convolutions, forward or with both gradients; norm and GELU are left out."""
        smaller_grid = min(self.out_voxels, prod(self.voxels))
        depthwise = smaller_grid * self.kernel**3 * self.channels
        products = self.out_voxels * self.hidden * (self.channels + self.out_channels)
        forward = self.batch * (depthwise + products)
        return forward * (1 + _BACKWARD) if training else forward

    def least_bytes(self, itemsize: int, training: bool) -> int:
        """Input read and output written once; of the gradient the same, and the input again."""
        inner = prod(self.voxels) * self.channels
        outer = self.out_voxels * self.out_channels
        values = 3 * inner + 2 * outer if training else inner + outer
        return self.batch * values * itemsize


@dataclass(frozen=True)
class FoundBlock:
    """A block of a network without memory, and its shape."""

    block: MedNeXtBlock
    shape: BlockShape


def find_blocks(workload: Workload) -> Mapping[str, FoundBlock]:
    """Every block of the network by its module's name, in the order of the forward pass.

    The network is run on PyTorch's device "meta": nothing is computed.

    Raises:
        SettingsError: the network cannot take the patch.
    """
    with torch.device("meta"):
        network = build_plain(workload.network)
        image = torch.empty(workload.batch, workload.network.in_channels, *workload.patch_voxels)
    found: dict[str, FoundBlock] = {}
    hooks = [
        module.register_forward_pre_hook(partial(_note, found, name))
        for name, module in network.named_modules()
        if isinstance(module, MedNeXtBlock)
    ]
    with torch.no_grad(), Shortcuts():  # type: ignore[no-untyped-call]
        network(image)
    for hook in hooks:
        hook.remove()
    return found


def _note(
    found: dict[str, FoundBlock], name: str, module: nn.Module, inputs: tuple[Any, ...]
) -> None:
    block = cast("MedNeXtBlock", module)
    found[name] = FoundBlock(block, _shape_of(block, inputs[0]))


def _shape_of(block: MedNeXtBlock, x: torch.Tensor) -> BlockShape:
    expand, compress = block.expand.weight, block.compress.weight
    kind: Kind = "down" if isinstance(block, DownBlock) else "block"
    if isinstance(block, UpBlock):
        kind = "up"
    convolution = getattr(block, "depthwise", None)
    batch, channels, *voxels = map(int, x.shape)
    return BlockShape(
        kind=kind,
        batch=batch,
        channels=channels,
        hidden=int(cast("torch.Tensor", expand).shape[0]),
        out_channels=int(cast("torch.Tensor", compress).shape[0]),
        kernel=0 if convolution is None else int(convolution.weight.shape[-1]),
        voxels=cast("Patch", tuple(voxels)),
        plain=block.is_plain(),
    )
