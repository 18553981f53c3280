"""What computes probabilities from images: an entry point of the group `mednext.engines`."""

from collections.abc import Callable
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import PluginError
from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.settings.plan import Plan

Array = NDArray[np.float32]


class Engine(Protocol):
    """A network ready to be called."""

    def __call__(self, images: Array) -> Array:
        """Images (B, C, D, H, W) to probabilities (B, K, D, H, W)."""
        ...


EngineMaker = Callable[[Checkpoint, Plan, str], Engine]
"""Checkpoint, its plan and a device name ("cpu", "cuda:0", ...) to an engine."""


def choose_engine(name: str) -> str:
    """The engine that "auto" stands for: the fastest here (`benchmarks/engines.py`)."""
    return "torch" if name == "auto" else name


def build_engine(name: str, checkpoint: Checkpoint, plan: Plan, device: str) -> Engine:
    """Build the engine of that name.

    Args:
        name: torch, openvino or a plugin's.
        checkpoint: the network.
        plan: of the checkpoint.
        device: where to compute.

    Raises:
        PluginError: there is no such engine. SettingsError: it cannot be used here.
    """
    maker = cast("EngineMaker", load_plugin("engines", name))
    return maker(checkpoint, plan, device)


def ask(engine: Engine, images: Array, outputs: int) -> Array:
    """Call an engine, whoever made it, and check what it gives.

    Args:
        engine: the engine.
        images: (B, C, D, H, W).
        outputs: K, the classes or regions of the plan.

    Returns:
        Probabilities (B, K, D, H, W).

    Raises:
        PluginError: it gives something else, or ends the program.
    """
    try:
        found = np.asarray(engine(images))
    except SystemExit as error:
        raise _strange(engine, f"ends the program with exit code {error.code}") from error
    expected = (len(images), outputs, *images.shape[2:])
    if found.shape != expected or not np.issubdtype(found.dtype, np.floating):
        given = f"{found.dtype} {_sizes(found.shape)}"
        raise _strange(engine, f"gives {given} where numbers {_sizes(expected)} are due")
    return found


def _strange(engine: Engine, what: str) -> PluginError:
    maker = type(engine)
    return PluginError(
        f"the engine {maker.__module__}.{maker.__qualname__} {what}",
        "Tell whoever made it, and use --engine torch.",
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "alone"
