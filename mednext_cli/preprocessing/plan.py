"""Decide how a dataset's cases are prepared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mednext_cli.datasets.dataset import Dataset
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.networks.choice import default_patch_rule
from mednext_cli.preprocessing.fingerprint import CaseFingerprint
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.labels import MOST_LABELS
from mednext_cli.settings.mirror_axes import AXES
from mednext_cli.settings.plan import ChannelNormalisation, Plan, Scheme
from mednext_cli.settings.problems import first_problem
from mednext_cli.volumes.resample import resampled_shape

_LARGEST_PATCH, _BATCH = 128, 2  # as published
_MUCH_CROPPED = 3 / 4  # below, statistics are taken inside the non-zero voxels (nnU-Net v1)
_BATCH_DICE_RATIO = 4  # median scan over patch, voxels: where nnU-Net v1 makes a lowres stage


def plan_dataset(
    dataset: Dataset,
    cases: list[CaseFingerprint],
    fingerprint: Fingerprint,
    spacing_mm: tuple[float, float, float] | None,
) -> Plan:
    """Decide spacing, patch and normalisation.

    The patch is 128^3 as published, but along each axis not more than the median resampled scan,
    rounded to the nearest multiple of 16 (36 x 50 x 35 gives 32 x 48 x 32). The published planner
    pads such scans to 128^3.

    Args:
        dataset: as its layout read it.
        cases: fingerprints of the cases.
        fingerprint: their summary.
        spacing_mm: target (D, H, W); None takes the median.

    Raises:
        DatasetError: no case has any foreground or all of it has one value, which would make a
            network's input constant; there are more than 255 labels; or what the dataset says of
            itself makes no plan.
    """
    if len(dataset.labels.values) > MOST_LABELS:
        raise DatasetError(
            f"{dataset.name} has {len(dataset.labels.values) - 1} labels, 255 can be trained on",
            "Merge some, or split the dataset.",
        )
    if not any(case.foreground_voxels for case in cases):
        raise DatasetError(
            f"{dataset.name}: no case has any foreground, there is nothing to learn",
            "Check the label maps.",
        )
    target = spacing_mm or fingerprint.median_spacing_mm
    shapes = [resampled_shape(case.cropped_shape, case.spacing_mm, target) for case in cases]
    median = np.median(shapes, axis=0)
    patch = plan_patch((float(median[0]), float(median[1]), float(median[2])))
    try:
        return _planned(dataset, fingerprint, target, patch, median)
    except ValidationError as error:
        raise DatasetError(
            f"{dataset.name} cannot be planned: {first_problem(error)}",
            "Check its dataset.json and its scans.",
        ) from error


def _planned(
    dataset: Dataset,
    fingerprint: Fingerprint,
    spacing_mm: tuple[float, float, float],
    patch: tuple[int, int, int],
    median_shape: NDArray[np.floating[Any]],
) -> Plan:
    return Plan(
        dataset=dataset.name,
        layout=dataset.layout,
        spacing_mm=spacing_mm,
        patch_voxels=patch,
        batch_size=_BATCH,
        channels=dataset.channels,
        normalisation=tuple(
            _normalisation(dataset, index, fingerprint) for index in range(len(dataset.channels))
        ),
        label_set=dataset.labels.travelling(),
        batch_dice=bool(np.prod(median_shape) >= _BATCH_DICE_RATIO * np.prod(patch)),
        mirror_axes=tuple(axis for axis in AXES if axis not in fingerprint.mirror_swaps),
    )


def plan_patch(median_shape: tuple[float, float, float]) -> tuple[int, int, int]:
    """The default patch for scans of this size, which the network of an empty recipe takes."""
    return default_patch_rule().fit([min(length, _LARGEST_PATCH) for length in median_shape])


def _normalisation(dataset: Dataset, index: int, fingerprint: Fingerprint) -> ChannelNormalisation:
    name = dataset.channels[index].casefold()
    if name == "ct":
        statistics = fingerprint.intensities[index]
        _check_range(dataset, index, statistics)
        return ChannelNormalisation(
            scheme="ct",
            lower=statistics["percentile_00_5"],
            upper=statistics["percentile_99_5"],
            mean=statistics["mean"],
            std=statistics["std"],
        )
    named: dict[str, Scheme] = {"nonorm": "none", "rescale_to_0_1": "rescale"}
    masked = fingerprint.cropping_ratio < _MUCH_CROPPED
    return ChannelNormalisation(scheme=named.get(name, "z_score"), use_nonzero_mask=masked)


def _check_range(dataset: Dataset, index: int, statistics: dict[str, float]) -> None:
    """CT is clipped to the foreground's percentiles: of one value, every voxel would become it."""
    if statistics["percentile_00_5"] < statistics["percentile_99_5"] and statistics["std"] > 0:
        return
    value = statistics["median"]
    raise DatasetError(
        f"{dataset.name}, channel {index} ({dataset.channels[index]}): nearly all labelled voxels "
        f"have the intensity {value:g}, to which CT would be clipped: every image would be "
        "constant",
        "Check scans and labels (metal saturates at 3071 HU); or name the channel otherwise than "
        "CT (layout folder: --modality mr), so that each image is normalised by itself.",
    )
