"""Label maps that are stored as one binary mask a structure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.orientation import on_another_grid
from mednext_cli.volumes.scan_names import SCAN_ENDINGS
from mednext_cli.volumes.scans import read_label_map
from mednext_cli.volumes.volume import Grid, Volume


def merge_masks(
    masks: Sequence[tuple[Path, int]], like: Grid | None = None
) -> tuple[Volume, dict[str, int]]:
    """One label map of several masks; a later one is written over an earlier one.

    Args:
        masks: file and label value of each; every value of it above 0 counts.
        like: the grid where there are no masks, which gives an empty label map.

    Returns:
        The label map, and the voxels that each mask took from earlier ones, by file name, where
        there are any.

    Raises:
        ScanError: a mask cannot be read or lies on another grid than the first.
    """
    merged: Volume | None = None
    overlaps: dict[str, int] = {}
    notes: list[str] = []
    kind = np.uint8 if all(value <= np.iinfo(np.uint8).max for _, value in masks) else np.uint16
    for path, value in masks:
        mask = read_label_map(path)
        notes += mask.notes
        if merged is None:
            merged = Volume(np.zeros(mask.array.shape, dtype=kind), mask.affine)
        elif not mask.grid.same_as(merged.grid):
            raise ScanError(
                on_another_grid(path, mask.grid, masks[0][0].name, merged.grid),
                "Export the masks again.",
            )
        inside = mask.array > 0
        taken = int(np.count_nonzero(merged.array[inside]))
        if taken:
            overlaps[path.name] = taken
        merged.array[inside] = value
    if merged is None:
        if like is None:
            raise ScanError("there are no masks", "Check the folder.")
        merged = Volume(np.zeros(like.shape, dtype=kind), like.affine)
    return replace(merged, notes=tuple(notes)), overlaps


def masks_in(folder: Path, values: Mapping[str, int]) -> list[tuple[Path, int]]:
    """The masks of these structures that a folder holds, in the order of the structures."""
    found = []
    for name, value in values.items():
        files = [folder / f"{name}{ending}" for ending in SCAN_ENDINGS]
        found += [(path, value) for path in files if path.is_file()][:1]
    return found


def read_labels(path: Path, values: Mapping[str, int] | None = None) -> Volume:
    """A label map, be it a file or a folder of masks.

    Args:
        path: of the label map.
        values: label value by name of the structure, needed for a folder of masks.

    Raises:
        ScanError: it cannot be read; a folder without masks or names.
    """
    if not path.is_dir():
        return read_label_map(path)
    masks = masks_in(path, values or {})
    if not masks:
        raise ScanError(f"{path} holds no mask of a known structure", "Check the folder.")
    return merge_masks(masks)[0]
