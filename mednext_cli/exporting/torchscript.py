"""A network as a TorchScript program, traced: for C++ and for Python without mednext."""

import json
import warnings
from pathlib import Path

import torch

from mednext_cli.exporting.checking import Array, check_export
from mednext_cli.exporting.facts import describe_model
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.inference.models import Model
from mednext_cli.networks.checkpoint import build_network

SUFFIX = ".ts"
FACTS = "mednext.json"
"""Name of the extra file with the facts of `describe_model`, as `torch.jit.load` takes it."""


def write(model: Model, path: Path) -> str:
    """Write it, load it, and compare it with the network before it is kept.

    Returns:
        What was checked.

    Raises:
        SettingsError: the network cannot be traced, or the program computes something else.
        StorageError: the disk refuses.
    """
    spec, network = model.checkpoint.network, build_network(model.checkpoint)
    image = torch.zeros(1, spec.in_channels, *model.graph_patch)
    facts = json.dumps(describe_model(model))
    with replacing(path) as beside, torch.no_grad(), warnings.catch_warnings():
        # Tracing warns of our checks of the shape, and of its own end.
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(network, image, check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever tracing trips over
            raise SettingsError(
                f"the network {spec.name} cannot be exported to TorchScript: "
                f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                "Use --to safetensors.",
            ) from error
        traced.save(str(beside), _extra_files={FACTS: facts})
        loaded = torch.jit.load(str(beside), map_location="cpu")  # type: ignore[no-untyped-call]

        def run(given: Array) -> Array:
            logits: Array = loaded(torch.from_numpy(given)).numpy()
            return logits

        return check_export(model, network, run, path)
