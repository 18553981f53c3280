"""Predict a whole image tile by tile, and give its blocks away as they are finished.

Tiles always have the training patch's size: group norm with one channel a group sees the tile's
statistics, and a network shown larger, padded tiles than it was trained on loses most of its Dice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.inference.open_sums import OpenSums
from mednext_cli.inference.sweep import Box, Sweep, Tiling, choose_sweep
from mednext_cli.inference.tiling import gaussian_importance
from mednext_cli.volumes.turning import UNTURNED, Turn
from mednext_cli.volumes.volume import Shape

Array = NDArray[np.float32]
Call = Callable[[Tensor], Sequence[Tensor]]
"""Tiles (B, C, D, H, W) to what the network gives of each, (K, D, H, W), all on one device."""
Activate = Callable[[Tensor], Tensor]
"""Outputs (K, ...) to probabilities, float32; of any part of a tile."""
Report = Callable[[int, int], None]
Placed = tuple[Box, Array]
"""Where a block lies in the image, and its probabilities (K, d, h, w)."""
Job = tuple[int, Shape, tuple[int, ...]]
"""The column of a tile, its first voxel, and the axes of (D, H, W) it is flipped along."""
_VALUES_AT_ONCE = (2**24, 2**18)  # of a tile: what keeps a GPU busy; what a processor's caches hold


@dataclass(frozen=True)
class Window:
    """How an image is cut into tiles, and how these are shown to a network.

    Attributes:
        patch_voxels: (D, H, W) of the training patches, as the network sees them.
        mirror_axes: axes of the image's (D, H, W) to mirror along; n of them give 2^n predictions
            a tile.
        overlap: share of a tile that the next one covers at least.
        turn: brings an image to what the network sees.
    """

    patch_voxels: Shape
    mirror_axes: tuple[int, ...] = ()
    overlap: float = 0.5
    turn: Turn = UNTURNED

    def tiling(self, shape: Shape) -> Tiling:
        """Of an image (D, H, W)."""
        return Tiling(shape, self.turn.triple_back(self.patch_voxels), self.overlap)

    @property
    def flips(self) -> list[tuple[int, ...]]:
        """Axes of (D, H, W) to flip, for every combination of those that a flip changes."""
        seen = self.turn.axes(self.mirror_axes)
        axes = [self.turn.order[axis] for axis in seen if self.patch_voxels[axis] > 1]
        return [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]

    def count_tiles(self, shape: Shape) -> int:
        """How many tiles and mirrorings an image (D, H, W) has."""
        return self.tiling(shape).count * len(self.flips)


@dataclass(frozen=True)
class Shown:
    """A network whose predictions of the same tiles are added to those of others.

    Attributes:
        call: the network.
        activate: what makes probabilities of its outputs.
        report: told after each call how many tiles and mirrorings it had.
        weight: in the sums.
    """

    call: Call
    activate: Activate
    report: Callable[[int], None]
    weight: float = 1.0


def predict_blocks(
    networks: Sequence[Shown], image: Array, window: Window, sweep: Sweep, batch: int = 1
) -> Iterator[Placed]:
    """Probabilities of an image: tiles, weighted by a Gaussian, averaged over mirrorings, networks.

    Images smaller than the patch are padded with zeros around the centre. Memory: float32 sums of
    K times the voxels that are open (`Tiling.count_open`), where the network is if they fit there.
    A block is freed with the last reference to it.

    Args:
        networks: that are shown the same tiles.
        image: (C, D, H, W).
        window: the tiles.
        sweep: of this and maybe other windows over the image.
        batch: tiles and mirrorings predicted at once.

    Yields:
        Every block of the sweep in its turn, summing to 1 over K where the networks' do.
    """
    tiles = _Tiles(networks, torch.from_numpy(image), window, sweep, batch)
    for box, stops in sweep.blocks():
        tiles.predict_until(stops)
        yield box, tiles.take(box)


class _Tiles:
    """The tiles of an image, predicted as far as their sums are asked for."""

    def __init__(
        self, networks: Sequence[Shown], voxels: Tensor, window: Window, sweep: Sweep, batch: int
    ) -> None:
        self._networks, self._voxels, self._turn = networks, voxels, window.turn
        self._tiling, self._axes, self._batch = window.tiling(sweep.shape), sweep.axes, batch
        self._weights = _importance(self._tiling)
        self._sums = OpenSums(self._tiling, sweep)
        corners = self._tiling.corners(sweep.axes)
        self._jobs = [(*tile, flip) for tile, flip in product(corners, window.flips)]
        self._done = 0

    @torch.inference_mode()
    def predict_until(self, stops: Sequence[int]) -> None:
        """Predict all that the voxels before two stops need; see `Tiling.columns_before`."""
        due = self._tiling.columns_before(self._axes, stops)
        while self._done < len(self._jobs) and self._jobs[self._done][0] < due:
            jobs = self._jobs[self._done : self._done + self._batch]
            self._done += len(jobs)
            tiles = torch.stack([self._cut(corner, flip) for _, corner, flip in jobs])
            for network in self._networks:
                self._predict(network, tiles, jobs)
                network.report(len(jobs))

    def _predict(self, network: Shown, tiles: Tensor, jobs: Sequence[Job]) -> None:
        """What the network gives is freed before it is called again."""
        for (_, corner, flip), made in zip(jobs, network.call(tiles), strict=True):
            self._add(network, made, corner, flip)

    @torch.inference_mode()
    def take(self, box: Box) -> Array:
        """The mean (K, d, h, w) of a finished block."""
        mean: Array = self._sums.take_mean(box).cpu().numpy()
        return mean

    def _cut(self, corner: Shape, flip: tuple[int, ...]) -> Tensor:
        """A tile as a network sees it, with zeros around the image where that is smaller."""
        patch = self._tiling.patch_voxels
        inside = tuple(
            slice(max(0, start), min(start + size, length))
            for start, size, length in zip(corner, patch, self._voxels.shape[1:], strict=True)
        )
        tile = self._voxels[(slice(None), *inside)]
        if tile.shape[1:] != patch:
            found, tile = tile, self._voxels.new_zeros((len(tile), *patch))
            there = (
                slice(part.start - start, part.stop - start)
                for part, start in zip(inside, corner, strict=True)
            )
            tile[(slice(None), *there)] = found
        return tile.flip(_behind(flip)).movedim(self._turn.axis - 3, -3)

    def _add(self, network: Shown, made: Tensor, corner: Shape, flip: tuple[int, ...]) -> None:
        """Add what a network gave of a tile, (K, d, h, w), a few of its slices at a time.

        They are activated, laid class by class and weighted while the processor has them at hand.
        """
        made = made.movedim(-3, self._turn.axis - 3)
        self._weights = self._weights.to(made.device)
        depth = made.shape[1]
        step = max(1, _VALUES_AT_ONCE[made.device.type == "cpu"] // made[:, 0].numel())
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            rows = slice(depth - stop, depth - start) if 0 in flip else slice(start, stop)
            part = made[:, rows].flip(_behind(flip)) if flip else made[:, rows]
            values = _by_class(network.activate(part))
            weights = self._weights[start:stop]
            if network.weight != 1:
                weights = weights * network.weight
            self._sums.add((corner[0] + start, *corner[1:]), values * weights, weights)


def predict_probabilities(
    call: Call,
    image: Array,
    patch_voxels: Sequence[int],
    mirror_axes: Sequence[int] = (),
    overlap: float = 0.5,
    batch: int = 1,
    report: Report | None = None,
) -> Array:
    """Probabilities of a whole image at once: float32 of K times its voxels are held.

    Args:
        call: the network with its softmax or sigmoid.
        image: (C, D, H, W).
        patch_voxels: (D, H, W) of the training patches.
        mirror_axes: axes of (D, H, W) to mirror along.
        overlap: share of a tile that the next one covers at least.
        batch: tiles and mirrorings predicted at once.
        report: told after each call how many tiles and mirrorings are done, and of how many.

    Returns:
        (K, D, H, W), summing to 1 over K where the network's do.
    """
    depth, height, width = patch_voxels
    window = Window((depth, height, width), tuple(mirror_axes), overlap)
    shape = (image.shape[1], image.shape[2], image.shape[3])
    total, done = window.count_tiles(shape), 0

    def count(tiles: int) -> None:
        nonlocal done
        done += tiles
        if report is not None:
            report(done, total)

    shown = Shown(call, Tensor.float, count)
    sweep = choose_sweep([window.tiling(shape)])
    return gather(predict_blocks([shown], image, window, sweep, batch), shape)


def gather(blocks: Iterator[Placed], shape: Shape) -> Array:
    """The blocks of an image (D, H, W) as one array (K, D, H, W)."""
    box, first = next(blocks)
    whole = np.empty((len(first), *shape), dtype=np.float32)
    whole[(slice(None), *box)] = first
    for box, scores in blocks:
        whole[(slice(None), *box)] = scores
    return whole


def _importance(tiling: Tiling) -> Tensor:
    patch = tiling.patch_voxels
    weights = gaussian_importance(patch) if tiling.count > 1 else np.ones(patch, dtype=np.float32)
    return torch.from_numpy(weights)


def _by_class(part: Tensor) -> Tensor:
    """(K, d, h, w) in C order; of channels-last voxels a plain transposition, which is fast."""
    return part.flatten(1).contiguous().view(part.shape)


def _behind(flip: tuple[int, ...]) -> list[int]:
    """Axes of (D, H, W) in an array (C, D, H, W)."""
    return [axis + 1 for axis in flip]
