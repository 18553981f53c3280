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
_METADATA = "__metadata__"  # in the header, which begins with its length and ends aligned
_LENGTH_BYTES = _ALIGNMENT_BYTES = 8


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
        beside.write_bytes(_in_order(content))


def _in_order(content: bytes) -> bytes:
    """The same file, its metadata sorted: the library has them in another order each time."""
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:start])
    header[_METADATA] = dict(sorted(header[_METADATA].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content[start:]


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
