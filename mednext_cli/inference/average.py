"""Networks that are averaged, and what becomes of one prepared image with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.inference.engine import (
    Activation,
    Engine,
    EngineOptions,
    activation_of,
    build_engine,
    runs_graphs,
    tiles_at_once,
)
from mednext_cli.inference.models import Model
from mednext_cli.inference.sliding import Placed, Shown, Window, predict_blocks
from mednext_cli.inference.sweep import Sweep, choose_sweep, count_open
from mednext_cli.inference.tiles import activate, compute_logits
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.turning import UNTURNED, Turn
from mednext_cli.volumes.volume import Shape

Array = NDArray[np.float32]
Advance = Callable[[int, str], None]
"""Told how many tiles more are done, and which network's where there are several."""
Single = Callable[[Array, float], None]
"""Told what one network gave of a block, (K, d, h, w), and its share of the average."""


@dataclass(frozen=True)
class Member:
    """One network of an average, and how it is shown an image.

    Attributes:
        engine: images to logits.
        patch_voxels: it was trained on, of images as it sees them.
        mirror_axes: axes of (D, H, W) to average over.
        overlap: of its tiles.
        turn: brings an image (D, H, W) to what the network sees.
        weight: of the network in the average, above 0.
        width: channels of its first layer, where known; its memory is estimated by that.
    """

    engine: Engine
    patch_voxels: tuple[int, int, int]
    mirror_axes: tuple[int, ...]
    overlap: float
    turn: Turn = UNTURNED
    weight: float = 1.0
    width: int = 0

    @property
    def batch(self) -> int:
        """Tiles at once."""
        return tiles_at_once(self.engine.device, self.patch_voxels)

    @property
    def window(self) -> Window:
        """Its tiles."""
        return Window(self.patch_voxels, self.mirror_axes, self.overlap, self.turn)

    def count_tiles(self, shape: Sequence[int]) -> int:
        """Tiles and mirrorings of an image of this shape (D, H, W)."""
        return self.window.count_tiles(_three(shape))


@dataclass(frozen=True)
class NetworkAverage:
    """Networks for one task, loaded once, that predict one prepared image after the other.

    Attributes:
        members: the networks to average, at least one.
        plan: how images are prepared (`preprocessing.apply.prepare_image`), what the networks'
            outputs mean, and with that how they are restored (`preprocessing.restore`).
    """

    members: tuple[Member, ...]
    plan: Plan

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.members[0].engine.device

    @property
    def activation(self) -> Activation:
        """What their probabilities are of."""
        return activation_of(self.plan)

    def count_tiles(self, shape: Sequence[int]) -> int:
        """Tiles and mirrorings of all networks for a prepared image of this shape (D, H, W)."""
        return sum(member.count_tiles(shape) for member in self.members)

    def sweep(self, shape: Sequence[int]) -> Sweep:
        """The blocks in which an image (D, H, W) is finished, and their order."""
        windows = dict.fromkeys(member.window for member in self.members)
        return choose_sweep([window.tiling(_three(shape)) for window in windows])

    def count_open(self, shape: Sequence[int], apart: bool = False) -> int:
        """About the most voxels of an image (D, H, W) whose sums are open at once.

        Args:
            shape: of the image.
            apart: whether each network is told of by itself.
        """
        tilings = [group[0].window.tiling(_three(shape)) for group in self._groups(apart)]
        return count_open(tilings, self.sweep(shape).axes)

    def predict(
        self,
        image: Array,
        name: str,
        advance: Advance | None = None,
        single: Single | None = None,
    ) -> Iterator[Placed]:
        """Probabilities averaged over tiles, mirrorings and networks, block by block.

        Args:
            image: (C, D, H, W), prepared as the plan says.
            name: of the case, for errors.
            advance: told of every few tiles.
            single: told of every network by itself, block by block.

        Yields:
            Every block of `sweep` in its turn: where it lies in the image, and (K, d, h, w) of
            classes with the background, or regions. It is freed when nobody holds it any more.

        Raises:
            CheckpointError: the networks give NaN. SettingsError: the device has too little memory
                for a single tile. PluginError: an engine gives what is no answer.
            MemoryError: there is too little main memory for the image.
        """
        sweep, weights = self.sweep(image.shape[1:]), sum(member.weight for member in self.members)
        groups = self._groups(apart=single is not None)
        parts = [self._predict_with(group, image, sweep, advance) for group in groups]
        for _ in sweep.blocks():
            box, total = _averaged([next(part) for part in parts], groups, weights, single)
            if not torch.from_numpy(total).sum().isfinite():
                raise CheckpointError(
                    f"the network gives NaN for {name}", "Its weights are broken: train it again."
                )
            yield box, total
            del total

    def _groups(self, apart: bool) -> list[tuple[Member, ...]]:
        """Networks that add their predictions to the same sums: those with the same tiles."""
        if apart:
            return [(member,) for member in self.members]
        windows = dict.fromkeys(member.window for member in self.members)
        return [
            tuple(member for member in self.members if member.window == window)
            for window in windows
        ]

    def _predict_with(
        self, group: Sequence[Member], image: Array, sweep: Sweep, advance: Advance | None
    ) -> Iterator[Placed]:
        shown = [
            Shown(
                call=partial(_call, member.engine, self.plan.output_channels),
                activate=partial(activate, activation=member.engine.activation),
                report=partial(self._report, advance, member),
                weight=member.weight if len(group) > 1 else 1.0,
            )
            for member in group
        ]
        return predict_blocks(shown, image, group[0].window, sweep, group[0].batch)

    def _report(self, advance: Advance | None, member: Member, tiles: int) -> None:
        if advance is not None:
            number = 1 + next(at for at, one in enumerate(self.members) if one is member)
            advance(tiles, f", model {number}" if len(self.members) > 1 else "")


def _averaged(
    blocks: Sequence[Placed],
    groups: Sequence[Sequence[Member]],
    weights: float,
    single: Single | None,
) -> Placed:
    """The same block of all groups as one, in the memory of the first."""
    box, total = blocks[0]
    for index, ((_, found), group) in enumerate(zip(blocks, groups, strict=True)):
        weight = sum(member.weight for member in group)
        if single is not None:
            single(found, weight / weights)
        if len(groups) > 1 and weight != 1:
            found *= np.float32(weight)
        if index > 0:
            total += found
    if len(groups) > 1:
        total /= np.float32(weights)
    return box, total


def first_width(weights: Mapping[str, torch.Tensor]) -> int:
    """Channels of a network's first convolution; 0 where there is none."""
    return next((len(weight) for weight in weights.values() if weight.ndim > 3), 0)


def _call(engine: Engine, outputs: int, tiles: torch.Tensor) -> list[torch.Tensor]:
    return compute_logits(engine, tiles, outputs)


def _three(shape: Sequence[int]) -> Shape:
    depth, height, width = shape
    return depth, height, width


def build_average(models: Sequence[Model], engine: str, options: EngineOptions) -> NetworkAverage:
    """Make networks ready for prediction.

    Args:
        models: loaded together (`models.load_models`).
        engine: torch, openvino, onnx or a plugin's.
        options: how it computes.

    Raises:
        PluginError: there is no such engine. SettingsError: it cannot be used here.
    """
    members = tuple(_member(model, engine, options) for model in models)
    return NetworkAverage(members, models[0].plan)


def _member(model: Model, engine: str, options: EngineOptions) -> Member:
    built = build_engine(
        engine, model.checkpoint, model.plan, replace(options, checkpoint_file=model.path)
    )
    return Member(
        engine=built,
        patch_voxels=model.graph_patch if runs_graphs(built) else model.plan.patch_voxels,
        mirror_axes=model.mirrored,
        overlap=model.overlap,
        turn=model.plan.turn,
        weight=model.weight,
        width=first_width(model.checkpoint.state_dict),
    )
