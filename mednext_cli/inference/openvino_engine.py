"""OpenVINO on the CPU; an optional extra."""

import sys
import warnings
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.settings.plan import Plan

Array = NDArray[np.float32]


class OpenVinoEngine:
    """The network converted at run time, compiled once per tile shape.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes or regions.
        device: must be cpu.

    Raises:
        SettingsError: OpenVINO is not installed, or another device was asked for.
    """

    requires: ClassVar = {"openvino": "mednext[openvino]"}

    def __init__(self, checkpoint: Checkpoint, plan: Plan, device: str) -> None:
        if device != "cpu":
            raise SettingsError(
                f"the engine openvino computes on the CPU, not on {device}", "Use --engine torch."
            )
        # OpenVINO would report its use to its makers, from a forked process, which can deadlock
        # with the threads that prepare the next case. Without the package it keeps quiet.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            self._openvino: Any = import_module("openvino")
        except ImportError as error:
            raise SettingsError(
                "the engine openvino is not installed",
                "Install it with pip install 'mednext[openvino]', or use --engine torch.",
            ) from error
        self._network = _WithProbabilities(
            build_network(checkpoint), plan.label_set.region_training
        ).eval()
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Array) -> Array:
        """Images (B, C, D, H, W) to probabilities (B, K, D, H, W)."""
        if images.shape not in self._compiled:
            self._compiled[images.shape] = self._compile(images.shape)
        result = self._compiled[images.shape](np.ascontiguousarray(images))
        found: Array = np.array(result[0], dtype=np.float32)
        return found

    def _compile(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - openvino is untyped
        with torch.inference_mode(), warnings.catch_warnings():
            # Tracing warns of our checks of the shape, which is fixed here.
            warnings.simplefilter("ignore")
            model = self._openvino.convert_model(
                self._network, example_input=torch.zeros(shape), input=[list(shape)]
            )
        # Full precision: bfloat16, its default on processors that have it, shifts probabilities.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        return self._openvino.compile_model(model, "CPU", options)


class _WithProbabilities(nn.Module):
    def __init__(self, network: nn.Module, regions: bool) -> None:
        super().__init__()
        self._network, self._regions = network, regions

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images)
        return logits.sigmoid() if self._regions else logits.softmax(1)
