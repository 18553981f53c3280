"""Label maps for a folder of scans, on the scans' own grids."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import FailedCases, MednextError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.progress import format_seconds, track
from mednext_cli.inference.engine import Engine, build_engine
from mednext_cli.inference.models import Model, check_same_task, load_model
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.sliding import predict_probabilities
from mednext_cli.inference.sources import find_cases
from mednext_cli.preprocessing.apply import SourceGeometry, prepare_image
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.preprocessing.restore import restore_label_map, restore_probabilities
from mednext_cli.volumes.nifti import write_label_map

_VOXELS_AT_ONCE = 2**19  # of a batch of tiles: enough to keep a device busy
_MOST_TILES = 8
Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSpec:
    """What `mednext predict` is asked to do.

    Attributes:
        images: see `sources.find_cases`.
        models: run folders or checkpoints; several are averaged.
        out: folder of the label maps.
        layout: of a raw dataset; None finds out.
        engine: auto, torch, openvino or a plugin's.
        overlap: None takes the recipe's.
        mirror: None takes the recipe's.
        probabilities: also write ``CASE_probabilities.npz``.
        workers: threads that prepare and write cases beside the network; 0 for none.
        device: auto, cpu, cuda, cuda:N or mps.
        force: predict cases anew that are done.
    """

    images: Path
    models: tuple[Path, ...]
    out: Path
    layout: str | None = None
    engine: str = "auto"
    overlap: float | None = None
    mirror: bool | None = None
    probabilities: bool = False
    workers: int | None = None
    device: str = "auto"
    force: bool = False


@dataclass(frozen=True)
class PredictResult:
    """Where the label maps are, which were made now, and which were there."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]


def predict(spec: PredictSpec) -> PredictResult:
    """Predict every case that is not done.

    Raises:
        CheckpointError, SettingsError: the models cannot be used, or not together.
        DatasetError: no cases. FailedCases: some could not be predicted; the others are done.
        StorageError: the disk refuses.
    """
    models = [load_model(path) for path in spec.models]
    check_same_task(models)
    plan = models[0].plan
    device = str(pick_device(spec.device))
    cases = find_cases(spec.images, plan, spec.layout)
    record = PredictionRecord.open(spec.out, _settings(spec, models), spec.force)
    todo = [case for case in cases if not record.is_done(case, spec.probabilities)]
    kept = tuple(case.id for case in cases if case not in todo)
    failed: dict[str, str] = {}
    if todo:
        engines = [build_engine(spec.engine, model.checkpoint, plan, device) for model in models]
        predictor = _Predictor(spec, models, engines)
        with track("predicting", len(todo)) as bar:
            for case_id, error in predictor.run(todo, record):
                bar.advance(note=case_id)
                if error:
                    failed[case_id] = error
    if failed:
        raise FailedCases(
            failed, len(cases), "The others are done; put these right and run it again."
        )
    return PredictResult(spec.out, tuple(case.id for case in todo), kept)


def _settings(spec: PredictSpec, models: list[Model]) -> dict[str, object]:
    """What decides the label maps."""
    return {
        "models": [{"path": str(model.path), "sha256": model.sha256} for model in models],
        "overlap": [_overlap(spec, model) for model in models],
        "mirror_axes": [list(_mirror_axes(spec, model)) for model in models],
        "engine": spec.engine,
    }


def _overlap(spec: PredictSpec, model: Model) -> float:
    return model.overlap if spec.overlap is None else spec.overlap


def _mirror_axes(spec: PredictSpec, model: Model) -> tuple[int, ...]:
    wanted = model.mirror if spec.mirror is None else spec.mirror
    return model.mirror_axes if wanted else ()


class _Predictor:
    """Prepares the next case and writes the last one while the network works on this one."""

    def __init__(self, spec: PredictSpec, models: list[Model], engines: list[Engine]) -> None:
        self._spec, self._models, self._engines = spec, models, engines
        self._plan: Plan = models[0].plan

    def run(self, cases: list[Case], record: PredictionRecord) -> Iterator[tuple[str, str]]:
        """Predict the cases; yield each id with "" or why it failed.

        At most one case is prepared ahead and one being written, so memory holds three.
        """
        threads = 1 if self._spec.workers is None else self._spec.workers
        if threads == 0:
            for case in cases:
                yield case.id, self._attempt(case, record)
            return
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            waiting: Future[Prepared] = reader.submit(self._prepare, cases[0])
            writing: tuple[str, Future[None]] | None = None
            for number, case in enumerate(cases):
                current = waiting
                if number + 1 < len(cases):
                    waiting = reader.submit(self._prepare, cases[number + 1])
                started = time.monotonic()
                try:
                    prepared = current.result()
                    scores = self._scores(prepared[0])
                except MednextError as error:
                    yield case.id, self._note(case, error)
                    continue
                if writing is not None:
                    yield self._await(writing)
                seconds = time.monotonic() - started
                job = writer.submit(self._write, case, scores, prepared[1], record, seconds)
                writing = case.id, job
            if writing is not None:
                yield self._await(writing)

    def _attempt(self, case: Case, record: PredictionRecord) -> str:
        started = time.monotonic()
        try:
            image, geometry = self._prepare(case)
            scores = self._scores(image)
            self._write(case, scores, geometry, record, time.monotonic() - started)
        except MednextError as error:
            return self._note(case, error)
        return ""

    def _await(self, writing: tuple[str, "Future[None]"]) -> tuple[str, str]:
        case_id, future = writing
        try:
            future.result()
        except MednextError as error:
            logger.warning("%s: %s", case_id, error)
            return case_id, str(error)
        return case_id, ""

    def _note(self, case: Case, error: MednextError) -> str:
        logger.warning("%s: %s", case.id, error)
        return str(error)

    def _prepare(self, case: Case) -> Prepared:
        return prepare_image(case.channels, self._plan)

    def _scores(self, image: Array) -> Array:
        """Probabilities averaged over the models, on the prepared grid."""
        total: Array | None = None
        for model, engine in zip(self._models, self._engines, strict=True):
            patch = model.plan.patch_voxels
            batch = int(np.clip(_VOXELS_AT_ONCE // np.prod(patch), 1, _MOST_TILES))
            axes, overlap = _mirror_axes(self._spec, model), _overlap(self._spec, model)
            found = predict_probabilities(engine, image, patch, axes, overlap, batch)
            total = found if total is None else total + found
        if total is None:
            raise MednextError("no model to predict with", "Give --model.")
        return total / np.float32(len(self._models))

    def _write(
        self,
        case: Case,
        scores: Array,
        geometry: SourceGeometry,
        record: PredictionRecord,
        seconds: float,
    ) -> None:
        out, scan = self._spec.out, case.channels[0].path
        if self._spec.probabilities:
            whole = restore_probabilities(scores, geometry, self._plan)
            with replacing(out / f"{case.id}_probabilities.npz") as beside:
                np.savez_compressed(beside, probabilities=whole)
        labels = restore_label_map(scores, geometry, self._plan)
        write_label_map(out / f"{case.id}.nii.gz", labels, scan)
        record.note(case, seconds)
        logger.debug("%s: %s", case.id, format_seconds(seconds))
