"""What computes logits from images: an entry point of the group `mednext.engines`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.sections import Operators, PredictionPrecision

_VOXELS_AT_ONCE = 2**19  # of a batch of tiles on an accelerator: enough to keep it busy
_MOST_TILES = 8
Activation = Literal["softmax", "sigmoid"]
"""What makes probabilities of logits: softmax over classes, sigmoid of each region by itself."""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine computes.

    Attributes:
        device: where.
        operators: auto, fused or stock, of engines that have a choice.
        precision: of the forward pass; auto is half precision on CUDA, as in training, and float32
            elsewhere.
        checkpoint_file: where the network comes from, for engines that use what lies beside it.
    """

    device: torch.device
    operators: Operators = "auto"
    precision: PredictionPrecision = "auto"
    checkpoint_file: Path | None = None


class Engine(Protocol):
    """A network ready to be called.

    It may say more of itself by attributes that are true: `runs_graphs` of one that takes only the
    patches of exported graphs, `runs_side_by_side` of one that several threads may call at once, in
    each of which it takes PyTorch's number of threads and gives the same bits by any.
    """

    @property
    def device(self) -> torch.device:
        """Where it takes images and leaves logits."""
        ...

    @property
    def activation(self) -> Activation:
        """What makes probabilities of its logits."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, D, H, W) to logits (B, K, D, H, W), both on the device.

        Called in PyTorch's inference mode. That the device has too little memory is left to be
        raised as PyTorch raises it: then fewer images are asked for.
        """
        ...


EngineMaker = Callable[[Checkpoint, Plan, EngineOptions], Engine]
"""Checkpoint, its plan and how to compute to an engine; a class will do."""


def runs_graphs(engine: Engine) -> bool:
    """Whether it takes only the patches of exported graphs."""
    return bool(getattr(engine, "runs_graphs", False))


def runs_side_by_side(engine: Engine) -> bool:
    """Whether several threads may call it at once, for the same results."""
    return bool(getattr(engine, "runs_side_by_side", False))


def activation_of(plan: Plan) -> Activation:
    """Of networks for a plan: regions may overlap, classes may not."""
    return "sigmoid" if plan.label_set.region_training else "softmax"


def tiles_at_once(device: torch.device, patch_voxels: Sequence[int]) -> int:
    """Tiles that an engine is called with.

    On a CPU one: eight of 32 x 48 x 32 took 2.6 times as long for each.
    """
    if device.type == "cpu":
        return 1
    return min(max(_VOXELS_AT_ONCE // prod(patch_voxels), 1), _MOST_TILES)


def build_engine(name: str, checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> Engine:
    """Build the engine of that name.

    Args:
        name: torch, openvino, onnx or a plugin's.
        checkpoint: the network.
        plan: of the checkpoint.
        options: how to compute.

    Raises:
        PluginError: there is no such engine. SettingsError: it cannot be used here.
    """
    maker = cast("EngineMaker", load_plugin("engines", name))
    return maker(checkpoint, plan, options)
