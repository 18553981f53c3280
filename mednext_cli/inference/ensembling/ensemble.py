"""Label maps of the average of saved probabilities."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.outcomes import Outcome, attempt, raise_failures
from mednext_cli.foundation.progress import track
from mednext_cli.inference.ensembling.saved import average, find_saved, read_saved_labels
from mednext_cli.inference.ensembling.saved_files import open_saved
from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.options import check_member_weights
from mednext_cli.inference.postprocessing.apply import apply_steps
from mednext_cli.inference.postprocessing.find import find_steps
from mednext_cli.inference.postprocessing.steps import Step
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.record_file import read_record
from mednext_cli.inference.sharing import Share
from mednext_cli.preprocessing.restore import label_map_of
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.scans import write_label_map

_FEWEST = 2  # to average
_MOST_NAMED = 5
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleSpec:
    """What `mednext ensemble` is asked to do.

    Attributes:
        predictions: folders of `mednext predict --probabilities`, of the same scans.
        out: folder of the label maps.
        weights: of each folder; None weighs all alike.
        postprocessing: file of the post-processing to do, or its folder; None does none.
        force: make label maps anew that are there.
    """

    predictions: tuple[Path, ...]
    out: Path
    weights: tuple[float, ...] | None = None
    postprocessing: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class EnsembleResult:
    """Where the label maps are, which were made now, and which were there or made by others."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]


def ensemble(spec: EnsembleSpec) -> EnsembleResult:
    """Average every case that all folders have; done cases are kept, as `mednext predict` does.

    Raises:
        SettingsError: folders without probabilities, of other labels, or without a common case.
        FailedCases: some cases failed; the others are done. StorageError: the disk refuses.
    """
    check_writable(spec.out)
    labels = _check(spec)
    cases = _common_cases(spec.predictions)
    steps = find_steps((), labels, spec.postprocessing) if spec.postprocessing else ()
    shares = _shares(spec)
    record = _make_record(spec, shares, steps)
    record.check(cases)
    made: list[Case] = []
    if record.is_untidy or any(record.is_open(case) for case in cases):
        made = _work(record, cases, _Averaging(record, labels, shares, steps))
    names = {case.id for case in made}
    kept = tuple(case.id for case in cases if case.id not in names)
    return EnsembleResult(spec.out, tuple(case.id for case in made), kept)


def _check(spec: EnsembleSpec) -> LabelSet:
    """What all folders' probabilities are of."""
    folders = spec.predictions
    if len({folder.resolve() for folder in folders}) < max(_FEWEST, len(folders)):
        raise SettingsError("an average needs two folders or more", "Give different ones.")
    if spec.out.resolve() in {folder.resolve() for folder in folders}:
        raise SettingsError(f"--out {spec.out} is one of the folders", "Choose another.")
    check_member_weights(spec.weights, len(folders))
    found = [read_saved_labels(folder) for folder in folders]
    for folder, labels in zip(folders, found, strict=True):
        if (labels, labels.outputs) != (found[0], found[0].outputs):  # regions have an order
            raise SettingsError(
                f"the labels of {folders[0]} and {folder} differ", "Average each task by itself."
            )
    return found[0]


def _common_cases(folders: Sequence[Path]) -> list[Case]:
    """Cases whose files of probabilities stand for the channels of a scan."""
    saved = [find_saved(folder) for folder in folders]
    every = sorted(set().union(*saved))
    common = [name for name in every if all(name in found for found in saved)]
    if not common:
        raise SettingsError(
            f"{folders[0]} and {folders[1]} have no case in common", "Give the same scans' folders."
        )
    if lacking := [name for name in every if name not in common]:
        named = ", ".join(lacking[:_MOST_NAMED]) + (", ..." if lacking[_MOST_NAMED:] else "")
        logger.warning("passed over: %s (not in every folder)", named)
    return [Case(name, tuple(Channel(found[name]) for found in saved)) for name in common]


def _shares(spec: EnsembleSpec) -> tuple[float, ...]:
    weights = spec.weights or (1.0,) * len(spec.predictions)
    return tuple(weight / sum(weights) for weight in weights)


def _make_record(
    spec: EnsembleSpec, shares: Sequence[float], steps: Sequence[Step]
) -> PredictionRecord:
    decisive: dict[str, Any] = {"ensemble": list(shares)}
    if steps:
        decisive["postprocessing"] = [step.model_dump(mode="json") for step in steps]
    provenance = {
        "ensemble": [str(folder) for folder in spec.predictions],
        "label_set": read_record(spec.predictions[0]).provenance["label_set"],
    }
    return PredictionRecord(spec.out, decisive, provenance, force=spec.force)


def _work(record: PredictionRecord, cases: list[Case], averaging: "_Averaging") -> list[Case]:
    record.begin(cases)
    try:
        todo = [case for case in cases if record.is_open(case)]
        share = Share(record, todo, averaging.make)
        with track("averaging", max(1, len(todo)), "cases") as bar:
            share.work(averaging, TileCount(bar, dict.fromkeys((case.id for case in todo), 1)))
    finally:
        record.end()
    raise_failures(
        share.failures, len(cases), "Put these right and run it again.", "The others are done."
    )
    return share.made


@dataclass(frozen=True)
class _Averaging:
    """Cases, one after the other; of each, one class of all folders is held."""

    record: PredictionRecord
    labels: LabelSet
    shares: tuple[float, ...]
    steps: tuple[Step, ...]

    def run(self, cases: Iterable[Case], count: TileCount) -> Iterator[Outcome[None]]:
        for case in cases:
            outcome = attempt(case.id, partial(self.make, case))
            count.advance(case.id, 1)
            yield outcome

    def make(self, case: Case) -> None:
        started = time.monotonic()
        self.record.identify(case)
        with ExitStack() as stack:
            members = [
                stack.enter_context(open_saved(channel.path, self.labels))
                for channel in case.channels
            ]
            made = label_map_of(average(members, self.shares), self.labels)
            grid = members[0].grid
        apply_steps(made, self.steps, grid.voxel_ml)
        beside = CaseFiles(case.channels[0].path.parent, case.id).label_map
        self.record.prepare_writing(case)
        write_label_map(self.record.files(case).label_map, made, beside, self.labels.names)
        self.record.note(case, time.monotonic() - started)
