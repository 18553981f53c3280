"""A network as OpenVINO's graph, network.xml with its weights in network.bin beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mednext_cli.exporting.checking import Array, check_export
from mednext_cli.exporting.facts import as_texts, describe_model
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.foundation.errors import SettingsError, StorageError
from mednext_cli.inference.int8_networks import GRAPH
from mednext_cli.inference.models import Model
from mednext_cli.inference.openvino_engine import compile_graph, convert_network, load_openvino
from mednext_cli.networks.checkpoint import build_network

SUFFIX = "_openvino"
_ANY = -1


@dataclass(frozen=True)
class Converted:
    """A network, by PyTorch and by OpenVINO.

    Attributes:
        openvino: the package, which is untyped.
        network: in evaluation mode, on the CPU.
        graph: of it, from `image` to `logits`, in float32.
    """

    openvino: Any
    network: nn.Module
    graph: Any


def convert(model: Model) -> Converted:
    """The network as OpenVINO's graph, with the facts to use it.

    Raises:
        SettingsError: OpenVINO is not installed, or cannot convert the network.
    """
    openvino = load_openvino("OpenVINO", "take --to onnx")
    network, spec = build_network(model.checkpoint), model.checkpoint.network
    example = (1, spec.in_channels, *model.graph_patch)
    free = (_ANY,) * 3 if spec.patch_rule.dimensions == 3 else (1, _ANY, _ANY)
    shape = (_ANY, spec.in_channels, *free) if spec.has_one_graph else example
    try:
        graph = convert_network(openvino, network, example, shape)
    except Exception as error:  # whatever the converter trips over
        raise SettingsError(
            f"the network {spec.name} cannot be exported to OpenVINO: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            "Use --to safetensors.",
        ) from error
    graph.inputs[0].get_tensor().set_names({"image"})
    graph.outputs[0].get_tensor().set_names({"logits"})
    add_facts(graph, describe_model(model))
    return Converted(openvino, network, graph)


def add_facts(graph: Any, facts: dict[str, Any]) -> None:  # noqa: ANN401 - openvino is untyped
    """Add to the graph's runtime information, below ``mednext``."""
    for name, value in as_texts(facts).items():
        graph.set_rt_info(value, ["mednext", name])


def write(model: Model, path: Path) -> str:
    """Write the folder, and compare the network in it with PyTorch before it is kept.

    Returns:
        What was checked.

    Raises:
        SettingsError: OpenVINO is not installed, or cannot convert the network, or its graph
            computes something else.
        StorageError: the disk refuses.
    """
    made = convert(model)
    with replacing_folder(path) as beside:
        try:
            made.openvino.save_model(made.graph, beside / GRAPH, compress_to_fp16=False)
            written = made.openvino.Core().read_model(beside / GRAPH)
        except RuntimeError as error:  # it tells no more of a full disk
            raise StorageError(
                f"{path} cannot be written", "Check the space that the disk has left."
            ) from error
        compiled = compile_graph(made.openvino, written, "f32")

        def run(image: Array) -> Array:
            return np.array(compiled(image)[0], dtype=np.float32)

        return check_export(model, made.network, run, path)
