"""The final validation: the fold's cases predicted whole, on their own grids, and scored.

It reads the raw scans, prepares and predicts them as `mednext predict` does, and so gives the same
label maps, byte for byte.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.evaluation.evaluate import EvaluateResult, EvaluateSpec, evaluate
from mednext_cli.foundation.errors import DatasetError, ScanError
from mednext_cli.foundation.files import read_json, storage_error, write_json
from mednext_cli.foundation.outcomes import Outcome, failed_cases, raise_failures
from mednext_cli.inference.average import Member, NetworkAverage, first_width
from mednext_cli.inference.engine import activation_of
from mednext_cli.inference.label_maps import write_labels
from mednext_cli.inference.pipeline import Predicted
from mednext_cli.inference.torch_engine import NetworkEngine
from mednext_cli.inference.workload import open_pipeline
from mednext_cli.networks.building import hash_weights
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.stamps import content_of, take_stamps
from mednext_cli.settings.plan import Plan
from mednext_cli.training.distributed import together
from mednext_cli.training.loop import LoopSpec
from mednext_cli.training.state import TrainingState
from mednext_cli.volumes.scans import LABEL_SUFFIX

_NOTE = "made_by.json"
_SCORES = ("cases.csv", "summary.csv", "report.html")
_REMEDY = "Put these right and run the same command again."
logger = logging.getLogger(__name__)


def validate_fold(state: TrainingState, loop: LoopSpec, cached: CachedDataset) -> dict[str, float]:
    """Predict and score the validation cases with the final weights; done cases are kept.

    Several processes share the cases out; the first scores them.

    Returns:
        Mean Dice by region, over the cases.

    Raises:
        FailedCases: some could not be predicted or scored; the others are, and the scores written.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    folder, names, processes = loop.folder.validation, loop.split.validation, loop.processes
    known, todo = None, list[str]()
    with together(processes):
        if processes.rank == 0:
            _begin(folder, state, {name: cached.case(name).key for name in names})
            known = _known_dice(folder, names)
            todo = [name for name in names if not _path(folder, name).is_file()]
    known, todo = processes.gather((known, todo))[0]
    if known is not None:
        return known
    own = [raw_case(cached, name) for name in todo[processes.rank :: processes.world_size]]
    failures = processes.gather(_predict(state, loop, cached, own) if own else [])
    dice: dict[str, float] = {}
    with together(processes):
        if processes.rank == 0:
            dice = _score_all(folder, state, cached, names, list(chain(*failures)))
    return processes.gather(dice)[0]


def _score_all(
    folder: Path,
    state: TrainingState,
    cached: CachedDataset,
    names: Sequence[str],
    failures: Sequence[Outcome[None]],
) -> dict[str, float]:
    """Mean Dice by region of the cases that are predicted.

    Raises:
        FailedCases: some could not be predicted, or cannot be scored.
    """
    done = [name for name in names if _path(folder, name).is_file()]
    if not done:
        raise failed_cases(failures, len(names), _REMEDY)
    result = _score(folder, state, cached, done)
    _raise_failed(failures, result, len(names))
    return {region: result.mean("dice", region) for region in result.regions}


def _known_dice(folder: Path, names: Sequence[str]) -> dict[str, float] | None:
    """Mean Dice by region, as it was scored; None where something is missing.

    `_begin` has removed scores of other weights or cases.
    """
    files = [_path(folder, name) for name in names] + [folder / name for name in _SCORES]
    if not all(path.is_file() for path in files):
        return None
    from mednext_cli.evaluation.tables.read_cases import read_cases

    try:
        table = read_cases(folder / "cases.csv", ["dice"])
    except DatasetError:
        return None
    if set(table.cases) != set(names):  # some could not be compared
        return None
    means = table.scores["dice"].groupby(level="region", sort=False).mean()
    return {region: float(means[region]) for region in table.regions}


def validated_cases(folder: Path) -> set[str]:
    """The cases that a validation is of, whether or not all of them could be scored.

    Args:
        folder: of the validation.
    """
    return set(_read_note(folder / _NOTE).get("cases") or ())


def _path(folder: Path, case_id: str) -> Path:
    return folder / f"{case_id}{LABEL_SUFFIX}"


def raw_case(cached: CachedDataset, case_id: str) -> Case:
    """The files of a case; one named for several channels holds them along its fourth axis."""
    known = cached.case(case_id)
    paths = [Path(path) for path in known.image_paths]
    several = len(paths) > 1 and len(set(paths)) == 1
    channels = (Channel(path, index if several else None) for index, path in enumerate(paths))
    label = Path(known.label_path) if known.label_path else None
    return Case(case_id, tuple(channels), label)


def _begin(folder: Path, state: TrainingState, keys: Mapping[str, str]) -> None:
    """Keep what was made by the same weights, in the same way, from the same cases; else remove it.

    Args:
        folder: of the validation.
        state: with the weights.
        keys: what each case's cache was made from, its label too, by case id.
    """
    note = folder / _NOTE
    made_by = {
        "weights": hash_weights(state.network.state_dict()),
        "plan": state.plan.model_dump(mode="json", exclude={"mirror_axes"}),  # the recipe's count
        "inference": state.recipe.inference.model_dump(mode="json"),
    }
    known = _read_note(note)
    known_keys = known.pop("cases", None)
    if known != made_by or not isinstance(known_keys, dict):
        known_keys = {}
        _empty(folder)
    changed = [name for name, key in keys.items() if known_keys.get(name) != key]
    for path in (*(_path(folder, name) for name in changed), *(folder / name for name in _SCORES)):
        if changed:
            path.unlink(missing_ok=True)
    write_json(note, {**made_by, "cases": dict(keys)})


def _read_note(note: Path) -> dict[str, Any]:
    try:
        content = read_json(note)
    except DatasetError:
        return {}
    return dict(content) if isinstance(content, dict) else {}


def _empty(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise storage_error(folder, error) from error


def _predict(
    state: TrainingState, loop: LoopSpec, cached: CachedDataset, todo: Sequence[Case]
) -> list[Outcome[None]]:
    """Predict cases; yields what became of those that failed."""
    store = _ValidationStore(loop.folder.validation, state.plan, cached)
    failures = []
    with open_pipeline(_networks(state, loop), store, todo, "validating") as (pipeline, count):
        for outcome in pipeline.run(todo, count):
            count.end(outcome.name)
            if outcome.error is not None:
                failures.append(outcome)
    return failures


def _networks(state: TrainingState, loop: LoopSpec) -> NetworkAverage:
    """The network as it is, in the precision of training."""
    state.network.eval()
    recipe = state.recipe
    member = Member(
        engine=NetworkEngine(
            state.network, activation_of(state.plan), loop.device, state.precision.dtype
        ),
        patch_voxels=state.plan.patch_voxels,
        mirror_axes=recipe.augmentation.mirrored if recipe.inference.mirror else (),
        overlap=recipe.inference.overlap,
        turn=state.plan.turn,
        width=first_width(state.network.state_dict()),
    )
    return NetworkAverage((member,), state.plan)


class _ValidationStore:
    """The validation folder of a run; its cases are those of the cache or refused."""

    def __init__(self, folder: Path, plan: Plan, cached: CachedDataset) -> None:
        self._folder, self._plan = folder, plan
        self._contents = {name: cached.entry(name).content for name in cached.case_ids}

    def before_reading(self, case: Case) -> None:
        """Refuse a scan or label that is not what the cache was made from."""
        known = self._contents[case.id]
        if case.label is not None and case.label.is_dir():  # of masks that only the layout knows
            case, known = replace(case, label=None), [known[0], None] if known else None
        if known is not None and content_of(case, take_stamps(case)) != known:
            raise ScanError(
                f"{case.channels[0].path} or its label changed since mednext preprocess",
                "Run mednext preprocess again, and train on that.",
            )

    def sink(self, case: Case, geometry: SourceGeometry, axes: tuple[int, int]) -> None:
        """Nobody wants the probabilities."""

    def write(self, predicted: Predicted) -> None:
        """Write the label map."""
        write_labels(_path(self._folder, predicted.case.id), predicted, self._plan)


def _score(
    folder: Path, state: TrainingState, cached: CachedDataset, done: Sequence[str]
) -> EvaluateResult:
    labels = {name: Path(cached.case(name).label_path or "") for name in done}
    # Label maps that preprocessing resampled still lie on their own grid.
    spec = EvaluateSpec(
        predictions=folder, labels=labels, label_set=state.plan.label_set, resample=True
    )
    return evaluate(spec)


def _raise_failed(failures: Sequence[Outcome[None]], result: EvaluateResult, total: int) -> None:
    """Raise `FailedCases` for the cases that failed, be it in predicting or in scoring."""
    every: list[Outcome[Any]] = [*failures, *result.failed.values()]
    raise_failures(every, total, _REMEDY, "The others are scored.")
