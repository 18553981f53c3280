"""OpenVINO on the CPU; an optional extra.

Nine tenths of its start are the conversion of the network, so that converted graphs are kept.
What OpenVINO compiles of them is not: it takes little longer to compile than to read, and differs
by processor, cores and options.
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mednext_cli.foundation.devices import pick_dtype
from mednext_cli.foundation.errors import SettingsError, StorageError
from mednext_cli.inference.engine import EngineOptions, activation_of
from mednext_cli.inference.int8_networks import read_int8
from mednext_cli.inference.kept_graphs import kept_path, open_or_make
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.settings.plan import Plan

logger = logging.getLogger(__name__)
_LENGTH_BYTES = 8  # of the number before a graph's description
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVinoEngine:
    """The network converted the first time, compiled once per tile shape.

    Args:
        checkpoint: the network.
        plan: whether its outputs are classes or regions.
        options: the device must be the CPU; the precision is float32 unless bfloat16 is asked for,
            or int8, which is looked for beside the checkpoint.

    Raises:
        SettingsError: OpenVINO is not installed, another device or float16 was asked for, or there
            is no int8 of this network.
    """

    requires: ClassVar = {"openvino": "mednext[openvino]"}
    runs_graphs: ClassVar = True

    def __init__(self, checkpoint: Checkpoint, plan: Plan, options: EngineOptions) -> None:
        if options.device.type != "cpu":
            raise SettingsError(
                f"the engine openvino computes on the CPU, not on {options.device}",
                "Use --engine torch.",
            )
        self._openvino = load_openvino("the engine openvino", "use --engine torch")
        self.device, self.activation = options.device, activation_of(plan)
        self._int8 = None
        if options.precision == "int8" and options.checkpoint_file is not None:
            self._int8 = read_int8(self._openvino, checkpoint, options.checkpoint_file)
        self._precision = "f32"  # of what is not int8; bfloat16 cannot run beside it
        if self._int8 is None:
            self._precision = _PRECISIONS[pick_dtype(options.precision, options.device)]
        self._checkpoint = checkpoint
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, D, H, W) to logits (B, K, D, H, W)."""
        shape = tuple(images.shape)
        if shape not in self._compiled:
            self._compiled[shape] = self._compile(shape)
        result = self._compiled[shape](images.contiguous().numpy())
        return torch.from_numpy(np.array(result[0], dtype=np.float32))

    def _compile(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - openvino is untyped
        if self._int8 is not None:
            graph = self._int8.clone()
            graph.reshape(list(shape))
            return compile_graph(self._openvino, graph, self._precision)
        versions = [version("openvino"), str(torch.__version__)]
        path = kept_path("openvino", self._checkpoint, {"shape": shape, "versions": versions})
        graph = open_or_make(path, lambda: self._convert(shape), self._read)
        return compile_graph(self._openvino, graph, self._precision)

    def _convert(self, shape: tuple[int, ...]) -> bytes:
        """The converted network: its description, that one's length before it, and its weights."""
        logger.info("converting the network for OpenVINO, which is kept for the next time")
        spec = self._checkpoint.network
        rule, example = spec.patch_rule, shape
        if spec.has_one_graph:  # the smallest patch does, and tracing runs the network
            example = (1, spec.in_channels, *rule.fit(rule.smallest))
        network = build_network(self._checkpoint)
        graph = convert_network(self._openvino, network, example, shape)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.xml"
                self._openvino.save_model(graph, path, compress_to_fp16=False)
                description, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
        except (OSError, RuntimeError) as error:
            said = str(error).partition("\n")[0]
            raise StorageError(
                f"OpenVINO cannot write to the temporary folder: {said}",
                "Free some space there, set TMPDIR to another folder, or use --engine torch.",
            ) from error
        return len(description).to_bytes(_LENGTH_BYTES, "little") + description + weights

    def _read(self, content: bytes) -> Any:  # noqa: ANN401 - openvino is untyped
        end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
        weights = np.frombuffer(content, np.uint8, offset=end)
        core, tensor = self._openvino.Core(), self._openvino.Tensor(weights)
        return core.read_model(content[_LENGTH_BYTES:end], tensor)


def load_openvino(what: str, instead: str) -> Any:  # noqa: ANN401 - openvino is untyped
    """The package.

    Args:
        what: needs it.
        instead: what a user can do without.

    Raises:
        SettingsError: it is not installed.
    """
    # OpenVINO would report its use to its makers, from a forked process, which can deadlock with
    # the threads that prepare the next case. Without the package it keeps quiet.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise SettingsError(
            f"{what} is not installed",
            f"Install it with pip install 'mednext[openvino]', or {instead}.",
        ) from error


def convert_network(
    openvino: Any,  # noqa: ANN401 - openvino is untyped
    network: nn.Module,
    example: Sequence[int],
    shape: Sequence[int],
) -> Any:  # noqa: ANN401
    """The network as OpenVINO's graph.

    Args:
        openvino: the package.
        network: in evaluation mode, on the CPU.
        example: (B, C, D, H, W) that it is traced with.
        shape: (B, C, D, H, W) of what the graph takes; -1 for an axis of any length.
    """
    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns of our checks of the shape, which is fixed here.
        warnings.simplefilter("ignore")
        return openvino.convert_model(
            network, example_input=torch.zeros(tuple(example)), input=[list(shape)]
        )


def compile_graph(openvino: Any, graph: Any, precision: str) -> Any:  # noqa: ANN401
    """Ready to be called on the CPU with the lowest latency, in "f32" or "bf16"."""
    # Its own default is bfloat16 on processors that have it, which shifts probabilities.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if _joins_norms(graph):
        options["SNIPPETS_MODE"] = "DISABLE"
    return openvino.compile_model(graph, "CPU", options)


def _joins_norms(model: Any) -> bool:  # noqa: ANN401 - openvino is untyped
    """Whether a group norm goes into anything but convolutions, as in residual networks.

    OpenVINO (2026.4) fuses what is done voxel by voxel, and dies of a segmentation fault where a
    sum of two group norms is among it.
    """
    return any(
        "Convolution" not in user.get_node().get_type_name()
        for operator in model.get_ops()
        if operator.get_type_name() == "GroupNormalization"
        for user in operator.output(0).get_target_inputs()
    )
