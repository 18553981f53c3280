"""What was chosen for a network, as it is cached, kept with a run, and put in force."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import torch
from pydantic import AfterValidator, Field, ValidationError
from torch import nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.blocks import MedNeXtBlock
from mednext_cli.networks.mednext.kernels import tilings
from mednext_cli.networks.mednext.kernels.measuring.candidates import Layout, Mode
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape
from mednext_cli.networks.mednext.network import MedNeXt
from mednext_cli.networks.mednext.ways import PATTERN, tiling_of
from mednext_cli.settings.values import Count, Flag, Frozen

_FORMATS: Mapping[Layout, torch.memory_format] = {
    "channels_last": torch.channels_last_3d,
    "contiguous": torch.contiguous_format,
}
_FIVE_AXES = 5
_MOST_BLOCKS = 10_000


def _known(way: str) -> str:
    if PATTERN.fullmatch(way) is None:
        raise ValueError("is no way to run a block")
    if (tiling_of(way) or "") not in tilings.TILINGS:
        raise ValueError("names tiles that are not known")
    return way


class ChosenBlock(Frozen):
    """How one block is run.

    Attributes:
        way: of `mednext.ways`.
        width: voxels along W of its depthwise convolution, on the smaller grid.
    """

    way: Annotated[str, AfterValidator(_known)]
    width: Count


class Choices(Frozen):
    """How a network is run on a kind of device.

    Attributes:
        device: the name of the GPU or the processor that was measured.
        layout: see `Mode`.
        benchmark: see `Mode`.
        threads: see `Mode`.
        blocks: by the module's name.
    """

    device: Annotated[str, Field(max_length=200)]
    layout: Layout
    benchmark: Flag
    threads: Annotated[int, Field(strict=True, ge=1, le=4096)] | None
    blocks: Annotated[dict[str, ChosenBlock], Field(max_length=_MOST_BLOCKS)]

    @property
    def mode(self) -> Mode:
        """What holds for the whole network."""
        return Mode(self.layout, self.benchmark, self.threads)


def read_choices(values: object) -> Choices | None:
    """Choices from a file; None where they cannot be, be the file damaged or another version's."""
    try:
        return Choices.model_validate(values)
    except ValidationError:
        return None


def chosen_blocks(
    shapes: Mapping[str, BlockShape], ways: Mapping[BlockShape, str]
) -> dict[str, ChosenBlock]:
    """The ways of the shapes as those of the blocks."""
    return {
        name: ChosenBlock(way=ways[shape], width=tile_width(shape))
        for name, shape in shapes.items()
    }


def tile_width(shape: BlockShape) -> int:
    """Voxels along W over which tiles of the depthwise convolution lie: of the smaller grid."""
    return shape.voxels[-1] // (2 if shape.kind == "down" else 1)


def tile_places(block: MedNeXtBlock, width: int) -> Sequence[tilings.Place]:
    """All that tiles are taken for while this block runs."""
    convolution, expand, compress = (
        cast("nn.Conv3d", layer) for layer in (block.depthwise, block.expand, block.compress)
    )
    channels = convolution.in_channels
    dense = convolution.stride[0] == 1
    return (
        tilings.Place("dense" if dense else "strided", (width, channels)),
        tilings.Place("products", (channels, expand.out_channels, compress.out_channels)),
    )


def memory_format(layout: Layout) -> torch.memory_format:
    """Of images and weights (five axes)."""
    return _FORMATS[layout]


def set_layout(network: nn.Module, layout: Layout) -> None:
    """Lay weights of five axes out as the images: convolutions follow either of them."""
    for weights in network.parameters():
        if weights.ndim == _FIVE_AXES:
            weights.data = weights.data.contiguous(memory_format=memory_format(layout))


def apply_choices(network: MedNeXt, values: Mapping[str, Any]) -> None:
    """Let a network run as chosen; before it is compiled, since compiled graphs keep the old way.

    cuDNN's flag, the threads and preferred tiles hold for the process.

    Args:
        network: on its device, with operators "auto".
        values: `Choices` made for it, on the same kind of device, as plain types.

    Raises:
        SettingsError: they cannot be, or are of other blocks.
    """
    choices = read_choices(values)
    blocks = {
        name: module for name, module in network.named_modules() if isinstance(module, MedNeXtBlock)
    }
    if choices is None or blocks.keys() != choices.blocks.keys():
        raise SettingsError(
            "the operators that were chosen are damaged or of another network",
            "Take operators = stock.",
        )
    for name, block in blocks.items():
        _set_way(block, choices.blocks[name])
    network.contiguous = choices.layout == "contiguous"
    set_layout(network, choices.layout)
    if choices.benchmark:
        torch.backends.cudnn.benchmark = True
    if choices.threads is not None:
        torch.set_num_threads(min(choices.threads, torch.get_num_threads()))


def _set_way(block: MedNeXtBlock, chosen: ChosenBlock) -> None:
    block.way = chosen.way
    tiling = tiling_of(chosen.way)
    if tiling is not None:
        tilings.prefer(tile_places(block, chosen.width), tiling)
