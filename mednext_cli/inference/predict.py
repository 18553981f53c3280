"""Label maps for a folder of scans, on the scans' own grids."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mednext_cli.datasets.dataset import Case
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.machine import GIB, count_workers, free_memory_bytes
from mednext_cli.foundation.outcomes import raise_failures
from mednext_cli.foundation.progress import track
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.engine import Engine, build_engine, choose_engine
from mednext_cli.inference.folds import Folds
from mednext_cli.inference.label_maps import RecordedStore
from mednext_cli.inference.memory import bytes_on, estimate_shape, peek
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.pipeline import Member, Pipeline
from mednext_cli.inference.progress import TileCount, expected_tiles
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.sharing import Share
from mednext_cli.inference.sources import find_cases, select_cases
from mednext_cli.inference.torch_engine import TorchEngine
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import LARGEST_OVERLAP, Operators
from mednext_cli.volumes.volume import Grid

_VOXELS_AT_ONCE = 2**19  # of a batch of tiles on an accelerator: enough to keep it busy
_MOST_TILES = 8
_MOST_WORKERS = 4  # beside an accelerator; reading and writing are not faster with more
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
        operators: auto, fused or stock operators, of the engine torch.
        options: of the raw dataset's layout; None for none.
        scratch: where zip archives of scans are unpacked; None leaves them unread.
        folds: of folders of folds, those to average; None takes all, which must be finished.
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
    operators: Operators = "auto"
    options: LayoutOptions | None = None
    scratch: Scratch | None = None
    folds: Folds | None = None


@dataclass(frozen=True)
class PredictResult:
    """Where the label maps are, which were made now, and which were there or made by others."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]


def predict(spec: PredictSpec) -> PredictResult:
    """Predict every case that is not done; several processes may share the cases of a folder.

    Raises:
        CheckpointError, SettingsError: the models cannot be used, or not together.
        DatasetError: no cases. FailedCases: some could not be predicted; the others are done.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    check_writable(spec.out)
    models = load_models(spec.models, spec.folds)
    _check_overlaps(spec, models)
    device = str(pick_device(spec.device))
    engine = choose_engine(spec.engine)
    cases = _find_cases(spec, models[0].plan)
    record = _make_record(spec, models, engine, device)
    record.check(cases)
    _check_apart(spec)
    made: list[Case] = []
    if record.is_untidy or any(record.is_open(case) for case in cases):
        made = _work(spec, models, engine, device, record, cases)
    names = {case.id for case in made}
    return PredictResult(
        spec.out,
        tuple(case.id for case in made),
        tuple(case.id for case in cases if case.id not in names),
    )


def _find_cases(spec: PredictSpec, plan: Plan) -> list[Case]:
    """Those asked for; what lies in the output folder is no scan, even if that is among them."""
    found = find_cases(spec.images, plan, spec.layout, spec.options, spec.scratch)
    out = spec.out.resolve()
    if out != spec.images.resolve():
        found = [case for case in found if out not in case.channels[0].path.resolve().parents]
    return found if spec.cases is None else select_cases(found, spec.cases)


def _check_apart(spec: PredictSpec) -> None:
    """Label maps among the scans would be taken for scans the next time."""
    if spec.out.exists() and spec.images.is_dir() and spec.out.samefile(spec.images):
        raise SettingsError(
            f"--out {spec.out} is the folder of the scans", "Choose another, such as one in it."
        )


def _check_overlaps(spec: PredictSpec, models: Sequence[Model]) -> None:
    for model in models:
        overlap = _overlap(spec, model)
        if not 0 <= overlap <= LARGEST_OVERLAP:  # or no number at all
            whose = "--overlap" if spec.overlap is not None else f"{model.path}: overlap"
            raise SettingsError(
                f"{whose} {overlap} is not between 0 and {LARGEST_OVERLAP}", "Give --overlap 0.5."
            )


def _make_record(
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
        "label_set": _recorded(models[0].plan.label_set),
    }
    return PredictionRecord(spec.out, decisive, provenance, spec.probabilities, spec.force)


def _recorded(labels: LabelSet) -> dict[str, Any]:
    """What evaluation reads of the labels that are written."""
    return {
        "labels": dict(labels.names),
        "regions": dict(labels.regions),
        "ignore": labels.ignore,
        "region_training": labels.region_training,
    }


def _overlap(spec: PredictSpec, model: Model) -> float:
    return model.overlap if spec.overlap is None else spec.overlap


def _mirror_axes(spec: PredictSpec, model: Model) -> tuple[int, ...]:
    wanted = model.mirror if spec.mirror is None else spec.mirror
    return model.mirror_axes if wanted else ()


def _work(
    spec: PredictSpec,
    models: list[Model],
    engine: str,
    device: str,
    record: PredictionRecord,
    cases: list[Case],
) -> list[Case]:
    """Do this process's share of the cases; yields those that it made."""
    record.begin(cases)
    try:
        share = Share(record, [case for case in cases if record.is_open(case)])
        if share.cases:
            members = _members(spec, models, engine, device)
            plan = models[0].plan
            grids = {case.id: peek(case) for case in share.cases}
            store = RecordedStore(record, plan, spec.probabilities)
            largest = largest_bytes(grids, plan, len(models))
            workers = choose_workers(spec.workers, device, largest, len(grids))
            tiles = estimate_tiles(grids, plan, members)
            with track("predicting", expected_tiles(tiles), "tiles") as bar:
                share.work(Pipeline(members, plan, store, workers), TileCount(bar, tiles))
    finally:
        record.end()
    raise_failures(
        share.failures, len(cases), "Put these right and run it again.", "The others are done."
    )
    return share.made


def _members(spec: PredictSpec, models: list[Model], engine: str, device: str) -> list[Member]:
    return [
        Member(
            engine=_engine(engine, model, device, spec.operators),
            patch_voxels=model.plan.patch_voxels,
            mirror_axes=_mirror_axes(spec, model),
            overlap=_overlap(spec, model),
            batch=choose_batch(model.plan.patch_voxels, device),
        )
        for model in models
    ]


def _engine(name: str, model: Model, device: str, operators: Operators) -> Engine:
    engine = build_engine(name, model.checkpoint, model.plan, device)
    if isinstance(engine, TorchEngine):
        engine.choose_operators(operators)
    return engine


def choose_batch(patch_voxels: tuple[int, int, int], device: str) -> int:
    """Tiles at once. On a CPU one: eight of 32 x 48 x 32 took 2.6 times as long for each tile."""
    if device == "cpu":
        return 1
    return int(np.clip(_VOXELS_AT_ONCE // np.prod(patch_voxels), 1, _MOST_TILES))


def estimate_tiles(
    grids: Mapping[str, Grid | None], plan: Plan, members: Sequence[Member]
) -> dict[str, int]:
    """Tiles of each case, by case id, told from its header; 0 where that tells nothing."""
    return {
        name: 0
        if grid is None
        else sum(member.count_tiles(estimate_shape(grid, plan)) for member in members)
        for name, grid in grids.items()
    }


def largest_bytes(grids: Mapping[str, Grid | None], plan: Plan, models: int) -> int:
    """Memory that the largest case needs beside the network, as far as headers tell."""
    return max((bytes_on(grid, plan, models) for grid in grids.values() if grid), default=0)


def choose_workers(requested: int | None, device: str, largest: int, cases: int) -> int:
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
