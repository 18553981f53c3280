"""What the raw data look like: shapes, spacings, intensities of the foreground; a case at a time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mednext_cli.datasets.dataset import Case, LabelSet
from mednext_cli.preprocessing.source import SourceCase, read_case
from mednext_cli.volumes.crop import box_of, nonzero_mask

_EVERY = 10  # nnU-Net v1 looks at every tenth foreground voxel
_MOST_SAMPLES = 20_000  # a case; keeps thousands of cases within some hundred MiB
_PERCENTILES = (0.5, 50.0, 99.5)


@dataclass(frozen=True)
class CaseFingerprint:
    """One case, canonical orientation.

    Attributes:
        shape: (D, H, W) voxels.
        cropped_shape: (D, H, W) of the box that is not zero.
        spacing_mm: (D, H, W).
        samples: foreground intensities, a list per channel.
        has_foreground: whether any label is above 0.
    """

    shape: tuple[int, int, int]
    cropped_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    samples: tuple[tuple[float, ...], ...]
    has_foreground: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CaseFingerprint":
        """Read back what `to_json` gave."""
        return cls(
            shape=_three(values["shape"]),
            cropped_shape=_three(values["cropped_shape"]),
            spacing_mm=_three(values["spacing_mm"]),
            samples=tuple(tuple(channel) for channel in values["samples"]),
            has_foreground=bool(values["has_foreground"]),
        )


def _three(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    return values[0], values[1], values[2]


@dataclass(frozen=True)
class Fingerprint:
    """All cases together.

    Attributes:
        cases: how many.
        median_shape: (D, H, W) of the cropped scans, voxels.
        median_spacing_mm: (D, H, W).
        cropping_ratio: median of cropped over whole voxels.
        intensities: for each channel mean, std and percentiles of the foreground.
    """

    cases: int
    median_shape: tuple[float, float, float]
    median_spacing_mm: tuple[float, float, float]
    cropping_ratio: float
    intensities: tuple[dict[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def fingerprint_case(case: Case, labels: LabelSet) -> CaseFingerprint:
    """Read a case, check it, and take its fingerprint.

    Raises:
        ScanError: the case cannot be used; names the file.
    """
    source = read_case(case, labels)
    box = box_of(nonzero_mask(source.image))
    cropped = tuple(stop - start for start, stop in box)
    samples = _samples(source, labels)
    return CaseFingerprint(
        shape=_three(source.image.shape[1:]),
        cropped_shape=_three(cropped),
        spacing_mm=source.spacing_mm,
        samples=samples,
        has_foreground=any(samples),
    )


def _samples(source: SourceCase, labels: LabelSet) -> tuple[tuple[float, ...], ...]:
    """Every tenth foreground voxel, fewer of large objects; ignored voxels are no foreground."""
    if source.label is None:
        return ((),) * len(source.image)
    foreground = source.label > 0
    if labels.ignore is not None:
        foreground &= source.label != labels.ignore
    where = np.flatnonzero(foreground)
    step = max(_EVERY, -(-len(where) // _MOST_SAMPLES)) if len(where) > _EVERY else 1
    chosen = where[::step]
    return tuple(tuple(channel.reshape(-1)[chosen].tolist()) for channel in source.image)


def summarise(cases: Sequence[CaseFingerprint]) -> Fingerprint:
    """Medians and foreground statistics over the cases (facts of nnU-Net v1's analyser)."""
    shapes = np.median([case.cropped_shape for case in cases], axis=0)
    spacings = np.median([case.spacing_mm for case in cases], axis=0)
    ratios = [np.prod(case.cropped_shape) / np.prod(case.shape) for case in cases]
    channels = len(cases[0].samples)
    return Fingerprint(
        cases=len(cases),
        median_shape=_three(shapes.tolist()),
        median_spacing_mm=_three(spacings.tolist()),
        cropping_ratio=float(np.median(ratios)),
        intensities=tuple(_intensities(cases, channel) for channel in range(channels)),
    )


def _intensities(cases: Sequence[CaseFingerprint], channel: int) -> dict[str, float]:
    pooled = np.concatenate([np.asarray(case.samples[channel], np.float32) for case in cases])
    if not len(pooled):
        return {}
    lower, median, upper = np.percentile(pooled, _PERCENTILES)
    return {
        "mean": float(pooled.mean(dtype=np.float64)),
        "std": float(pooled.std(dtype=np.float64)),
        "percentile_00_5": float(lower),
        "median": float(median),
        "percentile_99_5": float(upper),
    }
