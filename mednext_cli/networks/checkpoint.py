"""Checkpoints: one file of tensors and plain types, safe to load from anybody."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from mednext_cli import __version__
from mednext_cli.foundation.errors import CheckpointError, PluginError, SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.names import shown
from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.foundation.seal import SEAL_BYTES, seal
from mednext_cli.networks.mednext.architecture import OWN_NETWORK, Architecture
from mednext_cli.networks.tensor_files import check_texts, load_tensors
from mednext_cli.settings.migrations import checkpoint_from_1
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.reading import (
    VERSION,
    ImpossibleValueError,
    Value,
    is_known,
    note_older,
    read_value,
)
from mednext_cli.settings.recipe import Recipe

logger = logging.getLogger(__name__)
FORMAT = "mednext checkpoint"
_REQUIRED = ("architecture", "state_dict", "progress", "metadata")
_OPTIONAL = ("plan", "recipe", "origin", "optimiser")
_NO_COMMENT = b"\0\0"  # the length of the comment, last in a zip archive
_AUXILIARY_HEADS = tuple(f"heads.{level}." for level in range(1, 5))
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OTHER_COPY = "Take another copy of it."
_OTHER_FILE = "Take another copy of it, or use the version of mednext that wrote it."
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights with all that is needed to use them or to train on.

    Attributes:
        architecture: what the network is made of.
        state_dict: its weights, on the CPU.
        plan: how its images were prepared; None for imported weights.
        recipe: how it was trained; None for imported weights.
        progress: how far training has come.
        origin: what training began with; None for imported weights.
        optimiser: the optimiser's state_dict; None once training is over.
        metadata: where it comes from: mednext and torch versions, source files.
    """

    architecture: Architecture
    state_dict: Mapping[str, Tensor]
    plan: Plan | None = None
    recipe: Recipe | None = None
    progress: Progress = field(default_factory=Progress)
    origin: Origin | None = None
    optimiser: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs are done."""
        return self.recipe is not None and self.progress.epochs >= self.recipe.training.epochs


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
        "plan": _plain(checkpoint.plan),
        "recipe": _plain(checkpoint.recipe),
        "progress": _plain(checkpoint.progress),
        "origin": _plain(checkpoint.origin),
        "optimiser": checkpoint.optimiser,
        "metadata": {**checkpoint.metadata, **versions},
    }
    _check_plain(content, "checkpoint")
    # In memory first: torch turns a full disk into an error that does not say so.
    buffer = BytesIO()
    torch.save(content, buffer)
    _seal(buffer)
    # The view is given back at once: Python 3.12.1 crashes when it collects one in a cycle.
    with replacing(path) as beside, buffer.getbuffer() as view:
        beside.write_bytes(view)


def _plain(value: BaseModel | None) -> dict[str, Any] | None:
    return None if value is None else value.model_dump(mode="json")


def _seal(buffer: BytesIO) -> None:
    """End the zip archive with a comment, which is a checksum of every byte before it."""
    buffer.seek(-len(_NO_COMMENT), SEEK_END)
    if buffer.read() != _NO_COMMENT:
        raise RuntimeError("torch.save no longer writes a zip archive without a comment")
    buffer.seek(-len(_NO_COMMENT), SEEK_END)
    buffer.write(SEAL_BYTES.to_bytes(len(_NO_COMMENT), "little"))
    with buffer.getbuffer() as view:
        checksum = seal(view)
    buffer.write(checksum)


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
    """Read a checkpoint of ours; no code in it can run, and no byte of it has changed.

    All that it says is checked here: an architecture within bounds, weights that fit it and are
    finite, plan, recipe and progress. Version 1 is read, too.

    Raises:
        CheckpointError: missing, damaged, a pickle of somebody's objects, of another version, or
            no checkpoint of mednext; or holding what cannot be.
    """
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a mednext checkpoint",
            f"Published weights are read by: mednext weights import {path} --out FILE",
        )
    if not is_known(version := content.get("version")):
        raise CheckpointError(
            f"{path} is of checkpoint version {shown(version)}, this mednext reads 1 to {VERSION}",
            "Use the mednext that wrote it, or train again.",
        )
    loaded = _unpacked(path, content)
    note_older(content["version"], path)
    return loaded


def _unpacked(path: Path, content: dict[str, Any]) -> Checkpoint:
    missing = [name for name in _REQUIRED if not isinstance(content.get(name), dict)]
    missing += [name for name in _OPTIONAL if not isinstance(content.get(name), dict | type(None))]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}", "Take another copy of it.")
    if content["version"] == 1:
        content = checkpoint_from_1(content)
    try:
        check_texts({name: one for name, one in content.items() if name != "optimiser"})
        architecture = Architecture.from_json(content["architecture"])
        check_weights(architecture, content["state_dict"])
        load_plugin("networks", architecture.network)
    except (SettingsError, CheckpointError, PluginError) as error:
        raise CheckpointError(f"{path}: {error.message}", error.remedy) from error
    return Checkpoint(
        architecture=architecture,
        state_dict=content["state_dict"],
        plan=_plan(path, content.get("plan"), architecture),
        recipe=_optional(path, Recipe, content.get("recipe")),
        progress=_read(path, Progress, content["progress"]),
        origin=_optional(path, Origin, content.get("origin")),
        optimiser=content.get("optimiser"),
        metadata=content["metadata"],
    )


def _optional(path: Path, kind: type[Value], values: dict[str, Any] | None) -> Value | None:
    return None if values is None else _read(path, kind, values)


def _read(path: Path, kind: type[Value], values: dict[str, Any]) -> Value:
    try:
        return read_value(kind, values)
    except ImpossibleValueError as error:
        raise CheckpointError(
            f"{path}: its {kind.__name__.lower()} cannot be: {error}", _OTHER_FILE
        ) from error


def _plan(path: Path, values: dict[str, Any] | None, architecture: Architecture) -> Plan | None:
    """The plan, if it fits the network."""
    if (plan := _optional(path, Plan, values)) is None:
        return None
    pairs = (
        ("channels", len(plan.channels), architecture.in_channels),
        ("outputs", plan.output_channels, architecture.out_channels),
    )
    for what, planned, built in pairs:
        if planned != built:
            raise CheckpointError(
                f"{path} contradicts itself: its plan has {planned} {what}, its network {built}",
                _OTHER_FILE,
            )
    return plan


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
        CheckpointError: anything else is missing, left over or of another shape or type.
    """
    expected = network.state_dict()
    given = _without_surplus_heads(expected, state_dict)
    fresh = {name for name in expected if name.startswith(_AUXILIARY_HEADS)}
    if fresh and fresh.isdisjoint(given):
        logger.info("the weights have no heads for deep supervision: fresh ones are used")
        given |= {name: expected[name] for name in fresh}
    check_fit(expected, given)
    network.load_state_dict(given)


def _without_surplus_heads(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in given.items()
        if name in expected or not name.startswith(_AUXILIARY_HEADS)
    }


def check_weights(architecture: Architecture, state_dict: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a network can have these weights; nothing large is built.

    Networks of other packages are only built, and compared, when they are used.
    """
    check_dense(state_dict)
    if architecture.network != OWN_NETWORK:
        return
    expected = expected_weights(architecture)
    given = _without_surplus_heads(expected, state_dict)
    heads = {name for name in expected if name.startswith(_AUXILIARY_HEADS)}
    if heads.isdisjoint(given):
        expected = {name: value for name, value in expected.items() if name not in heads}
    check_fit(expected, given)


def check_dense(state_dict: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless all are tensors of finite floating-point numbers."""
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"weight {shown(name)} is no tensor", _OTHER_COPY)
        if value.dtype not in _WEIGHT_TYPES:
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(f"weight {name} is of type {kind}, not floating", _OTHER_COPY)
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"weight {name} holds a value that is not finite",
                "The training it comes from went wrong: use an earlier checkpoint.",
            )


def expected_weights(architecture: Architecture) -> dict[str, Tensor]:
    """Names and shapes of a network's weights, without memory for them (device "meta")."""
    with torch.device("meta"):
        return build_plain(architecture).state_dict()


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
