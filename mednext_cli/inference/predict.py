"""Label maps for a folder of scans, on the scans' own grids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mednext_cli import __version__
from mednext_cli.datasets.dataset import Case
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.outcomes import Outcome, raise_failures
from mednext_cli.foundation.parts import Part
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.average import build_average
from mednext_cli.inference.catalogue.names import resolve_models
from mednext_cli.inference.engine import EngineOptions, choose_engine
from mednext_cli.inference.findings.derive import Derivation, join_tables
from mednext_cli.inference.findings.dicom import check_objects
from mednext_cli.inference.findings.files import (
    CHANGES,
    CONTOURS,
    DISAGREEMENT,
    ENTROPY,
    SEGMENTATION,
    VOLUMES,
    Wanted,
)
from mednext_cli.inference.findings.structures import choose_structures, mask_names
from mednext_cli.inference.folds import Folds
from mednext_cli.inference.label_maps import RecordedStore
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.postprocessing.find import find_steps
from mednext_cli.inference.postprocessing.steps import Step
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.reporting.cases import read_cases
from mednext_cli.inference.reporting.page import ReportContent, write_report
from mednext_cli.inference.sharing import Share
from mednext_cli.inference.sources import find_cases, select_cases
from mednext_cli.inference.workload import open_pipeline
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.mirror_axes import Axis
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.sections import Operators, Precision
from mednext_cli.volumes.formats.dicom_objects import Origin

_OTHERS = "The others are done."


@dataclass(frozen=True)
class PredictSpec:
    """What `mednext predict` is asked to do.

    Attributes:
        images: see `sources.find_cases`; or the cases themselves.
        models: checkpoints, run folders, folders of folds, or names (`mednext models ls`); several
            are averaged.
        out: folder of the label maps.
        layout: of a raw dataset; None finds out.
        cases: ids of the cases to predict; None takes all.
        engine: auto, torch, openvino, onnx or a plugin's.
        overlap: None takes the recipe's.
        mirror: None takes the recipe's.
        probabilities: also write ``CASE_probabilities.npz``.
        workers: threads that prepare, and as many that write, beside the network; 0 for none,
            None chooses.
        device: auto, cpu, cuda, cuda:N or mps.
        force: predict cases anew that are done.
        operators: auto, fused or stock operators, of the engine torch.
        precision: auto, float32, bfloat16 or float16; auto as in training on a GPU, else float32.
        options: of the raw dataset's layout; None for none.
        scratch: where zip archives of scans are unpacked; None leaves them unread.
        folds: of folders of folds, those to average; None takes all, which must be finished.
        only: labels or regions that label maps hold, see `structures.choose_structures`; None
            keeps all.
        statistics: also write ``volumes.csv``.
        preview: also write ``previews/CASE.png``.
        split: also write ``structures/CASE/NAME.nii.gz``, a mask a structure.
        uncertainty: also write ``uncertainty/CASE/entropy.nii.gz``, and ``disagreement.nii.gz``
            where several networks are averaged.
        postprocess: whether label maps are post-processed as is stored with the models.
        postprocessing: of which file, instead; None takes the models' own, where they have one.
        mirror_axes: to mirror along; None takes those that each was trained with.
        weights: one of `models` each, see `load_models`.
        part: of the cases, sorted by id; None takes all.
        report: also write ``report.html`` of all cases in the folder, and what it shows of the
            cases given here: as `statistics` and `preview`.
        dicom_seg: also write ``dicom/CASE.seg.dcm``; every case has to be a DICOM series.
        rtstruct: also write ``dicom/CASE.rtstruct.dcm``, likewise.
        uid_seed: other UIDs of these for another text; None takes those of what they hold alone.
    """

    images: Path | tuple[Case, ...]
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
    precision: Precision = "auto"
    options: LayoutOptions | None = None
    scratch: Scratch | None = None
    folds: Folds | None = None
    only: tuple[str, ...] | None = None
    statistics: bool = False
    preview: bool = False
    split: bool = False
    uncertainty: bool = False
    postprocess: bool = True
    postprocessing: Path | None = None
    mirror_axes: tuple[Axis, ...] | None = None
    weights: tuple[float, ...] | None = None
    part: Part | None = None
    report: bool = False
    dicom_seg: bool = False
    rtstruct: bool = False
    uid_seed: str | None = None


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
        SettingsError: also options that exclude each other, or DICOM objects of other scans.
        DatasetError: no cases. FailedCases: some could not be predicted; the others are done.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    spec = replace(spec, models=resolve_models(spec.models))
    check_writable(spec.out)
    models = [
        model.asked(spec.overlap, spec.mirror, spec.mirror_axes)
        for model in load_models(spec.models, spec.folds, spec.weights)
    ]
    device = pick_device(spec.device)
    engine = choose_engine(spec.engine)
    job = _Job(spec, models, engine, device, _find_steps(spec, models[0].plan.label_set))
    passed_over: list[str] = []
    cases = _find_cases(spec, models[0].plan, passed_over)
    if spec.part is not None:
        cases = spec.part.of(cases)
    check_objects(job.derivation.wanted.dicom, cases)
    record = _make_record(job)
    record.check(cases)
    _check_apart(spec)
    made: list[Case] = []
    failures: list[Outcome[Any]] = []
    if record.is_untidy or any(record.is_open(case) for case in cases):
        made, failures = _work(job, record, cases)
    statistics = job.derivation.wanted.statistics
    for name, wanted in ((VOLUMES, statistics), (CHANGES, bool(job.steps))):
        if made or wanted:
            join_tables(spec.out, name)
    if spec.report:
        _report(job, record, (made, cases), failures, passed_over)
    raise_failures(failures, len(cases), "Put these right and run it again.", _OTHERS)
    names = {case.id for case in made}
    return PredictResult(
        spec.out,
        tuple(case.id for case in made),
        tuple(case.id for case in cases if case.id not in names),
    )


@dataclass(frozen=True)
class _Job:
    """What the specification comes to."""

    spec: PredictSpec
    models: Sequence[Model]
    engine: str
    device: torch.device
    steps: tuple[Step, ...]

    @cached_property
    def derivation(self) -> Derivation:
        spec, plan = self.spec, self.models[0].plan
        structures = choose_structures(plan.label_set, spec.only)
        maps = (ENTROPY, DISAGREEMENT) if len(self.models) > 1 else (ENTROPY,)
        wanted = Wanted(
            probabilities=spec.probabilities,
            uncertainty=maps if spec.uncertainty else (),
            changes=bool(self.steps),
            statistics=spec.statistics or spec.report,
            preview=spec.preview or spec.report,
            masks=tuple(mask_names(structures).values()) if spec.split else (),
            dicom=_kinds(spec),
            uid_seed=spec.uid_seed or "",
        )
        hashes = tuple(model.sha256 for model in self.models)
        origin = Origin(plan.dataset, __version__, hashes, spec.uid_seed or "")
        return Derivation(wanted, structures, plan, origin)


def _kinds(spec: PredictSpec) -> tuple[str, ...]:
    """The DICOM objects that are wanted."""
    asked = {SEGMENTATION: spec.dicom_seg, CONTOURS: spec.rtstruct}
    kinds = tuple(kind for kind, wanted in asked.items() if wanted)
    if spec.uid_seed is not None and not kinds:
        raise SettingsError("--uid-seed is for --dicom-seg and --rtstruct", "Add one of them.")
    return kinds


def _find_steps(spec: PredictSpec, labels: LabelSet) -> tuple[Step, ...]:
    if spec.postprocess:
        return find_steps(spec.models, labels, spec.postprocessing)
    if spec.postprocessing is not None:
        raise SettingsError("--postprocess and --no-postprocess exclude each other", "Drop one.")
    return ()


def _find_cases(spec: PredictSpec, plan: Plan, passed_over: list[str]) -> list[Case]:
    """Those asked for; what lies in the output folder is no scan, even if that is among them."""
    if not isinstance(spec.images, Path):
        return list(spec.images)
    found = find_cases(
        spec.images, plan, spec.layout, spec.options, spec.scratch, passed_over.append
    )
    out = spec.out.resolve()
    if out != spec.images.resolve():
        found = [case for case in found if out not in case.channels[0].path.resolve().parents]
    return found if spec.cases is None else select_cases(found, spec.cases)


def _check_apart(spec: PredictSpec) -> None:
    """Label maps among the scans would be taken for scans the next time."""
    if not isinstance(spec.images, Path):
        return
    if spec.out.exists() and spec.images.is_dir() and spec.out.samefile(spec.images):
        raise SettingsError(
            f"--out {spec.out} is the folder of the scans", "Choose another, such as one in it."
        )


def _make_record(job: _Job) -> PredictionRecord:
    spec, models = job.spec, job.models
    decisive: dict[str, Any] = {
        "models": [model.sha256 for model in models],
        "overlap": [model.overlap for model in models],
        "mirror_axes": [list(model.mirrored) for model in models],
    }
    if spec.precision != "auto":
        decisive["precision"] = spec.precision
    if spec.weights is not None:
        decisive["weights"] = [model.weight for model in models]
    if spec.only is not None:
        decisive["only"] = list(job.derivation.structures)
    if job.steps:
        decisive["postprocessing"] = [step.model_dump(mode="json") for step in job.steps]
    provenance = {
        "models": [str(model.path) for model in models],
        "engine": job.engine,
        "device": str(job.device),
        "precision": spec.precision,
        "label_set": _recorded(models[0].plan.label_set),
    }
    return PredictionRecord(spec.out, decisive, provenance, job.derivation.wanted, spec.force)


def _recorded(labels: LabelSet) -> dict[str, Any]:
    """What evaluation and `mednext ensemble` read of the labels that are written."""
    return {
        "labels": dict(labels.names),
        "regions": dict(labels.regions),
        "ignore": labels.ignore,
        "region_training": labels.region_training,
        "region_values": list(labels.region_values),
    }


def _work(
    job: _Job, record: PredictionRecord, cases: list[Case]
) -> tuple[list[Case], list[Outcome[Any]]]:
    """Do this process's share of the cases: those that it made, and what became of the others."""
    spec = job.spec
    record.begin(cases)
    store = RecordedStore(record, job.derivation, job.steps)
    try:
        todo = [case for case in cases if record.is_open(case)]
        share = Share(record, todo, store.describe)
        if share.cases:
            options = EngineOptions(job.device, spec.operators, spec.precision)
            networks = build_average(job.models, job.engine, options)
            run = ("predicting", spec.workers, "--workers 0", spec.uncertainty)
            with open_pipeline(networks, store, share.cases, *run) as (pipeline, count):
                share.work(pipeline, count)
    finally:
        record.end()
    return share.made, share.failures


def _report(
    job: _Job,
    record: PredictionRecord,
    given: tuple[Sequence[Case], Sequence[Case]],
    failures: Sequence[Outcome[Any]],
    passed_over: Sequence[str],
) -> None:
    """Write report.html of the whole folder.

    Args:
        job: what was done.
        record: of the folder.
        given: the cases of this call that it made, and all of them.
        failures: of this call.
        passed_over: what was not taken for a case.
    """
    made, cases = given
    facts = {
        "Models": ", ".join(str(model.path) for model in job.models),
        "Engine": f"{job.engine}, {job.device}, precision {job.spec.precision}",
        "This call": f"{len(cases)} cases given, {len(made)} made",
        "Post-processing": ", ".join(f"{step.structure}: {step.text}" for step in job.steps)
        or "none",
    }
    if job.spec.only is not None:
        facts["Kept"] = ", ".join(job.derivation.structures)
    write_report(
        ReportContent(
            folder=job.spec.out,
            facts=facts,
            cases=read_cases(job.spec.out, record.done_ids()),
            failed={one.name: one.error or "" for one in failures},
            passed_over=passed_over,
        )
    )
