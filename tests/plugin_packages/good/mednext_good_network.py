"""A stranger's network, of another shape than ours, an engine that runs it, a term of the loss."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.engine import EngineOptions, activation_of
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.family import NetworkFamily, NetworkSettings
from mednext_cli.settings.plan import Plan
from mednext_cli.training.losses.prediction import Prediction
from mednext_cli.training.losses.term import TermOptions

_STEP = 32


class Pyramid(nn.Module):
    """Reduces its input 32-fold in one step, so every axis must be a multiple of 32."""

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(in_channels, width, 3, padding=1)
        self.down = nn.Conv3d(width, width, _STEP, stride=_STEP, groups=width)
        self.up = nn.ConvTranspose3d(width, width, _STEP, stride=_STEP, groups=width)
        self.head = nn.Conv3d(width, out_channels, 1)

    def forward(self, x: Tensor, deep_supervision: bool = False) -> Tensor | list[Tensor]:
        if any(size % _STEP for size in x.shape[2:]):
            raise ValueError(f"an input of {tuple(x.shape[2:])} voxels")
        features = functional.relu(self.stem(x))
        logits: Tensor = self.head(features + self.up(self.down(features)))
        return [logits, functional.avg_pool3d(logits, 2)] if deep_supervision else logits


class PyramidSettings(NetworkSettings):
    """The table `[model.pyramid]`."""

    width: int = Field(default=4, ge=1, le=64)


class PyramidFamily(NetworkFamily[PyramidSettings]):
    """A stranger's networks."""

    name = "pyramid"
    Settings = PyramidSettings
    deep_supervision = True
    runs_without_memory = True

    def build(
        self, settings: PyramidSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> Pyramid:
        return Pyramid(in_channels, out_channels, settings.width)

    def divisor(self, settings: PyramidSettings) -> int:
        return _STEP

    def label(self, settings: PyramidSettings) -> str:
        return f"pyramid-w{settings.width}"


PYRAMID = PyramidFamily()


class PlainEngine:
    """One tile after the other, in float32 on the CPU."""

    def __init__(self, checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> None:
        if options.device.type != "cpu":
            raise SettingsError("the engine plain computes on the CPU", "Add --device cpu.")
        self.device, self.activation = options.device, activation_of(plan)
        self._network = build_network(checkpoint)

    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self._network(image[None]) for image in images])


class Brier:
    """Squared error of the foreground's probabilities."""

    def __init__(self, options: TermOptions) -> None:
        self._weights = options.settings.class_weights

    def __call__(self, prediction: Prediction) -> Tensor:
        wrong = prediction.foreground - prediction.foreground_targets.float()
        return prediction.mean(wrong.square().mean(dim=1))
