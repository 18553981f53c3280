"""Networks built from their specification, and weights that fit them or not."""

import hashlib
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mednext_cli.foundation.errors import CheckpointError, PluginError
from mednext_cli.foundation.names import shown
from mednext_cli.networks.slices import take_slices
from mednext_cli.networks.spec import NetworkSpec

logger = logging.getLogger(__name__)
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OTHER_COPY = "Take another copy of it."
_COUNTER = "num_batches_tracked"


def build_plain(spec: NetworkSpec) -> nn.Module:
    """A fresh network; it takes and gives (B, C, D, H, W), where it is of two dimensions with D 1.

    Raises:
        PluginError: nobody registered its family, or what it builds with is not there, or broken.
    """
    _check_loads(spec)
    network: nn.Module = spec.family.build(
        spec.settings, spec.in_channels, spec.out_channels, spec.deep_supervision
    )
    return network if spec.patch_rule.dimensions == 3 else take_slices(network)


def _check_loads(spec: NetworkSpec) -> None:
    for package, install in spec.family.requires.items():
        try:
            import_module(package)
        except Exception as error:  # not installed, or for another torch or numpy
            lacking = isinstance(error, ModuleNotFoundError) and error.name == package
            why = "is not installed" if lacking else f"does not load ({_in_a_line(error)})"
            raise PluginError(
                f"network {spec.name} needs the package {package}, which {why}",
                f"pip install '{install}'.",
            ) from error


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def run_all_heads(network: nn.Module, images: Tensor, spec: NetworkSpec) -> list[Tensor]:
    """The logits that are trained: of every resolution with deep supervision, else of one."""
    if not spec.deep_supervision:
        return [network(images)]
    outputs: list[Tensor] = network(images, deep_supervision=True)
    return outputs


def move_network(network: nn.Module, device: torch.device) -> nn.Module:
    """To the device, with weights of three dimensions channels-last, which convolutions like.

    Raises:
        RuntimeError: the device has too little memory.
    """
    network = network.to(device)
    for weights in network.parameters():
        if weights.ndim == len("ncdhw"):
            weights.data = weights.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def load_weights(network: nn.Module, spec: NetworkSpec, state_dict: Mapping[str, Tensor]) -> None:
    """Put weights in place, strictly but for the heads of deep supervision.

    Weights trained with these heads load into a network without them (they are dropped), and the
    other way round (fresh ones stay, which is noted).

    Raises:
        CheckpointError: anything else is missing, left over or of another shape or type.
    """
    expected, auxiliary = without_counters(network.state_dict()), spec.family.auxiliary_weights
    given = _without_surplus_heads(expected, without_counters(state_dict), auxiliary)
    fresh = {name for name in expected if name.startswith(auxiliary)}
    if fresh and fresh.isdisjoint(given):
        logger.info("the weights have no heads for deep supervision: fresh ones are used")
        given |= {name: expected[name] for name in fresh}
    check_fit(expected, given)
    network.load_state_dict(given)


def without_counters(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """All but how many batches a batch norm has seen: whole numbers, no weights, and never read."""
    return {name: value for name, value in state_dict.items() if not str(name).endswith(_COUNTER)}


def _without_surplus_heads(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], auxiliary: tuple[str, ...]
) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in given.items()
        if name in expected or not name.startswith(auxiliary)
    }


def check_weights(spec: NetworkSpec, state_dict: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a network can have these weights; nothing large is built.

    Networks that cannot be built without memory are only compared when they are used.
    """
    weights = without_counters(state_dict)
    check_dense(weights)
    if not spec.family.runs_without_memory:
        return
    expected, auxiliary = expected_weights(spec), spec.family.auxiliary_weights
    given = _without_surplus_heads(expected, weights, auxiliary)
    heads = {name for name in expected if name.startswith(auxiliary)}
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


def expected_weights(spec: NetworkSpec) -> dict[str, Tensor]:
    """Names and shapes of a network's weights, without memory for them where its family can."""
    with torch.device("meta" if spec.family.runs_without_memory else "cpu"):
        return without_counters(build_plain(spec).state_dict())


def hash_weights(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 of a network's weights and their names."""
    found = hashlib.sha256()
    for name, weights in sorted(state_dict.items()):
        found.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        plain = weights.detach().cpu().contiguous().view(-1).view(torch.uint8)
        found.update(plain.numpy().data)
    return found.hexdigest()


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
