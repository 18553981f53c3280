"""A network as OpenVINO's graph in int8, kept where its Dice is the one of float32.

Quantised after training by NNCF. Its own ``quantize_with_accuracy_control`` is of no use here: it
compiles graphs by OpenVINO's defaults, which are bfloat16 on processors that have it and cannot run
some networks (`inference.openvino_engine`), and predicts all cases anew for every layer that it
takes back. Here more of the layers stay in float32 at a second try, and the Dice decides.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.exporting.calibration import (
    Array,
    cases_of_fold,
    draw_patches,
    measure_dice,
)
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.exporting.openvino import Converted, add_facts, convert
from mednext_cli.exporting.specification import Exported
from mednext_cli.foundation.errors import SettingsError, StorageError
from mednext_cli.foundation.progress import Progress, track
from mednext_cli.inference.average import Member, NetworkAverage
from mednext_cli.inference.engine import Activation, activation_of
from mednext_cli.inference.int8_networks import GRAPH, WEIGHTS
from mednext_cli.inference.models import Model
from mednext_cli.inference.openvino_engine import compile_graph
from mednext_cli.networks.building import hash_weights

MOST_DROP = 0.002
"""Of the mean Dice, below which a network in int8 is kept."""
_SAME = 1e-4  # of the largest logit, between a graph and what is read back of it
_DENSE = ("GroupConvolution", "GroupConvolutionBackpropData", "ConvolutionBackpropData")
_TRIES = {
    "all convolutions": (),
    "all but depthwise and transposed convolutions": _DENSE,
}
"""What is quantised, and by that the types of OpenVINO's operators that stay in float32."""


def write_all(
    models: Sequence[Model], paths: Sequence[Path], cached: CachedDataset
) -> tuple[Exported, ...]:
    """Write a folder for each model whose Dice int8 leaves as it is.

    Args:
        models: runs of folds.
        paths: of their folders.
        cached: the dataset that they were trained on.

    Raises:
        SettingsError: NNCF or OpenVINO is not installed or cannot quantise a network, the runs do
            not say their cases, or int8 costs one of them more than `MOST_DROP`; what came before
            is kept.
        CacheError: a case is missing or damaged. StorageError: the disk refuses.
    """
    nncf = load_nncf()
    splits = [cases_of_fold(model, cached) for model in models]
    total = sum((1 + len(_TRIES)) * len(split.validation) for split in splits)
    written = []
    with track("measuring int8", total, "cases") as progress:
        for model, path, split in zip(models, paths, splits, strict=True):
            trial = _Trial(nncf, model, cached, split.validation, progress)
            patches = draw_patches(model, cached, split.training)
            written.append(Exported(path, trial.write(patches, path)))
    return tuple(written)


def load_nncf() -> Any:  # noqa: ANN401 - nncf is untyped
    """The package.

    Raises:
        SettingsError: it is not installed.
    """
    # It, too, would report its use to its makers.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        with _quietly():
            return import_module("nncf")
    except ImportError as error:
        raise SettingsError(
            "NNCF, which makes int8 of networks, is not installed",
            "Install it with pip install 'mednext[int8]'.",
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """NNCF prints bars of its own, logs to the screen and warns of its own code."""
    level = logging.getLogger("nncf").level
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("nncf").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("nncf").setLevel(level)


@dataclass(frozen=True)
class _GraphEngine:
    """A compiled graph as an engine."""

    compiled: Any
    activation: Activation

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __call__(self, images: Tensor) -> Tensor:
        result = self.compiled(images.contiguous().numpy())
        return torch.from_numpy(np.array(result[0], dtype=np.float32))


@dataclass(frozen=True)
class _Trial:
    """A network, made int8 and measured on cases that it was not trained on."""

    nncf: Any
    model: Model
    cached: CachedDataset
    validation: tuple[str, ...]
    progress: Progress

    def write(self, patches: Sequence[Array], path: Path) -> str:
        """Write the first try that is good enough; says what was measured.

        Raises:
            SettingsError: none is, or NNCF cannot quantise the network.
        """
        made = convert(self.model)
        before = self._dice(made, made.graph, "float32")
        if not before:
            raise SettingsError(
                f"no validation case of {self.model.path} has a structure", "Give another fold."
            )
        drops = []
        left = len(_TRIES)
        for what, left_out in _TRIES.items():
            graph = self._quantise(made.graph, patches, left_out)
            after = self._dice(made, graph, f"int8, {what}")
            drop = _mean(before) - _mean(after)
            left -= 1
            if drop < MOST_DROP:
                self.progress.advance(left * len(self.validation))
                self._add_facts(graph, what, before, after)
                _save(made.openvino, graph, path, patches[0])
                return (
                    f"mean Dice {_mean(before):.4f} in float32, {_mean(after):.4f} in int8 "
                    f"({what}), on {len(self.validation)} validation cases"
                )
            worst = max(before, key=lambda region: before[region] - after[region])
            drops.append(
                f"by {drop:.4f} with {what} in int8 ({worst} by {before[worst] - after[worst]:.4f})"
            )
        raise SettingsError(
            f"{self.model.path} is not kept in int8: its mean Dice of {_mean(before):.4f} falls "
            f"{', '.join(drops)}, which is to be below {MOST_DROP}",
            "Use mednext predict --engine openvino, with --precision bfloat16 where the "
            "processor has it.",
        )

    def _dice(self, made: Converted, graph: Any, note: str) -> dict[str, float]:  # noqa: ANN401
        model = self.model
        compiled = compile_graph(made.openvino, graph, "f32")
        member = Member(
            engine=_GraphEngine(compiled, activation_of(model.plan)),
            patch_voxels=model.graph_patch,
            mirror_axes=(),
            overlap=model.overlap,
            turn=model.plan.turn,
        )
        advance = partial(_advance, self.progress, note)
        average = NetworkAverage((member,), model.plan)
        with torch.inference_mode():
            return measure_dice(average, self.cached, self.validation, advance)

    def _quantise(self, graph: Any, patches: Sequence[Array], left_out: Sequence[str]) -> Any:  # noqa: ANN401
        nncf = self.nncf
        try:
            with _quietly():
                return nncf.quantize(
                    graph,
                    nncf.Dataset(list(patches)),
                    preset=nncf.QuantizationPreset.MIXED,
                    subset_size=len(patches),
                    fast_bias_correction=True,
                    ignored_scope=nncf.IgnoredScope(types=list(left_out), validate=False),
                )
        except Exception as error:  # whatever it trips over
            raise SettingsError(
                f"NNCF cannot make {self.model.path} int8: {type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}",
                "Use --to openvino without --precision.",
            ) from error

    def _add_facts(
        self,
        graph: Any,  # noqa: ANN401 - openvino is untyped
        what: str,
        before: dict[str, float],
        after: dict[str, float],
    ) -> None:
        facts = {
            WEIGHTS: hash_weights(self.model.checkpoint.state_dict),
            "precision": "int8",
            "quantised": what,
            "validation_cases": list(self.validation),
            "dice_float32": before,
            "dice_int8": after,
        }
        add_facts(graph, facts)


def _save(openvino: Any, graph: Any, path: Path, patch: Array) -> None:  # noqa: ANN401
    """Write the folder; it is kept if what is read back computes what was measured.

    On a full disk OpenVINO may leave half a file and say nothing.
    """
    expected = compile_graph(openvino, graph, "f32")(patch)[0]
    with replacing_folder(path) as beside:
        try:
            openvino.save_model(graph, beside / GRAPH, compress_to_fp16=False)
            written = openvino.Core().read_model(beside / GRAPH)
            found = compile_graph(openvino, written, "f32")(patch)[0]
        except RuntimeError as error:
            raise StorageError(
                f"{path} cannot be written", "Check the space that the disk has left."
            ) from error
        if not np.allclose(found, expected, rtol=0, atol=_SAME * float(np.abs(expected).max())):
            raise StorageError(f"{path} was not written as it is", "Check the disk.")


def _mean(dice: dict[str, float]) -> float:
    return float(np.mean(list(dice.values())))


def _advance(progress: Progress, note: str, case_id: str) -> None:
    progress.advance(1, f"{note}: {case_id}")
