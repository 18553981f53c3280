"""Label maps for a folder of scans, on the scans' own grids."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mednext_cli.datasets.dataset import Case
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import FailedCases
from mednext_cli.foundation.machine import GIB, count_workers, free_memory_bytes
from mednext_cli.foundation.progress import track
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.engine import Engine, build_engine, choose_engine
from mednext_cli.inference.memory import estimate_bytes
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.pipeline import Member, Pipeline
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.sources import find_cases, select_cases
from mednext_cli.inference.torch_engine import TorchEngine
from mednext_cli.networks.kernels import Kernels, availability

_VOXELS_AT_ONCE = 2**19  # of a batch of tiles on an accelerator: enough to keep it busy
_MOST_TILES = 8
_MOST_WORKERS = 4  # beside an accelerator; reading and writing are not faster with more
_LABEL_SET = {"labels", "regions", "ignore", "region_training"}  # what evaluation reads of it
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSpec:
    """What `mednext predict` is asked to do.

    Attributes:
        images: see `sources.find_cases`.
        models: checkpoints, run folders or folders of folds; several are averaged.
        out: folder of the label maps.
        layout: of a raw dataset; None finds out.
        cases: ids of the cases to predict; None takes all.
        engine: auto, torch, openvino or a plugin's.
        overlap: None takes the recipe's.
        mirror: None takes the recipe's.
        probabilities: also write ``CASE_probabilities.npz``.
        workers: threads that prepare, and as many that write, beside the network; 0 for none,
            None chooses.
        device: auto, cpu, cuda, cuda:N or mps.
        force: predict cases anew that are done.
        kernels: auto, fused or stock operators, of the engine torch.
        options: of the raw dataset's layout; None for none.
        scratch: where zip archives of scans are unpacked; None leaves them unread.
    """

    images: Path
    models: tuple[Path, ...]
    out: Path
    layout: str | None = None
    cases: tuple[str, ...] | None = None
    engine: str = "auto"
    overlap: float | None = None
    mirror: bool | None = None
    probabilities: bool = False
    workers: int | None = None
    device: str = "auto"
    force: bool = False
    kernels: Kernels = "auto"
    options: LayoutOptions | None = None
    scratch: Scratch | None = None


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
    models = load_models(spec.models)
    device = str(pick_device(spec.device))
    availability.check(spec.kernels, torch.device(device))
    engine = choose_engine(spec.engine)
    cases = find_cases(spec.images, models[0].plan, spec.layout, spec.options, spec.scratch)
    if spec.cases is not None:
        cases = select_cases(cases, spec.cases)
    record = _open_record(spec, models, engine, device)
    record.check_free(cases, spec.force)
    todo = [case for case in cases if spec.force or not record.is_done(case, spec.probabilities)]
    made = {case.id for case in todo}
    if todo:
        pipeline = _build_pipeline(spec, models, engine, device, record, todo)
        record.begin()
        _run(pipeline, todo, len(cases))
    return PredictResult(
        spec.out,
        tuple(case.id for case in todo),
        tuple(case.id for case in cases if case.id not in made),
    )


def _open_record(
    spec: PredictSpec, models: list[Model], engine: str, device: str
) -> PredictionRecord:
    decisive: dict[str, Any] = {
        "models": [model.sha256 for model in models],
        "overlap": [_overlap(spec, model) for model in models],
        "mirror_axes": [list(_mirror_axes(spec, model)) for model in models],
    }
    provenance = {
        "models": [str(model.path) for model in models],
        "engine": engine,
        "device": device,
        "label_set": models[0].plan.model_dump(mode="json", include=_LABEL_SET),
    }
    return PredictionRecord.open(spec.out, decisive, provenance, spec.force)


def _overlap(spec: PredictSpec, model: Model) -> float:
    return model.overlap if spec.overlap is None else spec.overlap


def _mirror_axes(spec: PredictSpec, model: Model) -> tuple[int, ...]:
    wanted = model.mirror if spec.mirror is None else spec.mirror
    return model.mirror_axes if wanted else ()


def _build_pipeline(
    spec: PredictSpec,
    models: list[Model],
    engine: str,
    device: str,
    record: PredictionRecord,
    todo: list[Case],
) -> Pipeline:
    members = [
        Member(
            engine=_engine(engine, model, device, spec.kernels),
            patch_voxels=model.plan.patch_voxels,
            mirror_axes=_mirror_axes(spec, model),
            overlap=_overlap(spec, model),
            batch=_batch(model.plan.patch_voxels, device),
        )
        for model in models
    ]
    plan = models[0].plan
    largest = max(estimate_bytes(case, plan, len(models)) for case in todo)
    workers = _count_workers(spec.workers, device, largest, len(todo))
    return Pipeline(members, plan, record, spec.probabilities, workers)


def _engine(name: str, model: Model, device: str, kernels: Kernels) -> Engine:
    engine = build_engine(name, model.checkpoint, model.plan, device)
    if isinstance(engine, TorchEngine):
        engine.choose_kernels(kernels)
    return engine


def _batch(patch_voxels: tuple[int, int, int], device: str) -> int:
    """Tiles at once. On a CPU one: eight of 32 x 48 x 32 took 2.6 times as long for each tile."""
    if device == "cpu":
        return 1
    return int(np.clip(_VOXELS_AT_ONCE // np.prod(patch_voxels), 1, _MOST_TILES))


def _count_workers(requested: int | None, device: str, largest: int, cases: int) -> int:
    """Threads beside the network, which on a CPU needs every core itself."""
    logger.debug("the largest case needs about %.1f GiB", largest / GIB)
    if largest > free_memory_bytes():
        logger.warning(
            "the largest case needs about %.1f GiB, %.1f GiB are free",
            largest / GIB,
            free_memory_bytes() / GIB,
        )
    most = 1 if device == "cpu" else _MOST_WORKERS
    return min(most, count_workers(None, largest, cases)) if requested is None else requested


def _run(pipeline: Pipeline, todo: list[Case], total: int) -> None:
    failed: dict[str, str] = {}
    with track("predicting", len(todo)) as bar:
        for case_id, error in pipeline.run(todo, bar):
            bar.advance(note=case_id)
            if error:
                failed[case_id] = error
    if failed:
        raise FailedCases(failed, total, "The others are done; put these right and run it again.")
