"""What the raw data look like: shapes, spacings, foreground intensities; a case at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from mednext_cli.datasets.dataset import Case
from mednext_cli.preprocessing.intensities import (
    Intensities,
    merge_intensities,
    sample_intensities,
)
from mednext_cli.preprocessing.mirroring import Landing, common_swaps, landings_of
from mednext_cli.preprocessing.source import SourceCase, read_case
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.crop import box_of, nonzero_mask


@dataclass(frozen=True, eq=False)
class CaseFingerprint:
    """One case, canonical orientation.

    Attributes:
        shape: (D, H, W) voxels.
        cropped_shape: (D, H, W) of the box that is not zero.
        spacing_mm: (D, H, W).
        foreground_voxels: labelled voxels, ignored ones left out.
        intensities: of the foreground, one entry a channel; None without foreground.
        labels: values above 0 that the label map has, ignored ones left out.
        landings: see `landings_of`.
        label_resampled: whether the label map was brought onto the image's grid.
        notes: what is odd about the case, though it can be used; a line each.
    """

    shape: tuple[int, int, int]
    cropped_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    foreground_voxels: int
    intensities: tuple[Intensities | None, ...]
    labels: tuple[int, ...] = ()
    landings: tuple[Landing, ...] = ()
    label_resampled: bool = False
    notes: tuple[str, ...] = ()


FINGERPRINTS = TypeAdapter(CaseFingerprint)
"""To and from JSON."""


def _three(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    return values[0], values[1], values[2]


def fingerprint_case(case: Case, labels: LabelSet, resample_label: bool = False) -> CaseFingerprint:
    """Read a case, check it, and take its fingerprint.

    Args:
        case: the case.
        labels: which label values there may be.
        resample_label: see `read_case`.

    Raises:
        ScanError: the case cannot be used; names the file.
    """
    source = read_case(case, labels, resample_label)
    foreground = _foreground(source, labels)
    present, landings = _mirrored(source, foreground)
    return CaseFingerprint(
        shape=_three(source.image.shape[1:]),
        cropped_shape=_three([b - a for a, b in box_of(nonzero_mask(source.image))]),
        spacing_mm=source.spacing_mm,
        foreground_voxels=int(np.count_nonzero(foreground)),
        intensities=tuple(sample_intensities(channel[foreground]) for channel in source.image),
        labels=present,
        landings=landings,
        label_resampled=source.label_resampled,
        notes=source.notes,
    )


def _foreground(source: SourceCase, labels: LabelSet) -> NDArray[np.bool_]:
    """Labelled voxels (D, H, W); what nobody annotated is no foreground."""
    if source.label is None:
        return np.zeros(source.image.shape[1:], dtype=np.bool_)
    foreground: NDArray[np.bool_] = source.label > 0
    if labels.ignore is not None:
        foreground &= source.label != labels.ignore
    return foreground


def _mirrored(
    source: SourceCase, foreground: NDArray[np.bool_]
) -> tuple[tuple[int, ...], tuple[Landing, ...]]:
    if source.label is None:
        return (), ()
    return landings_of(np.where(foreground, source.label, 0))


def summarise(cases: Sequence[CaseFingerprint], labels: LabelSet) -> Fingerprint:
    """Medians and foreground statistics over the cases, one or more; `labels` names values."""
    shapes = np.median([case.cropped_shape for case in cases], axis=0)
    spacings = np.median([case.spacing_mm for case in cases], axis=0)
    ratios = [float(np.prod(case.cropped_shape) / np.prod(case.shape)) for case in cases]
    return Fingerprint(
        cases=len(cases),
        median_shape=_three(shapes.tolist()),
        median_spacing_mm=_three(spacings.tolist()),
        cropping_ratio=float(np.median(ratios)),
        mirror_swaps=common_swaps([(case.labels, case.landings) for case in cases], labels.names),
        intensities=tuple(
            merge_intensities([case.intensities[channel] for case in cases])
            for channel in range(len(cases[0].intensities))
        ),
    )
