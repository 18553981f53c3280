"""What a call of `mednext predict` comes to: networks, what is made of a case, what decides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from mednext_cli import __version__
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.engine_choice import USUAL, EngineChoice
from mednext_cli.inference.findings.derive import Derivation
from mednext_cli.inference.findings.files import (
    CONTOURS,
    DISAGREEMENT,
    ENTROPY,
    SEGMENTATION,
    Wanted,
)
from mednext_cli.inference.findings.structures import choose_structures, mask_names
from mednext_cli.inference.int8_networks import hash_int8
from mednext_cli.inference.models import Model
from mednext_cli.inference.postprocessing.find import find_steps
from mednext_cli.inference.postprocessing.steps import Step
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.settled import CALL, describe_call
from mednext_cli.inference.specification import PredictSpec
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.formats.dicom_objects import Origin


@dataclass(frozen=True)
class Job:
    """What the specification comes to."""

    spec: PredictSpec
    models: Sequence[Model]
    engine: EngineChoice
    device: torch.device
    steps: tuple[Step, ...]

    @cached_property
    def derivation(self) -> Derivation:
        """What is made of each case beside its label map."""
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


def choose_steps(spec: PredictSpec, labels: LabelSet) -> tuple[Step, ...]:
    """The post-processing that is asked for.

    Raises:
        SettingsError: options that exclude each other, or steps for other labels.
    """
    if spec.postprocess:
        return find_steps(spec.models, labels, spec.postprocessing)
    if spec.postprocessing is not None:
        raise SettingsError("--postprocess and --no-postprocess exclude each other", "Drop one.")
    return ()


def make_record(job: Job) -> PredictionRecord:
    """The record of the folder, which keeps what decides its label maps."""
    spec, models = job.spec, job.models
    decisive: dict[str, Any] = {
        "models": [model.sha256 for model in models],
        "overlap": [model.overlap for model in models],
        "mirror_axes": [list(model.mirrored) for model in models],
    }
    if job.engine.name != USUAL:
        decisive["engine"] = job.engine.name
    if spec.precision != "auto":
        decisive["precision"] = spec.precision
    if spec.precision == "int8" and job.engine.name == "openvino":
        decisive["int8"] = [hash_int8(model.path) for model in models]
    if spec.weights is not None:
        decisive["weights"] = [model.weight for model in models]
    if spec.only is not None:
        decisive["only"] = list(job.derivation.structures)
    if job.steps:
        decisive["postprocessing"] = [step.model_dump(mode="json") for step in job.steps]
    provenance = {
        "models": [str(model.path) for model in models],
        "engine": job.engine.name,
        "engine_milliseconds": dict(job.engine.milliseconds),
        "device": str(job.device),
        "precision": spec.precision,
        "label_set": _recorded(models[0].plan.label_set),
        CALL: describe_call(spec, models[0].plan, job.derivation.wanted),
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
