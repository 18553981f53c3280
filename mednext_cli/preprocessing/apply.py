"""A plan applied to a case: crop, resample, normalise, in the published order (nnU-Net v1)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache.description import StoredType
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import ScanError
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.intensity_type import check_intensities, stored_as
from mednext_cli.preprocessing.source import SourceCase, read_case, read_channels, stack_channels
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.volumes.crop import box_of, fill_holes, nonzero_mask, slices_of
from mednext_cli.volumes.normalise import normalise_ct, normalise_z_score, rescale
from mednext_cli.volumes.resample import (
    Resampled,
    resample_channels,
    resample_labels,
    resampled_shape,
)
from mednext_cli.volumes.volume import Shape, Spacing, Volume

_MOST_VOXELS = 2**33  # 32 GiB a channel
_VOXEL_BY_VOXEL = ("ct", "none")  # schemes without statistics of the image
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """What the network sees.

    Attributes:
        image: (C, D, H, W) of the type that was asked for.
        label: (D, H, W) uint8 class indices, or None.
        geometry: the way back.
    """

    image: NDArray[np.floating[Any]]
    label: NDArray[np.uint8] | None
    geometry: SourceGeometry


def prepare_image(
    channels: tuple[Channel, ...], plan: Plan
) -> tuple[NDArray[np.float32], SourceGeometry]:
    """Read and prepare an unlabelled scan for prediction.

    Raises:
        ScanError: as `read_image` and `prepare_source`.
    """
    return prepare_source(read_image(channels, plan), channels, plan)


def read_image(channels: tuple[Channel, ...], plan: Plan) -> SourceCase:
    """Read an unlabelled scan for prediction.

    Raises:
        ScanError: a file cannot be read or used, or there are more or fewer channels than planned.
    """
    if len(channels) != len(plan.channels):
        raise ScanError(
            f"{channels[0].path if channels else 'a case'} has {len(channels)} channels, the "
            f"network was trained on {len(plan.channels)} ({', '.join(plan.channels)})",
            "Give one file a channel.",
        )
    source = read_channels(channels)
    for note in source.notes:
        logger.warning("%s", note)
    return source


def prepare_source(
    source: SourceCase, channels: tuple[Channel, ...], plan: Plan
) -> tuple[NDArray[np.float32], SourceGeometry]:
    """Crop, resample and normalise a scan that was read.

    Args:
        source: what `read_image` gave; it is used up.
        channels: where it was read from, for messages.
        plan: how.

    Raises:
        ScanError: a channel is constant once it is normalised, or it would be far too large.
    """
    prepared = _prepare(source, plan, channels)
    return prepared.image, prepared.geometry


def prepare_volumes(
    volumes: Sequence[Volume], plan: Plan
) -> tuple[NDArray[np.float32], SourceGeometry]:
    """As `prepare_image`, of voxels in memory.

    Args:
        volumes: one a channel, float32, all on one grid; they stay as they are.
        plan: how; it has as many channels.

    Raises:
        ScanError: as `prepare_image`; names the channel.
    """
    channels = tuple(Channel(Path(f"the channel {name}")) for name in plan.channels)
    return prepare_source(stack_channels(channels, iter(volumes)), channels, plan)


def prepare_case(
    case: Case, plan: Plan, resample_label: bool = False, stored_type: StoredType = "float32"
) -> PreparedCase:
    """Prepare a case for the cache.

    Args:
        case: the case.
        plan: how.
        resample_label: see `read_case`.
        stored_type: of the image's voxels.

    Raises:
        ScanError: a file cannot be read or used, is constant once it is normalised, does not fit
            into the type, or would be far too large; names it.
    """
    source = read_case(case, plan.label_set, resample_label)
    return _prepare(source, plan, case.channels, stored_type)


def _prepare(
    source: SourceCase,
    plan: Plan,
    channels: tuple[Channel, ...],
    stored_type: StoredType = "float32",
) -> PreparedCase:
    mask = nonzero_mask(source.image)
    box = box_of(mask)
    place = slices_of(box)
    cropped = source.image[(slice(None), *place)]
    spacing = source.spacing_mm
    shape = resampled_shape(cropped.shape[1:], spacing, plan.spacing_mm)
    _check_size(channels[0].path, shape, spacing)
    depth, height, width = source.image.shape[1:]
    indices = None if source.label is None else class_indices(source.label[place], plan)
    inside = None
    if any(channel.use_nonzero_mask for channel in plan.normalisation):
        inside = fill_holes(mask)[place]
    voxels = list(cropped)
    del cropped, mask
    source.release()  # so that resampling can free the voxels, which only this list holds now
    resampled = resample_channels(voxels, shape, spacing, plan.spacing_mm)
    if inside is not None:
        inside = resample_labels(inside.astype(np.uint8), shape, spacing, plan.spacing_mm) > 0
    image = _finish(resampled, plan, channels, inside, stored_type)
    label = None
    if indices is not None:
        label = resample_labels(indices, shape, spacing, plan.spacing_mm)
    geometry = SourceGeometry(
        file_shape=source.file_grid.shape,
        file_affine=source.file_grid.affine.tolist(),
        canonical_shape=(depth, height, width),
        spacing_mm=spacing,
        box=box,
        resampled_shape=shape,
    )
    return PreparedCase(image, label, geometry)


def _finish(
    resampled: Resampled,
    plan: Plan,
    channels: tuple[Channel, ...],
    inside: NDArray[np.bool_] | None,
    stored_type: StoredType,
) -> NDArray[np.floating[Any]]:
    """The image (C, D, H, W), normalised and in its type; uses up the memory of `resampled`."""
    if not all(channel.scheme in _VOXEL_BY_VOXEL for channel in plan.normalisation):
        resampled = Resampled(resampled.whole())
    for voxels, settings in zip(resampled.voxels, plan.normalisation, strict=True):
        normalise(voxels, settings, inside)
    check_intensities(resampled.voxels, channels, plan, stored_type)
    return replace(resampled, voxels=stored_as(resampled.voxels, stored_type)).whole()


def _check_size(path: Path, shape: Shape, spacing: Spacing) -> None:
    """Refuse what only a wrong unit or spacing makes so large, before memory is asked for it."""
    if prod(shape) > _MOST_VOXELS:
        raise ScanError(
            f"{path} would have {' x '.join(map(str, shape))} voxels once it is resampled: its "
            f"spacing is {' x '.join(f'{length:.4g}' for length in spacing)} mm",
            "Check its spacing and unit.",
        )


def normalise(
    channel: NDArray[np.float32],
    settings: ChannelNormalisation,
    inside: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """One channel (D, H, W) as the plan says, in place; `inside` are the non-zero voxels."""
    if settings.scheme == "ct":
        return normalise_ct(channel, settings.lower, settings.upper, settings.mean, settings.std)
    if settings.scheme == "z_score":
        return normalise_z_score(channel, inside if settings.use_nonzero_mask else None)
    if settings.scheme == "rescale":
        return rescale(channel)
    return channel


def class_indices(label: NDArray[Any], plan: Plan) -> NDArray[np.uint8]:
    """Label values (D, H, W) as positions in `LabelSet.values`."""
    values = plan.label_set.values
    if values == tuple(range(len(values))):
        return label.astype(np.uint8, copy=False)
    table = np.zeros(max(values) + 1, dtype=np.uint8)
    table[list(values)] = np.arange(len(values), dtype=np.uint8)
    found: NDArray[np.uint8] = table[label]
    return found
