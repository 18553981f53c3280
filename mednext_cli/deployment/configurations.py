"""Every configuration of a sheet: network, scan, engine, precision and number of cores."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch

from mednext_cli.datasets.dataset import Case
from mednext_cli.deployment.machine import describe_machine, describe_system, versions_of
from mednext_cli.deployment.precision import missing_precision, resolve_precision
from mednext_cli.deployment.scans import MADE_UP, MeasuredScan, made_up_scan, own_scan
from mednext_cli.deployment.specification import ClinicalSheetSpec
from mednext_cli.deployment.subjects import Subject, trained_subject, untrained_subjects
from mednext_cli.deployment.task import Task
from mednext_cli.foundation.devices import pick_device
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.engine_choice import USUAL
from mednext_cli.inference.memory import estimate_shape
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.sections import Precision


@dataclass(frozen=True, eq=False)
class Configuration:
    """What is measured in one process.

    Attributes:
        subject: the network.
        scan: what it predicts.
        engine: name of the engine.
        precision: float32, bfloat16 or float16.
        threads: cores.
        device: where the network computes.
        repeats: predictions after the first.
    """

    subject: Subject
    scan: MeasuredScan
    engine: str
    precision: Precision
    threads: int
    device: torch.device
    repeats: int

    @property
    def name(self) -> str:
        """For messages."""
        plural = "" if self.threads == 1 else "s"
        how = f"{self.engine}, {self.precision}, {self.threads} thread{plural}"
        return f"{self.subject.name} on {self.scan.name} ({how})"

    @cached_property
    def tiles(self) -> int:
        """Of one prediction, if nothing of the scan is cropped."""
        return self.subject.count_tiles(estimate_shape(self.scan.grid, self.subject.plan))

    @property
    def missing(self) -> str:
        """What the hardware lacks for it; empty where nothing."""
        return missing_precision(self.precision, self.device)

    @cached_property
    def machine(self) -> str:
        """Where it is measured."""
        return describe_machine(self.device)

    @cached_property
    def versions(self) -> str:
        """Of what computes."""
        return ", ".join(f"{name} {text}" for name, text in versions_of(self.engine).items())

    @cached_property
    def key(self) -> str:
        """Equal for configurations whose figures stand for each other."""
        identity = {
            **self.subject.identity(),
            "scan": self.scan.identity,
            **{name: getattr(self, name) for name in ("engine", "precision", "threads", "repeats")},
            "device": str(self.device),
            "where": [self.machine, describe_system(), self.versions],
        }
        return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def task(self, case: Case, models: tuple[Path, ...], label_map: Path) -> Task:
        """What its process is told.

        Args:
            case: the scan's files.
            models: the network's files.
            label_map: a file to write.
        """
        model = self.subject.models[0]
        return Task(
            models=models,
            case=case,
            label_map=label_map,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            device=str(self.device),
            overlap=model.overlap,
            mirror=model.mirror,
            repeats=self.repeats,
            small_tile=self.subject.small_tile,
        )


def list_configurations(spec: ClinicalSheetSpec, scratch: Scratch) -> list[Configuration]:
    """All that a sheet compares, those of one network and scan together.

    Args:
        spec: what is asked for.
        scratch: where an archive of scans is unpacked.

    Raises:
        CheckpointError, SettingsError, PluginError: a network, engine or device cannot be used.
        DatasetError, ScanError: the scan cannot be used.
    """
    device = pick_device(spec.device)
    # The sheet is what engines are compared by: auto is none of them.
    engines = list(dict.fromkeys(USUAL if name == "auto" else name for name in spec.engines))
    for engine in engines:
        versions_of(engine)  # one that nobody registered is refused before anything is measured
    precisions = list(dict.fromkeys(resolve_precision(name, device) for name in spec.precisions))
    return [
        Configuration(subject, scan, engine, precision, threads, device, spec.repeats)
        for subject, scan in _pairs(spec, scratch)
        for engine in engines
        for precision in precisions
        for threads in spec.thread_counts
    ]


def _pairs(spec: ClinicalSheetSpec, scratch: Scratch) -> Iterator[tuple[Subject, MeasuredScan]]:
    """Networks and the scans they are measured on."""
    trained = trained_subject(spec) if spec.models else None
    volumes = spec.volumes or _fitting(None if trained is None else trained.plan)
    if spec.scan is not None:
        subjects = [trained] if trained else untrained_subjects(spec, "ct")
        scan = own_scan(spec.scan, subjects[0].plan, scratch)
        yield from ((subject, scan) for subject in subjects)
        return
    for volume in dict.fromkeys(volumes):
        for subject in [trained] if trained else untrained_subjects(spec, volume):
            yield subject, made_up_scan(volume, subject.plan)


def _fitting(plan: Plan | None) -> tuple[str, ...]:
    """The made-up scans of a network; of an untrained one all."""
    if plan is None:
        return tuple(MADE_UP)
    return ("ct",) if plan.normalisation[0].scheme == "ct" and len(plan.channels) == 1 else ("mr",)
