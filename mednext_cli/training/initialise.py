"""Start from the weights of another run: UpKern, or fine-tuning on other classes."""

import logging
from pathlib import Path

from torch import nn

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.networks.spec import NetworkSpec

logger = logging.getLogger(__name__)
_MAY_DIFFER = {"out_channels", "deep_supervision"}  # the heads, which are then learnt anew


def initialise(network: nn.Module, spec: NetworkSpec, path: Path) -> None:
    """Copy the weights of a checkpoint into `network`.

    The output layers start anew where the classes differ, and deep-supervision layers where the
    checkpoint has none; everything else must agree.

    Raises:
        CheckpointError: the checkpoint cannot be used, or is of another network; names what
            differs.
    """
    checkpoint = load_checkpoint(path)
    _check_same(checkpoint, spec, path)
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in checkpoint.state_dict.items()
        if name in own and own[name].shape == value.shape
    }
    network.load_state_dict({**own, **fitting})
    anew = sorted(set(own) - set(fitting))
    logger.info(
        "started from %s: %d of %d tensors%s",
        path,
        len(fitting),
        len(own),
        f"; new: {', '.join(anew)}" if anew else "",
    )


def _check_same(checkpoint: Checkpoint, spec: NetworkSpec, path: Path) -> None:
    differing = _differing(checkpoint.network, spec)
    if not differing:
        return
    raise CheckpointError(
        f"{path} has another network: {'; '.join(differing)}", _remedy(checkpoint, spec)
    )


def _remedy(checkpoint: Checkpoint, spec: NetworkSpec) -> str:
    name = checkpoint.network.name
    if name == spec.name and spec.kernels:
        return "Train with the same --model and --kernel, or enlarge it first with mednext upkern."
    if checkpoint.recipe is not None:
        return "Train with the recipe it was trained with: recipe.toml in its run folder."
    if name == spec.name:
        return f"Choose the same in the recipe, or with --set model.{name}.KEY=VALUE."
    return f"Train with --network {name}."


def _differing(theirs: NetworkSpec, ours: NetworkSpec) -> list[str]:
    """What of the networks differs; of two families, their names alone."""
    if theirs.name != ours.name:
        return [f"network {theirs.name} instead of {ours.name}"]
    old, new = theirs.flat(), ours.flat()
    return [
        f"{key} {old.get(key)} instead of {new.get(key)}"
        for key in old | new
        if key not in _MAY_DIFFER and old.get(key) != new.get(key)
    ]
