"""Which tile each kernel takes: by arithmetic (see benchmarks/README.md), unless `tilings` says so.

The aim is 8 to 16 values of a tile in each thread, so that the accumulators of a kernel fit the 255
registers a thread may have without spilling, and enough programs for the device's multiprocessors.
None of the depthwise kernels needs shared memory but for its last reductions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from mednext_cli.networks.mednext.kernels.limits import DeviceLimits
from mednext_cli.networks.mednext.kernels.tilings import Place, tiling_at

THREADS = 32  # of a warp
# Programs for each multiprocessor, of kernels that lose nothing by more.
_PROGRAMS = 8
# The most registers a thread may have, which the kernels that march along D come near.
_REGISTERS = 255

# Voxels along W of a tile of 32 channels, and warps, by kernel size.
_CONVOLUTION = {3: (64, 4), 5: (32, 4), 7: (32, 4)}
_WEIGHT_GRADIENT = {3: (32, 4), 5: (16, 4), 7: (16, 8)}
# Of float32 with stride 2, where each tap has addresses of its own beside its sum.
_STRIDED_WEIGHT_GRADIENT = {3: (32, 8), 5: (16, 8), 7: (8, 8)}
# Of the strided and transposed convolution, by bytes a value: float32 has twice the registers.
_STRIDED = {2: (32, 4), 4: (32, 8), 8: (32, 8)}
_CHANNELS = 32
_FEWEST_PLANES = 4
_ROWS = 8
_FEWEST_ROWS = 16  # of a block's tile, as matrix units want them

# Most channels (input or output) that the fused block takes, by bytes a value. With more, the
# weights no longer stay in shared memory while a tile passes, and the library product, which then
# has enough arithmetic for each byte, is better: an estimate, to be replaced by a measured table.
# float32 products run on the plain arithmetic units, where nothing is gained beyond one tile.
MOST_FUSED_CHANNELS = {2: 128, 4: 32, 8: 32}


@dataclass(frozen=True)
class Tile:
    """A tile of the depthwise kernels.

    Attributes:
        width: voxels along W.
        channels: channels.
        vector: channels that a thread loads at once.
        warps: of a program.
    """

    width: int
    channels: int
    vector: int
    warps: int

    @property
    def values(self) -> int:
        """Values in each thread."""
        return ceil(self.width * self.channels / (self.warps * THREADS))


@dataclass(frozen=True)
class BlockTile:
    """A tile of the fused block's kernels.

    Attributes:
        rows: voxels.
        hidden: expanded channels at a time.
        warps: of a program.
    """

    rows: int
    hidden: int
    warps: int


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below a number."""
    return 1 << max(number - 1, 0).bit_length()


def _tile(place: Place, widest: int, warps: int, width: int, channels: int, itemsize: int) -> Tile:
    tiling = tiling_at(place)
    vector = 2 if itemsize == 2 and channels % 2 == 0 else 1
    fitting_width = power_of_two(width)
    tile_width = max(int(min(widest, fitting_width) * tiling.width), 1)
    tile_width, warps = min(tile_width, fitting_width), int(warps * tiling.warps)
    tile_channels = min(_CHANNELS, power_of_two(channels))
    # A small tile needs fewer warps, or threads would compute the same values twice.
    fitting = max(tile_width * tile_channels // (THREADS * vector), 1)
    return Tile(tile_width, tile_channels, vector, min(warps, power_of_two(fitting)))


def convolution_tile(kernel: int, width: int, channels: int, itemsize: int) -> Tile:
    """Tile of the convolution with stride 1 and of the gradient of its input."""
    return _tile(
        Place("dense", (width, channels)), *_CONVOLUTION[kernel], width, channels, itemsize
    )


def strided_tile(width: int, channels: int, itemsize: int) -> Tile:
    """Tile of the strided and the transposed convolution."""
    return _tile(
        Place("strided", (width, channels)), *_STRIDED[itemsize], width, channels, itemsize
    )


def weight_gradient_tile(
    kernel: int, width: int, channels: int, itemsize: int, stride: int
) -> Tile:
    """Tile of the gradient of the weights."""
    single = stride == 2 and itemsize > 2
    table = _STRIDED_WEIGHT_GRADIENT if single else _WEIGHT_GRADIENT
    place = Place("dense" if stride == 1 else "strided", (width, channels))
    return _tile(place, *table[kernel], width, channels, itemsize)


def planes(
    shape: tuple[int, int, int],
    batch: int,
    channels: int,
    kernel: int,
    tile: Tile,
    limits: DeviceLimits,
) -> int:
    """Planes along D that a program walks: those with which the device is done first.

    A chunk computes K - 1 planes more than it stores, and the device holds so many programs at a
    time as their registers leave room for; the last of these waves may be half empty.
    """
    depth, height, width = shape
    columns = batch * height * ceil(width / tile.width) * ceil(channels / tile.channels)
    resident = max(limits.registers // (_REGISTERS * THREADS * tile.warps), 1)
    together = resident * limits.multiprocessors

    def duration(count: int) -> int:
        return ceil(columns * ceil(depth / count) / together) * (count + kernel - 1)

    return min(_halves(depth), key=duration)


def _halves(depth: int) -> Iterator[int]:
    """All planes, half of them, and so on: a tie goes to the longest walk."""
    yield depth
    while depth > _FEWEST_PLANES:
        depth = ceil(depth / 2)
        yield depth


def rows(
    shape: tuple[int, int, int], batch: int, channels: int, tile: Tile, limits: DeviceLimits
) -> int:
    """Rows along H that a program of the strided or transposed convolution makes."""
    depth, height, width = shape
    columns = batch * depth * ceil(width / tile.width) * ceil(channels / tile.channels)
    count = _ROWS
    while count > 1 and columns * ceil(height / count) < programs(limits):
        count //= 2
    return min(count, height)


def programs(limits: DeviceLimits) -> int:
    """Programs that keep every multiprocessor busy to the end."""
    return _PROGRAMS * limits.multiprocessors


def splits(columns: int, kernel: int, channels: int, tile: Tile, limits: DeviceLimits) -> int:
    """Partial sums of the gradient of the weights."""
    each = kernel * ceil(channels / tile.channels)
    return max(min(columns, ceil(programs(limits) / each)), 1)


def block_tile(channels: int, hidden: int, out_channels: int, itemsize: int) -> BlockTile:
    """Tile of the fused block, forward and gradient of its input."""
    widest = max(channels, out_channels)
    rows_ = _fewer(64 if itemsize > 2 or widest > 64 else 128, channels, hidden, out_channels)
    return BlockTile(rows_, min(32, power_of_two(max(hidden, 16))), 4)


def _fewer(rows_: int, *channels: int) -> int:
    return max(int(rows_ * tiling_at(Place("products", channels)).rows), _FEWEST_ROWS)


def block_weight_tile(
    channels: int, hidden: int, out_channels: int, itemsize: int, limits: DeviceLimits
) -> BlockTile:
    """Tile of the gradients of the fused block's weights: what the device's shared memory holds."""
    widest = max(channels, out_channels)
    chunk = 64 if widest <= 64 and itemsize <= 2 else 32
    rows_ = _fewer(64 if itemsize <= 2 else 32, channels, hidden, out_channels)
    tile = BlockTile(rows_, min(chunk, power_of_two(max(hidden, 16))), 4)
    while tile.rows > _FEWEST_ROWS and (
        _weight_bytes(tile, channels, out_channels, itemsize) > limits.shared_memory
    ):
        tile = BlockTile(tile.rows // 2, tile.hidden, tile.warps)
    return tile


def _weight_bytes(tile: BlockTile, channels: int, out_channels: int, itemsize: int) -> int:
    """Shared memory that the kernel asks for at most: as compiled, which is compared with it.

    Both weights and the normalised image once, the image and the gradient for two blocks of voxels
    at a time, as Triton loads ahead, and the expanded activations twice.
    """
    wide = max(power_of_two(channels), 16) + max(power_of_two(out_channels), 16)
    once = tile.hidden * wide + tile.rows * power_of_two(channels)
    ahead = 2 * tile.rows * wide
    return itemsize * (once + ahead + 2 * tile.rows * tile.hidden)


def is_fused(channels: int, out_channels: int, itemsize: int) -> bool:
    """Whether the fused block takes these channels, or the library product does."""
    return max(channels, out_channels) <= MOST_FUSED_CHANNELS.get(itemsize, 0)


def voxels(shape: tuple[int, ...]) -> int:
    """Voxels of a grid."""
    return prod(shape)
