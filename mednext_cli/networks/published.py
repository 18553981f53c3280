"""Published weights as checkpoints of ours, and back, for every family that has any."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError, MednextError
from mednext_cli.foundation.names import LONGEST, shown
from mednext_cli.networks.building import check_dense, check_fit, expected_weights, without_counters
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.family import NetworkSettings, PublishedNetwork
from mednext_cli.networks.registry import Family, find_family
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.networks.weight_files import read_weights, write_weights
from mednext_cli.settings.problems import first_problem
from mednext_cli.settings.recipe import DEFAULT_NETWORK

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def import_weights(
    path: Path, network: str = DEFAULT_NETWORK, said: Mapping[str, Any] = _NOTHING
) -> Checkpoint:
    """A checkpoint of ours from a file of published weights.

    Args:
        path: the file; see `read_weights`.
        network: name of the family.
        said: values of its settings, for what the shapes of the weights do not tell; weights of
            others are refused.

    Raises:
        CheckpointError: not weights of that family, or of other settings.
        SettingsError: `said` holds what cannot be, or nothing of the family is published.
        PluginError: there is no such family, or what it builds with is not installed.
    """
    family = find_family(network)
    # Counters and tables of indices, which published networks keep beside their weights.
    held = read_weights(path)
    weights = {name: value for name, value in held.items() if value.dtype != torch.int64}
    try:
        check_dense(weights)
        found = _read(family, weights, said)
        spec = NetworkSpec(
            network, found.settings, found.in_channels, found.out_channels, found.deep_supervision
        )
        state_dict = without_counters(found.state_dict)
        check_fit(expected_weights(spec), state_dict)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.message}", error.remedy) from error
    return Checkpoint(spec, state_dict, metadata={"imported_from": shown(path.name, LONGEST)[1:-1]})


def _read(
    family: Family, weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[NetworkSettings]:
    """What the family reads off the weights; it stumbles over those of another network."""
    try:
        found: PublishedNetwork[NetworkSettings] = family.read_published(weights, said)
    except MednextError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise CheckpointError(
            f"these are not weights of {family.name} as published ({reason})",
            "Give the state_dict of its network, or another --network.",
        ) from error
    return found


def import_file(
    path: Path,
    out: Path,
    network: str = DEFAULT_NETWORK,
    said: Mapping[str, Any] = _NOTHING,
) -> Checkpoint:
    """Write what `import_weights` makes of `path` as a checkpoint.

    Raises:
        CheckpointError, SettingsError, PluginError: see `import_weights`.
        StorageError: the disk is full, read-only or forbidden.
    """
    checkpoint = import_weights(path, network, said)
    save_checkpoint(out, checkpoint)
    return checkpoint


def export_weights(path: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Write a checkpoint's weights under the published names, in the format of the suffix.

    In a `torch.save` file they lie where the published code looks for them.

    Returns:
        What was written.

    Raises:
        SettingsError: the suffix is none of .safetensors, .pt, .pth and .npz, or nothing of the
            family is published.
        CheckpointError: the published code has no such network.
        StorageError: the disk is full, read-only or forbidden.
    """
    network = checkpoint.network
    state_dict = without_counters(checkpoint.state_dict)
    check_fit(expected_weights(network), state_dict)
    weights: dict[str, Tensor] = network.family.publish(network.settings, state_dict)
    write_weights(path, weights, network.family.published_entry)
    return weights
