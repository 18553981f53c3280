"""A network as an ONNX file, compared with PyTorch before it is kept."""

from importlib import import_module
from pathlib import Path

from mednext_cli.exporting.checking import Array, check_export
from mednext_cli.exporting.facts import as_texts, describe_model
from mednext_cli.foundation.files import replacing
from mednext_cli.inference.models import Model
from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.onnx_graphs import INPUT, OUTPUT, build_graph, open_graph

SUFFIX = ".onnx"


def write(model: Model, path: Path) -> str:
    """Write it, and compare it with PyTorch in onnxruntime before it is kept.

    Returns:
        What was checked.

    Raises:
        SettingsError: the extra is not installed, the network cannot be exported, or the graph
            computes something else.
        StorageError: the disk refuses.
    """
    network = build_network(model.checkpoint)
    graph = build_graph(network, model.checkpoint.network, model.graph_patch)
    import_module("onnx.helper").set_model_props(graph, as_texts(describe_model(model)))
    content: bytes = graph.SerializeToString()
    with replacing(path) as beside:
        beside.write_bytes(content)
        session = open_graph(str(beside))

        def run(image: Array) -> Array:
            logits: Array = session.run([OUTPUT], {INPUT: image})[0]
            return logits

        return check_export(model, network, run, path)
