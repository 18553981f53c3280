"""Checkpoints as safetensors files: the weights, and all that is said of them as JSON beside them.

No pickle, and readable from other languages; the optimiser's state stays behind.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mednext_cli.foundation.files import replacing
from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.tensor_files import damage
from mednext_cli.networks.weight_files import unreadable

SUFFIX = ".safetensors"
_DESCRIPTION, _CHECKSUM = "mednext", "mednext_sha256"


def write_safetensors(
    path: Path,
    weights: Mapping[str, Tensor],
    description: Mapping[str, Any],
    facts: Mapping[str, str],
) -> None:
    """Replace `path` by weights with their description.

    Args:
        path: the file.
        weights: on the CPU.
        description: of the checkpoint without its tensors, in plain types.
        facts: further entries of the file's metadata, for other readers.

    Raises:
        StorageError: the disk refuses.
    """
    from safetensors.torch import save

    text = json.dumps(description)
    metadata = {**facts, _DESCRIPTION: text, _CHECKSUM: _checksum(weights, text)}
    # Copies: the format refuses tensors that share memory. In memory first, see `write_weights`.
    content = save({name: value.contiguous().clone() for name, value in weights.items()}, metadata)
    with replacing(path) as beside:
        beside.write_bytes(content)


def _checksum(weights: Mapping[str, Tensor], text: str) -> str:
    return hashlib.sha256(f"{hash_weights(weights)} {text}".encode()).hexdigest()


def read_safetensors(path: Path) -> Any:  # noqa: ANN401 - whatever somebody's description holds
    """The description with the weights as its `state_dict`; None where the file has none.

    Raises:
        CheckpointError: missing, damaged, or changed since it was written.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names}
        if (text := metadata.get(_DESCRIPTION)) is None:
            return None
        content = json.loads(text)
    except Exception as error:  # whatever a parser trips over, the file is to blame
        raise unreadable(path, error) from error
    if metadata.get(_CHECKSUM) != _checksum(weights, text):
        raise damage(path, "its content does not match its checksum")
    return {**content, "state_dict": weights} if isinstance(content, dict) else None
