"""ONNX graphs in onnxruntime on the CPU; an optional extra.

PyTorch's exporter takes half a minute and more for a network, so that graphs are kept in the user's
cache folder, one for each network's weights and what wrote it.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mednext_cli import __version__
from mednext_cli.foundation.devices import pick_dtype
from mednext_cli.foundation.errors import SettingsError, StorageError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.locks import locked, remove_lock
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.inference.engine import EngineOptions, activation_of
from mednext_cli.networks.building import hash_weights
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
    path = _kept_path(checkpoint, patch_voxels)
    if (session := _open_kept(path)) is not None:
        return session
    try:
        with locked(path.parent):
            if (session := _open_kept(path)) is None:
                content = _build(checkpoint, patch_voxels)
                with replacing(path) as beside:
                    beside.write_bytes(content)
                session = open_graph(content)
            remove_lock(path.parent)
            return session
    except StorageError as error:
        logger.warning("%s: the graph is not kept", error.message)
    return open_graph(_build(checkpoint, patch_voxels))


def _open_kept(path: Path) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        return open_graph(str(path))
    except Exception:  # onnxruntime's errors have no class in common
        logger.warning("%s is damaged: it is made anew", path)
        return None


def _build(checkpoint: Checkpoint, patch_voxels: Patch) -> bytes:
    logger.info("exporting the network to ONNX, which is kept for the next time")
    graph = build_graph(build_network(checkpoint), checkpoint.network, patch_voxels)
    content: bytes = graph.SerializeToString()
    return content


def _kept_path(checkpoint: Checkpoint, patch_voxels: Patch) -> Path:
    """Of all that the graph depends on."""
    key = {
        "network": checkpoint.network.dump(),
        "weights": hash_weights(checkpoint.state_dict),
        "patch_voxels": patch_voxels,
        "versions": [OPSET, __version__, str(torch.__version__)],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return user_cache_folder() / "onnx" / digest / "network.onnx"
