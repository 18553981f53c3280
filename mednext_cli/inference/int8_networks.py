"""Networks in int8, as `mednext export --precision int8` leaves them beside their checkpoints."""

import hashlib
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import hash_file
from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.checkpoint import Checkpoint

SUFFIX = "_openvino_int8"
GRAPH = "network.xml"
WEIGHTS = "weights_sha256"
"""Entry of the graph's facts: hash of the float32 weights that it was made of."""


def int8_folder(checkpoint_file: Path) -> Path:
    """Where the network of a checkpoint is looked for."""
    return checkpoint_file.parent / "export" / f"{checkpoint_file.stem}{SUFFIX}"


def hash_int8(checkpoint_file: Path) -> str:
    """Hash of a checkpoint's network in int8, which differs with what it was calibrated on.

    Raises:
        SettingsError: there is none.
    """
    graph = _graph_file(checkpoint_file)
    weights = graph.with_suffix(".bin")
    parts = [hash_file(path) if path.is_file() else "" for path in (graph, weights)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_int8(openvino: Any, checkpoint: Checkpoint, checkpoint_file: Path) -> Any:  # noqa: ANN401
    """A checkpoint's network in int8, as OpenVINO's graph.

    Args:
        openvino: the package, which is untyped.
        checkpoint: the network.
        checkpoint_file: where it comes from.

    Raises:
        SettingsError: there is none, it is damaged, or was made of other weights.
    """
    path = _graph_file(checkpoint_file)
    try:
        graph = openvino.Core().read_model(path)
        made_of = graph.get_rt_info(["mednext", WEIGHTS]).astype(str)
    except RuntimeError as error:
        raise SettingsError(f"{path} is damaged", _remedy(checkpoint_file)) from error
    if made_of != hash_weights(checkpoint.state_dict):
        raise SettingsError(
            f"{path} was made of other weights than {checkpoint_file} has", _remedy(checkpoint_file)
        )
    return graph


def _graph_file(checkpoint_file: Path) -> Path:
    path = int8_folder(checkpoint_file) / GRAPH
    if not path.is_file():
        raise SettingsError(
            f"{checkpoint_file} has no network in int8 beside it, {path.parent}",
            _remedy(checkpoint_file),
        )
    return path


def _remedy(checkpoint_file: Path) -> str:
    return (
        f"Make it with mednext export {checkpoint_file} --to openvino --precision int8 "
        "--calibrate CACHE/NAME."
    )
