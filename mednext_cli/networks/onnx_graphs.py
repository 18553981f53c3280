"""Networks as ONNX graphs, by PyTorch's exporter; an optional extra.

A graph takes `image` (B, C, D, H, W) and gives `logits` (B, K, D, H, W) of the full resolution,
float32. Operators are of opset 21, the first in which the scale of a group norm is one a channel.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.names import shown
from mednext_cli.networks.patches import Patch
from mednext_cli.networks.spec import NetworkSpec

OPSET = 21
REQUIRES = dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "mednext[export]")
INPUT, OUTPUT = "image", "logits"
_AXES = ("depth", "height", "width")
_EXAMPLE_STEPS = 2


def check_onnx_is_there() -> None:
    """Raise `SettingsError` unless all that writes and runs ONNX graphs is installed."""
    lacking = []
    for package in REQUIRES:
        try:
            import_module(package)
        except ImportError:
            lacking.append(package)
    if lacking:
        are = "are" if len(lacking) > 1 else "is"
        raise SettingsError(
            f"ONNX needs {' and '.join(lacking)}, which {are} not installed",
            "Install them with pip install 'mednext[export]'.",
        )


def build_graph(network: nn.Module, spec: NetworkSpec, patch_voxels: Patch) -> Any:  # noqa: ANN401
    """The network as an ONNX model (`onnx.ModelProto`), with its weights.

    Args:
        network: in evaluation mode, on the CPU.
        spec: of it.
        patch_voxels: (D, H, W) that the graph is for, unless it takes any: then batch and the axes
            that the network has are dynamic.

    Raises:
        SettingsError: the extra is not installed, or PyTorch cannot export the network.
    """
    check_onnx_is_there()
    images, axes = _example(spec, patch_voxels)
    try:
        with _quietly():
            program: Any = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=axes,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        graph: Any = program.model_proto
    except Exception as error:  # whatever the exporter trips over
        raise SettingsError(
            f"the network {spec.name} cannot be exported to ONNX: {_reason(error)}",
            "PyTorch runs it: mednext predict --engine torch, or export --to safetensors.",
        ) from error
    return graph


def _example(spec: NetworkSpec, patch_voxels: Patch) -> tuple[torch.Tensor, Any]:
    """An image, and which of its axes are dynamic; None where none are."""
    if not spec.has_one_graph:
        return torch.zeros(1, spec.in_channels, *patch_voxels), None
    rule = spec.patch_rule
    divisors = dict(zip(range(3 - rule.dimensions, 3), rule.divisors, strict=True))
    axes: dict[int, Any] = {0: Dim("batch")}
    for axis, divisor in divisors.items():
        axes[axis + 2] = divisor * Dim(_AXES[axis])
    # A length of 1 anywhere in the network would be taken for a constant.
    longest = _EXAMPLE_STEPS * max(*rule.divisors, *rule.smallest)
    return torch.zeros(2, spec.in_channels, *rule.fit([longest] * 3)), (axes,)


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter tells of packages it does without, and warns of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """The innermost error, which says what was in the way; those around it say how to report it."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return shown(f"{type(error).__name__}: {error}".partition("\n")[0], longest=200).strip("'\"")


def open_graph(model: bytes | str) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """A session of onnxruntime on the CPU, with PyTorch's number of threads.

    Args:
        model: the serialised graph, or the path of its file.

    Raises:
        SettingsError: the extra is not installed.
    """
    check_onnx_is_there()
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
