"""Files of bare weights, in and out; no pickle is ever run."""

import math
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.names import shown
from mednext_cli.networks.tensor_files import load_tensors

_HOLDERS = ("state_dict", "network_weights", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "param/", "buffer/")
_DEEPEST = 5
_MOST_INFLATED = 20  # numbers of trained weights hardly shrink at all
_NPY_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
_WRITTEN = (".safetensors", ".pt", ".pth", ".npz")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors``, ``.npz`` or ``torch.save`` file.

    A `torch.save` file may be the state dict itself or hold it under ``state_dict`` (as nnU-Net
    v1's ``.model`` files do), ``network_weights`` (nnU-Net v2), ``model``, ``model_state_dict`` or
    ``net``, also one in the other. Prefixes of DistributedDataParallel, torch.compile, wrappers
    that call it their model, and of our reference files go, however often they come.

    Raises:
        CheckpointError: missing, damaged, unsafe, or without tensors.
    """
    if path.suffix == ".safetensors":
        weights = _read_safetensors(path)
    elif path.suffix == ".npz":
        weights = _read_npz(path)
    else:
        weights = _state_dict(path, load_tensors(path))
    bare = {_bare(name): value for name, value in weights.items()}
    if len(bare) != len(weights):
        raise CheckpointError(
            f"{path} holds the same weights twice, with and without a prefix",
            "Save the state_dict of one network.",
        )
    return bare


def _bare(name: str) -> str:
    while True:
        shorter = name
        for prefix in _PREFIXES:
            shorter = shorter.removeprefix(prefix)
        if shorter == name:
            return name
        name = shorter


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:  # whatever the parser trips over, the file is to blame
        raise unreadable(path, error) from error


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    try:
        _check_npz(path)
        with np.load(path, allow_pickle=False) as archive:
            ours = ("param/", "buffer/")  # of our reference files, which hold images, too
            names = [name for name in archive.files if name.startswith(ours)] or archive.files
            return {name: torch.from_numpy(archive[name]) for name in names}
    except Exception as error:  # whatever the parser trips over, the file is to blame
        raise unreadable(path, error) from error


def _check_npz(path: Path) -> None:
    """Refuse arrays that are larger than weights can be: see what each claims, before it is made.

    Raises:
        ValueError: an array's header claims more than its member holds, or all are far larger
            than the file.
    """
    import numpy as np

    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        if sum(member.file_size for member in members) > _MOST_INFLATED * path.stat().st_size:
            raise ValueError("its arrays are far larger than the file")
        for member in members:
            with file.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = _NPY_HEADERS[version]
                shape, _, kind = getattr(np.lib.format, read)(stream)
                if kind.hasobject or math.prod(shape) * kind.itemsize > member.file_size:
                    raise ValueError(f"{shown(member.filename)} claims more than it holds")


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that a parser tripped over."""
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"{path} does not exist", "Check the path.")
    reason = error.strerror if isinstance(error, OSError) else error
    why = shown(reason, longest=200).strip("'\"")
    return CheckpointError(f"{path} cannot be read: {why}", "Take another copy of it.")


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:  # noqa: ANN401 - a stranger's file
    inner = content
    for _ in range(_DEEPEST):
        held = [inner[key] for key in _HOLDERS if isinstance(inner, dict) and key in inner]
        nested = [table for table in held if isinstance(table, dict)]
        if not nested:
            break
        inner = nested[0]
    if not isinstance(inner, dict):
        raise CheckpointError(f"{path} holds no state_dict", "Save the network's state_dict.")
    weights = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{path} holds no tensors", "Save the network's state_dict.")
    return weights


def write_weights(path: Path, weights: Mapping[str, Tensor], entry: str | None = None) -> None:
    """Write bare weights in the format of the suffix.

    Args:
        path: the file.
        weights: by name.
        entry: of a `torch.save` file, which holds them under this name; None where it is they.

    Raises:
        SettingsError: the suffix is none of .safetensors, .pt, .pth and .npz.
        StorageError: the disk is full, read-only or forbidden.
    """
    if path.suffix not in _WRITTEN:
        raise SettingsError(
            f"{path} has no suffix that says the format", f"Use one of {', '.join(_WRITTEN)}."
        )
    # In memory first: the libraries turn a full disk into errors that do not say so.
    content = _serialise(path.suffix, weights, entry)
    with replacing(path) as beside:
        beside.write_bytes(content)


def _serialise(suffix: str, weights: Mapping[str, Tensor], entry: str | None) -> bytes:
    if suffix == ".safetensors":
        from safetensors.torch import save

        # Copies: the format refuses tensors that share memory, as those with two names do.
        return save({name: value.clone() for name, value in weights.items()})
    buffer = BytesIO()
    if suffix == ".npz":
        import numpy as np

        np.savez(buffer, allow_pickle=False, **{n: v.numpy() for n, v in weights.items()})
    else:
        torch.save({entry: dict(weights)} if entry else dict(weights), buffer)
    return buffer.getvalue()
