"""A full check of a raw folder that changes nothing: every file is read, every problem listed."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from mednext_cli.datasets.case_labels import read_case_label
from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.outcomes import Outcome, raise_failures
from mednext_cli.foundation.workers import RunSettings, run_over
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.footprint import CHECK, peek_voxels
from mednext_cli.volumes.orientation import on_another_grid, turned_onto
from mednext_cli.volumes.scans import check_last, format_of, read_volumes
from mednext_cli.volumes.volume import Grid, Shape, Spacing, Volume


@dataclass(frozen=True)
class VerifySpec:
    """What `verify` is asked for.

    Attributes:
        raw: the raw folder.
        layout: name of its layout.
        workers: processes; None for what fits, 0 for none.
        options: of the layout; None for none.
    """

    raw: Path
    layout: str
    workers: int | None = None
    options: LayoutOptions | None = None


@dataclass(frozen=True)
class CaseCheck:
    """What was found in one case.

    Attributes:
        case: its id.
        labelled: whether it has a label map.
        shape: of the first readable channel, in the file's axis order.
        spacing_mm: the same.
        minimum: lowest finite intensity of all channels.
        maximum: highest.
        label_values: all values of the label map.
        digest: hash of the voxels of all channels, "" where one cannot be read.
        problems: one line each; empty for a good case.
        notes: what is odd though it can be used, one line each.
        ours: whether checking it failed by a fault of ours.
    """

    case: str
    labelled: bool
    shape: Shape | None = None
    spacing_mm: Spacing | None = None
    minimum: float | None = None
    maximum: float | None = None
    label_values: tuple[int, ...] = ()
    digest: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ours: bool = False


@dataclass(frozen=True)
class VerifyResult:
    """The dataset as its layout reads it, and the findings by case, sorted by id."""

    dataset: Dataset
    checks: tuple[CaseCheck, ...]

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, by case id; empty for a good dataset."""
        return {check.case: "; ".join(check.problems) for check in self.checks if check.problems}

    def raise_failed(self) -> None:
        """Raise `FailedCases` where something is wrong with a case."""
        outcomes: list[Outcome[None]] = [
            Outcome(check.case, error="; ".join(check.problems) or None, ours=check.ours)
            for check in self.checks
        ]
        remedy = "Correct these files or take the cases out."
        raise_failures(outcomes, len(outcomes), remedy, "mednext preprocess does the others.")


def verify(spec: VerifySpec) -> VerifyResult:
    """Read every scan and label map of a raw folder and list what is wrong with them.

    Checked: files there and readable; 3D, or the volumes that the layout promises; spacing and
    affine; one grid for all channels and the label; finite, not constant intensities; label values
    that the dataset names, some of them foreground; no two cases with the same voxels.

    Raises:
        PluginError: the layout is unknown. DatasetError: the folder does not follow it.
    """
    dataset = read_dataset(spec.raw, spec.layout, spec.options)
    outcomes = run_over(
        partial(check_case, dataset.labels),
        dataset.cases,
        attrgetter("id"),
        RunSettings(spec.workers, bytes_of=_bytes_to_check),
        "checking",
    )
    labelled = {case.id for case in dataset.labelled}
    checks = [outcome.value or _failed(outcome, labelled) for outcome in outcomes]
    return VerifyResult(dataset, _with_duplicates(sorted(checks, key=lambda check: check.case)))


def _failed(outcome: Outcome[CaseCheck], labelled: Collection[str]) -> CaseCheck:
    """What is known of a case whose check did not end."""
    problems = (outcome.error or "",)
    return CaseCheck(outcome.name, outcome.name in labelled, problems=problems, ours=outcome.ours)


def _bytes_to_check(case: Case) -> int:
    channel = case.channels[0]
    return CHECK.bytes_for(peek_voxels(channel.path, channel.index))


@dataclass
class _Findings:
    """What gathers while the files of a case are read."""

    grid: Grid | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[int, ...] = ()
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_case(labels: LabelSet, case: Case) -> CaseCheck:
    """Read all files of a case and say what is wrong, all of it."""
    found = _Findings()
    digest = hashlib.sha256()
    volumes = zip(case.channels, _read_channels(case.channels), strict=True)
    readable = [_check_channel(case, *volume, found, digest) for volume in volumes]
    if case.label is not None:
        _check_label(case, case.label, labels, found)
    return CaseCheck(
        case=case.id,
        labelled=case.label is not None,
        shape=found.grid.shape if found.grid else None,
        spacing_mm=found.grid.spacing_mm if found.grid else None,
        minimum=found.low,
        maximum=found.high,
        label_values=found.values,
        digest=digest.hexdigest() if all(readable) else "",
        problems=tuple(found.problems),
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _read_channels(channels: Sequence[Channel]) -> Iterator[Volume | ScanError]:
    """Each channel or why it cannot be read; those of one file are unpacked together."""
    for path, group in groupby(channels, key=lambda channel: channel.path):
        waiting = [channel.index for channel in group]
        while waiting:
            try:
                for volume in read_volumes(path, tuple(waiting)):
                    del waiting[0]
                    yield volume
            except ScanError as error:
                del waiting[0]
                yield error


def _check_channel(
    case: Case,
    channel: Channel,
    volume: Volume | ScanError,
    found: _Findings,
    digest: "hashlib._Hash",
) -> bool:
    """Check one channel; returns whether it can be read at all."""
    try:
        if isinstance(volume, ScanError):
            raise volume
        found.notes += format_of(channel.path).notes(channel.path)
        if channel is case.channels[-1]:
            check_last(channel.path, channel.index)
    except ScanError as error:
        found.problems.append(str(error))
        return False
    digest.update(np.ascontiguousarray(volume.array).data)
    name = channel.path.name if channel.index is None else f"{channel.path.name}[{channel.index}]"
    if found.grid is None:
        found.grid = volume.grid
    elif turned_onto(volume, found.grid) is None:
        found.problems.append(on_another_grid(name, volume.grid, "the first channel", found.grid))
    finite = np.isfinite(volume.array)
    broken = int(finite.size - np.count_nonzero(finite))
    if broken:
        found.problems.append(f"{name} has {broken} NaN or infinite intensities")
    if broken == finite.size:
        return True
    low = float(volume.array.min(where=finite, initial=np.inf))
    high = float(volume.array.max(where=finite, initial=-np.inf))
    if low == high:
        found.problems.append(f"{name} is constant: every intensity is {low:g}")
    found.low = low if found.low is None else min(low, found.low)
    found.high = high if found.high is None else max(high, found.high)
    return True


def _check_label(case: Case, path: Path, labels: LabelSet, found: _Findings) -> None:
    try:
        label, notes = read_case_label(case, found.grid)
        found.notes += [*notes, *(format_of(path).notes(path) if case.masks is None else ())]
    except ScanError as error:
        found.problems.append(str(error))
        return
    if found.grid is not None and turned_onto(label, found.grid) is None:
        problem = on_another_grid(path.name, label.grid, "the image", found.grid)
        found.problems.append(f"{problem} (mednext preprocess --resample-labels brings it there)")
    top = int(label.array.max(initial=0))
    # Slice by slice, since bincount needs eight bytes a voxel.
    counts = sum(np.bincount(plane.ravel(), minlength=top + 1) for plane in label.array)
    found.values = tuple(int(value) for value in np.flatnonzero(counts))
    unknown = [value for value in found.values if value not in labels.values]
    if unknown:
        found.problems.append(
            f"{path.name} has the values {', '.join(map(str, unknown))}, "
            f"which the dataset does not name (it has {', '.join(map(str, labels.values))}). "
            f"{labels.advice(unknown)}"
        )
    if not any(value not in (0, labels.ignore) for value in found.values):
        found.problems.append(f"{path.name} has no foreground")


def _with_duplicates(checks: list[CaseCheck]) -> tuple[CaseCheck, ...]:
    """Name the twin in every case whose voxels another case has, too."""
    by_digest: dict[str, list[str]] = {}
    for check in checks:
        by_digest.setdefault(check.digest, []).append(check.case)
    marked = []
    for check in checks:
        same = by_digest[check.digest] if check.digest else []
        twins = [case for case in same if case != check.case]
        note = (f"has the same voxels as {', '.join(twins)}",) if twins else ()
        marked.append(replace(check, problems=(*check.problems, *note)))
    return tuple(marked)
