"""Post-processing of a label map, one structure's box at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.inference.findings.structures import count_voxels
from mednext_cli.inference.postprocessing.components import (
    Box,
    find_boxes,
    is_one_of,
    joint_box,
    label_components,
    label_holes,
)
from mednext_cli.inference.postprocessing.steps import Step

Labels = NDArray[Any]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """What a step changed.

    Attributes:
        step: what was done.
        parts: connected parts that were removed, or holes that were filled.
        voxels: in these.
    """

    step: Step
    parts: int = 0
    voxels: int = 0

    def row(self, case_id: str, voxel_ml: float) -> dict[str, object]:
        """The row of postprocessed.csv."""
        by_volume = self.step.operation == "minimum_volume"
        return {
            "case": case_id,
            "structure": self.step.structure,
            "operation": self.step.operation,
            "minimum_ml": self.step.minimum_ml if by_volume else None,
            "parts": self.parts,
            "voxels": self.voxels,
            "volume_ml": self.voxels * voxel_ml,
        }


def apply_steps(labels: Labels, steps: Sequence[Step], voxel_ml: float) -> list[Change]:
    """Do the steps, one after the other, on the label map itself.

    Memory beside it: a mask and the parts of one structure, in the box that holds it.

    Args:
        labels: label values, three axes; changed.
        steps: what to do.
        voxel_ml: volume of a voxel.

    Returns:
        What each step changed.
    """
    if not steps:
        return []
    boxes = find_boxes(labels)  # no structure leaves its box
    return [_apply(labels, step, joint_box(boxes, step.values), voxel_ml) for step in steps]


def _apply(labels: Labels, step: Step, box: Box | None, voxel_ml: float) -> Change:
    if box is None:
        return Change(step)
    inside = labels[box]  # a view
    fill = step.operation == "fill_holes"
    parts = holes_of(inside, step) if fill else parts_of(inside, step)
    sizes = count_voxels(parts)
    changed = np.ones(len(sizes), np.bool_) if fill else ~are_kept(sizes, step, voxel_ml)
    changed[0] = False
    inside[changed[parts]] = step.values[0] if fill else 0
    return Change(step, int(np.count_nonzero(changed & (sizes > 0))), int(sizes[changed].sum()))


def parts_of(labels: Labels, step: Step) -> NDArray[np.int32]:
    """Every voxel's connected part of the step's structure, from 1 on."""
    return label_components(is_one_of(labels, step.values))


def holes_of(labels: Labels, step: Step) -> NDArray[np.int32]:
    """The background that the step's structure encloses, part by part."""
    holes = label_holes(is_one_of(labels, step.values))
    holes[labels != 0] = 0
    return holes


def are_kept(sizes: Counts, step: Step, voxel_ml: float) -> NDArray[np.bool_]:
    """Which parts of a structure stay.

    Args:
        sizes: voxels by part; of part 0, which is outside, they mean nothing.
        step: of removal.
        voxel_ml: volume of a voxel.
    """
    if step.operation == "minimum_volume":
        return np.asarray(sizes * voxel_ml >= step.minimum_ml)
    kept = np.zeros(len(sizes), np.bool_)
    if len(sizes) > 1:
        kept[1 + int(sizes[1:].argmax())] = True
    return kept
