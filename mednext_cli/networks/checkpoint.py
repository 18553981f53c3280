"""Checkpoints: one file of tensors and plain types, safe to load from anybody."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from mednext_cli import __version__
from mednext_cli.foundation.errors import CheckpointError, MednextError, PluginError, SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.names import shown
from mednext_cli.foundation.seal import SEAL_BYTES, seal
from mednext_cli.networks.building import build_plain, check_weights, load_weights
from mednext_cli.networks.choice import completed
from mednext_cli.networks.safetensors_files import SUFFIX, read_safetensors
from mednext_cli.networks.spec import NetworkSpec, read_spec
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
_REQUIRED = ("network", "state_dict", "progress", "metadata")
_OPTIONAL = ("plan", "recipe", "origin", "optimiser")
_NO_COMMENT = b"\0\0"  # the length of the comment, last in a zip archive
_OTHER_FILE = "Take another copy of it, or use the version of mednext that wrote it."
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights with all that is needed to use them or to train on.

    Attributes:
        network: which one, and what it is built from.
        state_dict: its weights, on the CPU.
        plan: how its images were prepared; None for imported weights.
        recipe: how it was trained; None for imported weights.
        progress: how far training has come.
        origin: what training began with; None for imported weights.
        optimiser: the optimiser's state_dict; None once training is over.
        metadata: where it comes from: mednext and torch versions, source files.
    """

    network: NetworkSpec
    state_dict: Mapping[str, Tensor]
    plan: Plan | None = None
    recipe: Recipe | None = None
    progress: Progress = field(default_factory=Progress)
    origin: Origin | None = None
    optimiser: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs, or its minutes, are over."""
        return self.recipe is not None and self.progress.is_finished(self.recipe.training)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` is the old file or the whole new one, whatever happens.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
        TypeError: something in it is neither a tensor nor a plain type.
    """
    content = {
        **describe_checkpoint(checkpoint),
        "state_dict": {name: _packed(value) for name, value in checkpoint.state_dict.items()},
        "optimiser": checkpoint.optimiser,
    }
    _check_plain(content, "checkpoint")
    # In memory first: torch turns a full disk into an error that does not say so.
    buffer = BytesIO()
    torch.save(content, buffer)
    _seal(buffer)
    # The view is given back at once: Python 3.12.1 crashes when it collects one in a cycle.
    with replacing(path) as beside, buffer.getbuffer() as view:
        beside.write_bytes(view)


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """All of a checkpoint but its tensors, in plain types."""
    versions = {"mednext_version": __version__, "torch_version": str(torch.__version__)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": checkpoint.network.dump(),
        "plan": _plain(checkpoint.plan),
        "recipe": _plain(checkpoint.recipe),
        "progress": _plain(checkpoint.progress),
        "origin": _plain(checkpoint.origin),
        "metadata": {**checkpoint.metadata, **versions},
    }


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
        for key, inner in value.items():
            _check_plain(key, f"{where} key")
            _check_plain(inner, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for index, inner in enumerate(value):
            _check_plain(inner, f"{where}[{index}]")
    elif type(value) not in _PLAIN and not isinstance(value, Tensor):
        raise TypeError(f"{where} is a {type(value).__name__}: neither a tensor nor a plain type")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours; no code in it can run, and no byte of it has changed.

    All that it says is checked here: a network within bounds, weights that fit it and are finite,
    plan, recipe and progress. Version 1 is read, too, and what `mednext export --to safetensors`
    wrote.

    Raises:
        CheckpointError: missing, damaged, a pickle of somebody's objects, of another version, or
            no checkpoint of mednext; or holding what cannot be.
    """
    content = read_safetensors(path) if path.suffix == SUFFIX else load_tensors(path)
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
    first = content["version"] == 1
    required = ("architecture", *_REQUIRED[1:]) if first else _REQUIRED
    missing = [name for name in required if not isinstance(content.get(name), dict)]
    missing += [name for name in _OPTIONAL if not isinstance(content.get(name), dict | type(None))]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}", "Take another copy of it.")
    if first:
        content = checkpoint_from_1(content)
    try:
        check_texts({name: inner for name, inner in content.items() if name != "optimiser"})
        network = read_spec(content["network"])
        check_weights(network, content["state_dict"])
    except (SettingsError, CheckpointError, PluginError) as error:
        raise CheckpointError(f"{path}: {error.message}", error.remedy) from error
    return Checkpoint(
        network=network,
        state_dict=content["state_dict"],
        plan=_plan(path, content.get("plan"), network),
        recipe=_recipe(path, content.get("recipe"), network),
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


def _recipe(path: Path, values: dict[str, Any] | None, network: NetworkSpec) -> Recipe | None:
    """The recipe, if it is of this network, and the network's own table can be."""
    if (recipe := _optional(path, Recipe, values)) is None:
        return None
    if recipe.model.network != network.name:
        raise CheckpointError(
            f"{path} contradicts itself: its recipe is of the network {recipe.model.network}, its "
            f"weights of {network.name}",
            _OTHER_FILE,
        )
    try:
        return completed(recipe)
    except MednextError as error:
        raise CheckpointError(
            f"{path}: its recipe cannot be: {error.message}", _OTHER_FILE
        ) from error


def _plan(path: Path, values: dict[str, Any] | None, network: NetworkSpec) -> Plan | None:
    """The plan, if it fits the network."""
    if (plan := _optional(path, Plan, values)) is None:
        return None
    pairs = (
        ("channels", len(plan.channels), network.in_channels),
        ("outputs", plan.output_channels, network.out_channels),
    )
    for what, planned, built in pairs:
        if planned != built:
            raise CheckpointError(
                f"{path} contradicts itself: its plan has {planned} {what}, its network {built}",
                _OTHER_FILE,
            )
    if problem := network.patch_rule.problem(plan.patch_voxels):
        raise CheckpointError(f"{path} contradicts itself: its plan has {problem}", _OTHER_FILE)
    return plan


def build_network(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's network with its weights, ready for evaluation (``eval``).

    Raises:
        CheckpointError: the weights do not fit the network.
        PluginError: the network comes from a package that is not installed.
    """
    network = build_plain(checkpoint.network)
    load_weights(network, checkpoint.network, checkpoint.state_dict)
    return network.eval()
