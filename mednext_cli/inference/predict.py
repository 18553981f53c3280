"""Label maps for a folder of scans, on the scans' own grids."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.devices import pick_device
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.outcomes import Outcome, raise_failures
from mednext_cli.inference.asked_cases import AskedCases, find_asked_cases
from mednext_cli.inference.average import build_average
from mednext_cli.inference.catalogue.names import resolve_models
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.engine_choice import (
    CPU_ENGINES,
    USUAL,
    EngineChoice,
    choose_engine,
    tiles_of,
)
from mednext_cli.inference.findings.files import CHANGES, VOLUMES
from mednext_cli.inference.findings.tables import join_tables
from mednext_cli.inference.job import Job, choose_steps, make_record
from mednext_cli.inference.label_maps import RecordedStore
from mednext_cli.inference.memory import Beside, estimate_shape, peek
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.record_file import read_record
from mednext_cli.inference.sharing import Share
from mednext_cli.inference.specification import PredictResult, PredictSpec
from mednext_cli.inference.workload import open_pipeline

_OTHERS = "The others are done."


def predict(spec: PredictSpec) -> PredictResult:
    """Predict every case that is not done; several processes may share the cases of a folder.

    Raises:
        CheckpointError, SettingsError: the models cannot be used, or not together.
        SettingsError: also options that exclude each other, or DICOM objects of other scans.
        DatasetError: no cases. FailedCases: some could not be predicted; the others are done.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    return predict_found(spec, None)


def predict_found(spec: PredictSpec, found: AskedCases | None) -> PredictResult:
    """As `predict`, of cases that were looked for already (`settled.find_settled`), or not."""
    spec = replace(spec, models=resolve_models(spec.models))
    check_writable(spec.out)
    models = [
        model.asked(spec.overlap, spec.mirror, spec.mirror_axes)
        for model in load_models(spec.models, spec.folds, spec.weights)
    ]
    device = pick_device(spec.device)
    steps = choose_steps(spec, models[0].plan.label_set)
    found = found or find_asked_cases(spec, models[0].plan)
    job = Job(spec, models, _choose_engine(spec, models, device, found.every), device, steps)
    cases = found.of(spec)
    _check_objects(job, cases)
    record = make_record(job)
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
        _report(job, record, (made, cases), failures, found.passed_over)
    raise_failures(failures, len(cases), "Put these right and run it again.", _OTHERS)
    names = {case.id for case in made}
    return PredictResult(
        spec.out,
        tuple(case.id for case in made),
        tuple(case.id for case in cases if case.id not in names),
    )


def _check_objects(job: Job, cases: Sequence[Case]) -> None:
    if kinds := job.derivation.wanted.dicom:
        from mednext_cli.inference.findings.dicom import check_objects

        check_objects(kinds, cases)


def _choose_engine(
    spec: PredictSpec, models: Sequence[Model], device: torch.device, cases: Sequence[Case]
) -> EngineChoice:
    """The one asked for; of ``auto`` the one that the folder was begun with, else the fastest.

    For all cases of the folder, whichever part of them is this process's: all are to agree.
    """
    adopts = spec.engine == "auto" and not spec.force
    if adopts and (begun := _begun_with(spec.out, device)):
        return begun

    def count(model: Model) -> int:
        grids = [grid for grid in map(peek, cases) if grid is not None]
        return tiles_of(model, [estimate_shape(grid, model.plan) for grid in grids])

    options = EngineOptions(device, spec.operators, spec.precision)
    chosen = choose_engine(spec.engine, models, options, count)
    # Another process may have begun the folder while this one measured.
    return (_begun_with(spec.out, device) if adopts else None) or chosen


def _begun_with(folder: Path, device: torch.device) -> EngineChoice | None:
    """The engine of a folder's label maps; None where there are none yet."""
    begun = read_record(folder)
    if begun.settings is None or not begun.exists:
        return None
    name = begun.settings.get("engine", USUAL)
    if name in CPU_ENGINES and device.type != "cpu":
        raise SettingsError(
            f"{folder} was begun with the engine {name}, which computes on the CPU",
            "Add --device cpu, or choose another --out.",
        )
    told = begun.provenance.get("engine_milliseconds")
    return EngineChoice(name, told if isinstance(told, dict) else {})


def _check_apart(spec: PredictSpec) -> None:
    """Label maps among the scans would be taken for scans the next time."""
    if not isinstance(spec.images, Path):
        return
    if spec.out.exists() and spec.images.is_dir() and spec.out.samefile(spec.images):
        raise SettingsError(
            f"--out {spec.out} is the folder of the scans", "Choose another, such as one in it."
        )


def _work(
    job: Job, record: PredictionRecord, cases: list[Case]
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
            networks = build_average(job.models, job.engine.name, options)
            beside = job.derivation.wanted
            wanted = Beside(len(beside.uncertainty), beside.probabilities)
            run = ("predicting", spec.workers, "--workers 0", wanted)
            with open_pipeline(networks, store, share.cases, *run) as (pipeline, count):
                share.work(pipeline, count)
    finally:
        record.end()
    return share.made, share.failures


def _report(
    job: Job,
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
    from mednext_cli.inference.reporting.cases import read_cases
    from mednext_cli.inference.reporting.page import ReportContent, write_report

    made, cases = given
    facts = {
        "Models": ", ".join(str(model.path) for model in job.models),
        "Engine": f"{job.engine.name}, {job.device}, precision {job.spec.precision}",
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
