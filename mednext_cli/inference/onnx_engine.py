"""ONNX graphs in onnxruntime on the CPU; an optional extra.

PyTorch's exporter takes half a minute and more for a network, so that graphs are kept.
"""

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mednext_cli.foundation.devices import pick_dtype
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.engine import EngineOptions, activation_of
from mednext_cli.inference.kept_graphs import kept_path, open_or_make
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.onnx_graphs import (
    INPUT,
    OPSET,
    OUTPUT,
    REQUIRES,
    build_graph,
    check_onnx_is_there,
    open_graph,
)
from mednext_cli.networks.patches import Patch
from mednext_cli.settings.plan import Plan

logger = logging.getLogger(__name__)


class OnnxEngine:
    """The network's ONNX graph, exported the first time, float32.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes or regions; tiles have its patch.
        options: the device must be the CPU, the precision float32.

    Raises:
        SettingsError: the extra is not installed, the network cannot be exported, or another device
            or precision was asked for.
    """

    requires: ClassVar = REQUIRES
    runs_graphs: ClassVar = True

    def __init__(self, checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> None:
        if options.device.type != "cpu":
            raise SettingsError(
                f"the engine onnx computes on the CPU, not on {options.device}",
                "Use --engine torch.",
            )
        if pick_dtype(options.precision, options.device) is not torch.float32:
            raise SettingsError(
                f"the engine onnx computes in float32, not in {options.precision}",
                "Use --engine torch.",
            )
        check_onnx_is_there()
        self.device, self.activation = options.device, activation_of(plan)
        self._session = _open(checkpoint, plan.patch_voxels)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, D, H, W) to logits (B, K, D, H, W)."""
        # One by one: graphs for a single patch are for a single image, too.
        given = images.contiguous().numpy()
        parts = [self._session.run([OUTPUT], {INPUT: image[np.newaxis]})[0] for image in given]
        return torch.from_numpy(np.concatenate(parts))


def _open(checkpoint: Checkpoint, patch_voxels: Patch) -> Any:  # noqa: ANN401 - untyped
    def make() -> bytes:
        logger.info("exporting the network to ONNX, which is kept for the next time")
        graph = build_graph(build_network(checkpoint), checkpoint.network, patch_voxels)
        content: bytes = graph.SerializeToString()
        return content

    versions = [OPSET, str(torch.__version__)]
    settings = {"patch_voxels": patch_voxels, "versions": versions}
    return open_or_make(kept_path("onnx", checkpoint, settings), make, open_graph)
