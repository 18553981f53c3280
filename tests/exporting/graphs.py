"""ONNX graphs written by hand."""

from typing import Any


def other_graph() -> Any:
    """An ONNX model of a network that gives its input three times, whatever its weights."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["batch", None, "depth", "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Concat", ["image"] * 3, ["logits"], axis=1)],
        "other",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("logits", kind, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
