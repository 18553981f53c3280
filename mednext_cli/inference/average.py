"""Networks that are averaged, and what becomes of one prepared image with them."""

from collections.abc import Callable, Sequence
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
    tiles_at_once,
)
from mednext_cli.inference.models import Model
from mednext_cli.inference.sliding import count_tiles, predict_probabilities
from mednext_cli.inference.tiles import predict_tiles
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.turning import UNTURNED, Turn

Array = NDArray[np.float32]
Advance = Callable[[int, str], None]
"""Told how many tiles more are done, and which network's where there are several."""
Single = Callable[[Array, float], None]
"""Told what one network gave, (K, D, H, W), and its share of the average."""


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
    """

    engine: Engine
    patch_voxels: tuple[int, int, int]
    mirror_axes: tuple[int, ...]
    overlap: float
    turn: Turn = UNTURNED
    weight: float = 1.0

    @property
    def batch(self) -> int:
        """Tiles at once."""
        return tiles_at_once(self.engine.device, self.patch_voxels)

    def count_tiles(self, shape: Sequence[int]) -> int:
        """Tiles and mirrorings of an image of this shape (D, H, W)."""
        turned, mirrored = self.turn.triple(shape), self.turn.axes(self.mirror_axes)
        return count_tiles(turned, self.patch_voxels, mirrored, self.overlap)


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

    def predict(
        self,
        image: Array,
        name: str,
        advance: Advance | None = None,
        single: Single | None = None,
    ) -> Array:
        """Probabilities averaged over tiles, mirrorings and networks.

        Args:
            image: (C, D, H, W), prepared as the plan says.
            name: of the case, for errors.
            advance: told of every few tiles.
            single: told of every network by itself.

        Returns:
            (K, D, H, W) on the prepared grid: classes with the background, or regions.

        Raises:
            CheckpointError: the networks give NaN. SettingsError: the device has too little memory
                for a single tile. PluginError: an engine gives what is no answer.
            MemoryError: there is too little main memory for the image.
        """
        total: Array | None = None
        weights = sum(member.weight for member in self.members)
        for number, member in enumerate(self.members, start=1):
            note = f", model {number}" if len(self.members) > 1 else ""
            found = self._predict_with(member, image, note, advance)
            if single is not None:
                single(found, member.weight / weights)
            if member.weight != 1:
                found *= np.float32(member.weight)
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None  # noqa: S101 - there is always one network
        total /= np.float32(weights)
        if not np.isfinite(total.sum(dtype=np.float64)):
            raise CheckpointError(
                f"the network gives NaN for {name}", "Its weights are broken: train it again."
            )
        return total

    def _predict_with(
        self, member: Member, image: Array, note: str, advance: Advance | None
    ) -> Array:
        said = 0

        def report(done: int, _: int) -> None:
            nonlocal said
            if advance is not None:
                advance(done - said, note)
            said = done

        found = predict_probabilities(
            partial(predict_tiles, member.engine, outputs=self.plan.output_channels),
            np.ascontiguousarray(member.turn.array(image)),
            member.patch_voxels,
            member.turn.axes(member.mirror_axes),
            member.overlap,
            member.batch,
            report,
        )
        return np.ascontiguousarray(member.turn.array_back(found))


def build_average(models: Sequence[Model], engine: str, options: EngineOptions) -> NetworkAverage:
    """Make networks ready for prediction.

    Args:
        models: loaded together (`models.load_models`).
        engine: torch, openvino, onnx or a plugin's.
        options: how it computes.

    Raises:
        PluginError: there is no such engine. SettingsError: it cannot be used here.
    """
    members = (
        Member(
            engine=build_engine(
                *(engine, model.checkpoint, model.plan),
                replace(options, checkpoint_file=model.path),
            ),
            patch_voxels=model.plan.patch_voxels,
            mirror_axes=model.mirrored,
            overlap=model.overlap,
            turn=model.plan.turn,
            weight=model.weight,
        )
        for model in models
    )
    return NetworkAverage(tuple(members), models[0].plan)
