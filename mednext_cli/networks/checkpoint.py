"""Checkpoints: one file of tensors and plain types, safe to load from anybody."""

import logging
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mednext_cli import __version__
from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.networks.architecture import Architecture

logger = logging.getLogger(__name__)
FORMAT = "mednext checkpoint"
VERSION = 1
_REQUIRED = ("architecture", "state_dict", "progress", "metadata")
_AUXILIARY_HEADS = tuple(f"heads.{level}." for level in range(1, 5))
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights with all that is needed to use them or to train on.

    Attributes:
        architecture: what the network is made of.
        state_dict: its weights, on the CPU.
        plan: how its images were prepared, as JSON; None for imported weights.
        recipe: how it was trained, as JSON; None for imported weights.
        progress: epoch, iteration, best score, generator states: plain types and tensors.
        optimiser: the optimiser's state_dict; None once training is over.
        metadata: where it comes from: mednext and torch versions, source files.
    """

    architecture: Architecture
    state_dict: Mapping[str, Tensor]
    plan: dict[str, Any] | None = None
    recipe: dict[str, Any] | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    optimiser: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` is the old file or the whole new one, whatever happens.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
        TypeError: something in it is neither a tensor nor a plain type.
    """
    versions = {"mednext_version": __version__, "torch_version": str(torch.__version__)}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": checkpoint.architecture.to_json(),
        "state_dict": {name: _packed(value) for name, value in checkpoint.state_dict.items()},
        "plan": checkpoint.plan,
        "recipe": checkpoint.recipe,
        "progress": checkpoint.progress,
        "optimiser": checkpoint.optimiser,
        "metadata": {**checkpoint.metadata, **versions},
    }
    _check_plain(content, "checkpoint")
    # In memory first: torch turns a full disk into an error that does not say so.
    buffer = BytesIO()
    torch.save(content, buffer)
    # The view is given back at once: Python 3.12.1 crashes when it collects one in a cycle.
    with replacing(path) as beside, buffer.getbuffer() as view:
        beside.write_bytes(view)


def _packed(tensor: Tensor) -> Tensor:
    """On the CPU and in a storage of its own: a view would save all that it is a view of."""
    return tensor.detach().to("cpu").contiguous().clone()


def _check_plain(value: Any, where: str) -> None:  # noqa: ANN401 - anything may be handed in
    """`weights_only` refuses numpy scalars and objects: better now than when it is loaded."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            _check_plain(key, f"{where} key")
            _check_plain(one, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for index, one in enumerate(value):
            _check_plain(one, f"{where}[{index}]")
    elif type(value) not in _PLAIN and not isinstance(value, Tensor):
        raise TypeError(f"{where} is a {type(value).__name__}: neither a tensor nor a plain type")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours; no code in it can run.

    Raises:
        CheckpointError: missing, truncated, a pickle of somebody's objects, of another version,
            or no checkpoint of mednext.
    """
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a mednext checkpoint",
            f"Published weights are read by: mednext weights import {path} --out FILE",
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is of checkpoint version {content.get('version')}, this mednext reads "
            f"{VERSION}",
            "Use the mednext that wrote it, or train again.",
        )
    return _unpacked(path, content)


def _unpacked(path: Path, content: dict[str, Any]) -> Checkpoint:
    missing = [name for name in _REQUIRED if not isinstance(content.get(name), dict)]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}", "Take another copy of it.")
    try:
        architecture = Architecture.from_json(content["architecture"])
    except SettingsError as error:
        raise CheckpointError(f"{path}: {error.message}", error.remedy) from error
    return Checkpoint(
        architecture=architecture,
        state_dict=content["state_dict"],
        plan=content.get("plan"),
        recipe=content.get("recipe"),
        progress=content["progress"],
        optimiser=content.get("optimiser"),
        metadata=content["metadata"],
    )


def load_tensors(path: Path) -> Any:  # noqa: ANN401 - whatever somebody saved
    """What `torch.save` wrote, if it is tensors, plain types and numpy's numbers; on the CPU.

    Raises:
        CheckpointError: missing, unreadable, truncated, or holding other objects (which would run
            code of whoever made it).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below
            with torch.serialization.safe_globals(_numpy_numbers()):
                return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist", "Check the path.") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path} is a folder", f"Give a file in it, such as {path / 'checkpoint_last.pt'}."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "Check it.") from error
    except pickle.UnpicklingError as error:
        raise _refusal(path) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise _damage(path) from error


def _numpy_numbers() -> list[Any]:
    """What a numpy number is pickled as, under the names of numpy 1 and 2: data, no code.

    nnU-Net v1's ``.model`` files keep their losses and scores so.
    """
    import numpy as np
    from numpy._core.multiarray import scalar

    types = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *types, *((scalar, name) for name in names)]


def _refusal(path: Path) -> CheckpointError:
    """Why an unpickling error came up: a stranger's objects, or bytes that are no pickle."""
    with path.open("rb") as stream:
        start = stream.read(2)
    if start[:1] != b"\x80" and not zipfile.is_zipfile(path):
        return _damage(path)
    return CheckpointError(
        f"{path} is refused: it holds pickled Python objects, which could run any code when loaded",
        "Use a checkpoint of mednext, or weights saved as tensors only.",
    )


def _damage(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or no checkpoint at all", "Take another copy of it.")


def build_network(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's network with its weights, ready for evaluation (``eval``).

    Raises:
        CheckpointError: the weights do not fit the architecture.
        PluginError: the network comes from a package that is not installed.
    """
    network = build_plain(checkpoint.architecture)
    load_weights(network, checkpoint.state_dict)
    return network.eval()


def build_plain(architecture: Architecture) -> nn.Module:
    """A fresh network, from whichever package registered its name under `mednext.networks`.

    Raises:
        PluginError: nobody did.
    """
    return cast("nn.Module", load_plugin("networks", architecture.network)(architecture))


def load_weights(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Put weights in place, strictly but for the heads of deep supervision.

    Weights trained with these heads load into a network without them (they are dropped), and the
    other way round (fresh ones stay, which is noted).

    Raises:
        CheckpointError: anything else is missing, left over or of another shape.
    """
    expected = network.state_dict()
    given = {
        name: value
        for name, value in state_dict.items()
        if name in expected or not name.startswith(_AUXILIARY_HEADS)
    }
    fresh = {name for name in expected if name.startswith(_AUXILIARY_HEADS)}
    if fresh and fresh.isdisjoint(given):
        logger.info("the weights have no heads for deep supervision: fresh ones are used")
        given |= {name: expected[name] for name in fresh}
    check_fit(expected, given)
    network.load_state_dict(given)


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` unless `given` has the names and shapes of `expected`."""
    faults = [f"{name} is missing" for name in expected if name not in given]
    faults += [f"{name} is not known" for name in given if name not in expected]
    faults += [
        f"{name} has shape {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise CheckpointError(
            f"the weights do not fit the network: {faults[0]}{more}",
            "Use the size, kernel, channels and classes they were trained with.",
        )
