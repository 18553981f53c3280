"""Scans one by one from Python: networks that stay loaded, arrays or paths in, labels out."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import DatasetError, ScanError
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.average import build_average
from mednext_cli.inference.catalogue.names import resolve_models
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.engine_choice import choose_engine
from mednext_cli.inference.models import load_models
from mednext_cli.inference.options import Folds
from mednext_cli.inference.pipeline import Prepared
from mednext_cli.inference.postprocessing.apply import apply_steps
from mednext_cli.inference.postprocessing.find import find_steps
from mednext_cli.inference.sources import check_volumes, find_cases
from mednext_cli.preprocessing.apply import prepare_image, prepare_volumes
from mednext_cli.preprocessing.restore import ProbabilityArray, Restoration
from mednext_cli.settings.mirror_axes import Axis
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.sections import Operators, PredictionPrecision
from mednext_cli.volumes.checks import check_affine
from mednext_cli.volumes.volume import Affine, Volume

Location = str | PathLike[str]
_ARRAY = Path("the array")  # what messages call it


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a predictor makes of a scan, on the scan's own grid.

    Attributes:
        labels: (X, Y, Z) label values, uint8 or uint16, in the axis order of the scan.
        affine: (4, 4), indices of `labels` to millimetres in RAS world space, as nibabel has it.
        probabilities: (K, X, Y, Z) float16, classes with the background, or regions; None where
            they were not asked for.
    """

    labels: NDArray[Any]
    affine: Affine
    probabilities: NDArray[np.float16] | None = None


class Predictor:
    """Trained networks, loaded once, that predict scans one by one as `mednext predict` does.

    Args:
        model: a checkpoint, run folder, folder of folds or name (`mednext models ls`), or several;
            all are averaged.
        engine: auto, torch, openvino, onnx or a plugin's; auto is torch unless `mednext predict`
            has measured another to be faster for these networks on this machine.
        device: auto, cpu, cuda, cuda:N or mps.
        operators: auto, fused or stock, of the engine torch.
        precision: auto, float32, bfloat16, float16, or int8 of the engine openvino.
        overlap: share of a tile that the next one covers, 0 to 0.95; None takes the recipe's.
        mirror: whether mirrored images are averaged; None takes the recipe's.
        folds: of folders of folds, those to average, such as ("0", "2") or ("all",); None takes
            all, which must be finished.
        weights: of each model in the average, above 0; folds share theirs. None weighs all
            checkpoints alike.
        mirror_axes: to mirror along, such as ("left_right",), whatever the recipe says; None takes
            those that each network was trained with.
        postprocess: whether labels are post-processed as is stored with the models.

    Raises:
        CheckpointError, SettingsError: the models cannot be used, or not together.
        PluginError: there is no such engine.
    """

    def __init__(
        self,
        model: Location | Sequence[Location],
        *,
        engine: str = "auto",
        device: str = "auto",
        operators: Operators = "auto",
        precision: PredictionPrecision = "auto",
        overlap: float | None = None,
        mirror: bool | None = None,
        folds: Folds | None = None,
        weights: Sequence[float] | None = None,
        mirror_axes: Sequence[Axis] | None = None,
        postprocess: bool = True,
    ) -> None:
        given = [model] if isinstance(model, str | PathLike) else model
        paths = resolve_models([Path(path) for path in given])
        loaded = load_models(paths, folds, weights)
        models = [network.asked(overlap, mirror, mirror_axes) for network in loaded]
        options = EngineOptions(pick_device(device), operators, precision)
        labels = models[0].plan.label_set
        self._steps = find_steps(paths, labels) if postprocess else ()
        chosen = choose_engine(engine, models, options)
        self._networks = build_average(models, chosen.name, options)

    @property
    def plan(self) -> Plan:
        """How scans are prepared, the channels they need, and what the labels mean."""
        return self._networks.plan

    def __call__(
        self,
        scan: Location | ArrayLike,
        affine: ArrayLike | None = None,
        *,
        probabilities: bool = False,
    ) -> Prediction:
        """Predict a scan.

        Args:
            scan: a path that `mednext predict` takes, of one case; or voxels (X, Y, Z), or
                (C, X, Y, Z) in the order of `plan.channels`, with their affine. They stay as
                they are.
            affine: (4, 4), array indices to millimetres in RAS world space; of an array.
            probabilities: also give these.

        Raises:
            ScanError: the scan cannot be read or used. DatasetError: no scan there, or several.
            CheckpointError: the networks give NaN. SettingsError: the device has too little memory
                for a single tile. PluginError: an engine gives what is no answer.
            MemoryError: there is too little main memory for the scan.
        """
        if isinstance(scan, str | PathLike):
            name, (image, geometry) = self._prepare_file(Path(scan))
        else:
            name, (image, geometry) = str(_ARRAY), self._prepare_array(scan, affine)
        sink = ProbabilityArray(geometry, self.plan) if probabilities else None
        axes = self._networks.sweep(image.shape[1:]).axes
        restoration = Restoration(geometry, self.plan, axes, sink)
        for box, scores in self._networks.predict(image, name):
            restoration.add(box, scores)
            del scores  # before the next are made
        labels = restoration.label_map()
        apply_steps(labels, self._steps, geometry.file_grid.voxel_ml)
        return Prediction(labels, geometry.file_grid.affine, sink.whole() if sink else None)

    def _prepare_file(self, path: Path) -> tuple[str, Prepared]:
        with Scratch() as scratch:
            cases = find_cases(path, self.plan, scratch=scratch)
            if len(cases) > 1:
                raise DatasetError(
                    f"{path} holds {len(cases)} cases, {cases[0].id} to {cases[-1].id}",
                    "Give one of them, or use predict, which writes files.",
                )
            check_volumes(cases[0], self.plan)
            return cases[0].id, prepare_image(cases[0].channels, self.plan)

    def _prepare_array(self, scan: ArrayLike, affine: ArrayLike | None) -> Prepared:
        place = _read_affine(affine)
        channels = _read_channels(scan, len(self.plan.channels))
        return prepare_volumes([Volume(array, place) for array in channels], self.plan)


def _read_affine(given: ArrayLike | None) -> Affine:
    if given is None:
        raise ScanError(f"{_ARRAY} has no affine", "Give it, such as nibabel's image.affine.")
    affine = np.asarray(given, dtype=np.float64)
    if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise ScanError(
            f"{_ARRAY} has an affine that is not 4 x 4 with 0 0 0 1 below",
            "Give one that maps array indices to millimetres.",
        )
    return check_affine(_ARRAY, affine)


@np.errstate(over="ignore")  # infinite: refused when the channels are checked
def _read_channels(given: ArrayLike, count: int) -> NDArray[np.float32]:
    """(C, X, Y, Z); raises `ScanError` where the array is no scan with so many channels."""
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise ScanError(f"{_ARRAY} is of type {array.dtype}", "Give numbers.")
    whole = array[np.newaxis] if array.ndim == 3 else array
    if whole.ndim != 4 or len(whole) != count or not whole.size:
        raise ScanError(
            f"{_ARRAY} has the shape {' x '.join(map(str, array.shape)) or 'of a number'}, the "
            f"network was trained on {count} channels",
            "Give (X, Y, Z) of one channel, or (C, X, Y, Z).",
        )
    return whole.astype(np.float32, copy=False)
