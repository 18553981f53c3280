"""What every step that could be taken would do to a case's overlaps with its reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.evaluation.scoring.score_case import CasePair, read_prediction
from mednext_cli.evaluation.scoring.scores import ScoreSettings
from mednext_cli.foundation.errors import ScanError
from mednext_cli.inference.findings.structures import count_voxels
from mednext_cli.inference.postprocessing.apply import (
    apply_steps,
    are_kept,
    holes_of,
    parts_of,
)
from mednext_cli.inference.postprocessing.components import Box, find_boxes, joint_box
from mednext_cli.inference.postprocessing.steps import Step
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.masks import read_labels

Counts = NDArray[np.int64]
Labels = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tally:
    """A case, counted.

    Attributes:
        regions: (R, 3) voxels of each region in both maps, in the reference, in the prediction.
        changes: of each target, (candidates, R, 2): what a candidate adds to the voxels in both
            maps and to those in the prediction.
    """

    regions: Counts
    changes: tuple[Counts, ...]


@dataclass(frozen=True)
class Question:
    """What is to be counted of every case.

    Attributes:
        labels: their meaning; their regions are scored.
        steps: that were decided on already.
        targets: what could come next: for each target the candidates, all of one structure.
    """

    labels: LabelSet
    steps: tuple[Step, ...]
    targets: tuple[tuple[Step, ...], ...] = ()

    @cached_property
    def members(self) -> NDArray[np.bool_]:
        """(R, values): which label values each region has."""
        most = max(self.labels.values, default=0)
        table = np.zeros((len(self.labels.regions), most + 1), np.bool_)
        for row, values in zip(table, self.labels.regions.values(), strict=True):
            row[list(values)] = True
        return table


def count_case(pair: CasePair, question: Question) -> Tally:
    """Count a case as it is after the steps, and what every candidate would change.

    Raises:
        ScanError: a label map cannot be read or holds unknown values, or the two lie on different
            grids.
    """
    reference = read_labels(pair.reference, question.labels.names)
    prediction, _ = read_prediction(pair, reference, ScoreSettings(question.labels))
    for path, volume in ((pair.reference, reference), (pair.prediction, prediction)):
        _check(path, volume.array, question.labels)
    case = _Case(question, prediction.array, reference.array, reference.grid.voxel_ml)
    return Tally(case.regions(), tuple(case.changes(target) for target in question.targets))


def _check(path: object, labels: Labels, known: LabelSet) -> None:
    """Raise `ScanError` where a label map holds a value that is none of the labels'."""
    unknown = set(np.flatnonzero(count_voxels(labels)).tolist()) - set(known.values)
    if unknown:
        raise ScanError(
            f"{path} has the label {min(unknown)}, which is none of the networks'",
            known.advice(unknown),
        )


class _Case:
    """Two label maps on one grid; of the reference values that are not scored count nowhere."""

    def __init__(
        self, question: Question, labels: Labels, reference: Labels, voxel_ml: float
    ) -> None:
        apply_steps(labels, question.steps, voxel_ml)
        self._labels, self._reference = labels, reference
        self._members, self._voxel_ml = question.members, voxel_ml
        self._ignore = question.labels.ignore
        self._boxes = find_boxes(labels)

    def regions(self) -> Counts:
        """(R, 3), see `Tally`; from the joint histogram, plane by plane."""
        classes = self._members.shape[1]
        joint = np.zeros((classes, classes), np.int64)
        planes = zip(self._labels.T, self._reference.T, strict=True)  # contiguous in files
        for labels, reference in planes:
            pairs = reference.astype(np.int64) * classes + labels
            joint += np.bincount(pairs.ravel(), minlength=classes**2).reshape(joint.shape)
        if self._ignore is not None:
            joint[self._ignore] = 0
        return np.array(
            [
                (joint[np.ix_(own, own)].sum(), joint[own].sum(), joint[:, own].sum())
                for own in self._members
            ]
        )

    def changes(self, candidates: Sequence[Step]) -> Counts:
        """(candidates, R, 2), see `Tally`."""
        made = np.zeros((len(candidates), len(self._members), 2), np.int64)
        box = joint_box(self._boxes, candidates[0].values)
        if box is None:
            return made
        fill = candidates[0].operation == "fill_holes"
        parts = (holes_of if fill else parts_of)(self._labels[box], candidates[0])
        sizes = count_voxels(parts)
        gained = self._gain_by_part(parts, box, candidates[0].values[0] if fill else None)
        for row, step in zip(made, candidates, strict=True):
            changed = np.ones(len(sizes), np.bool_)
            if not fill:
                changed = ~are_kept(sizes, step, self._voxel_ml)
            changed[0] = False
            row[:] = gained[changed].sum(axis=0)
        return made

    def _gain_by_part(self, parts: NDArray[np.int32], box: Box, value: int | None) -> Counts:
        """(parts, R, 2): by removing a part (`value` None), or by filling it with a value."""
        place = parts > 0
        index, reference = parts[place], self._reference[box][place]
        labels = self._labels[box][place] if value is None else np.full_like(index, value)
        sign = -1 if value is None else 1
        scored = np.ones(len(index), np.bool_)
        if self._ignore is not None:
            scored = reference != self._ignore
        count = int(parts.max(initial=0)) + 1
        made = np.zeros((count, len(self._members), 2), np.int64)
        for region, own in enumerate(self._members):
            inside = own[labels] & scored
            both = inside & own[reference]
            made[:, region, 0] = sign * np.bincount(index[both], minlength=count)
            made[:, region, 1] = sign * np.bincount(index[inside], minlength=count)
        return made


def stack(tallies: Mapping[str, Tally], cases: Sequence[str]) -> tuple[Counts, list[Counts]]:
    """All cases: (cases, R, 3), and of each target (cases, candidates, R, 2)."""
    every = [tallies[case] for case in cases]
    regions = np.stack([tally.regions for tally in every])
    targets = zip(*(tally.changes for tally in every), strict=True)
    return regions, [np.stack(target) for target in targets]
