"""A patch of image and label from a rotated and zoomed part of a case, linearly interpolated."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.training.augmentation.affine import Affine, Corner

# Coordinates of a piece stay where a processor has them at hand; a GPU has room for all at once.
_CPU_PIECE, _PIECE = 2**18, 2**22  # voxels
_MIXED = -2  # in the place of a label: the eight voxels around are not of one label
_PREFERENCE = 1e-3  # of the nearest label where others weigh as much


def resample_image(image: Tensor, affine: Affine, corner: Corner) -> Tensor:
    """The patch (C, D, H, W), trilinear or within its planes bilinear, zeros around the given part.

    Args:
        image: (C, d, h, w) float32, part of a case.
        affine: where voxels are taken from.
        corner: the part's first voxel, counted from the patch's first.
    """
    coordinates = affine.coordinates(corner, slice(None), image.device)
    if affine.across is not None:
        return _resample_planes(image, affine, list(coordinates), corner, affine.across)
    depth, *plane = affine.patch_voxels
    grid = image.new_empty((depth, *plane, 3))
    for axis, (places, length) in enumerate(zip(coordinates, image.shape[1:], strict=True)):
        grid[..., 2 - axis] = places.add_(0.5).mul_(2 / length).sub_(1)
    made = F.grid_sample(image[None], grid[None], padding_mode="zeros", align_corners=False)
    return made[0]


def _resample_planes(
    image: Tensor, affine: Affine, coordinates: list[Tensor], corner: Corner, across: int
) -> Tensor:
    """Each plane from the one of the case that it lies in, and from no other."""
    grid = torch.stack(
        [
            coordinates[axis].select(across, 0).add(0.5).mul(2 / image.shape[axis + 1]).sub(1)
            for axis in (2, 1, 0)
            if axis != across
        ],
        dim=-1,
    )
    first, last = max(0, corner[across]), corner[across] + image.shape[across + 1]
    last = min(last, affine.patch_voxels[across])
    made = image.new_zeros((len(image), *affine.patch_voxels))
    if last > first:
        read = image.narrow(across + 1, first - corner[across], last - first)
        planes = read.movedim(across + 1, 0)
        grids = grid.expand(len(planes), *grid.shape)
        turned = F.grid_sample(planes, grids, padding_mode="zeros", align_corners=False)
        made.narrow(across + 1, first, last - first).copy_(turned.movedim(0, across + 1))
    return made


def resample_labels(labels: Tensor, affine: Affine, corner: Corner, outside: int) -> Tensor:
    """The patch (D, H, W): the label that weighs most among the eight voxels around.

    That is the maximum over trilinearly interpolated masks of all labels, of equal ones the
    nearest, but one pass for all labels: the eight voxels around vote. On a CPU only those voxels
    count votes that do not lie among eight of one label.

    Source: ``SpatialTransform`` of batchgeneratorsv2 with ``mode_seg='bilinear'``.

    Args:
        labels: (d, h, w) of an integer type, part of a case.
        affine: where voxels are taken from.
        corner: the part's first voxel, counted from the patch's first.
        outside: the label around the part.
    """
    # Two voxels around: beyond the first all eight are outside.
    padded = F.pad(labels, (2,) * 6, value=outside)
    choose = partial(_vote, padded)
    if labels.device.type == "cpu":  # to count the undecided is to wait for another device
        choose = partial(_look_up, padded, _agreed(padded))
    made = labels.new_empty(affine.patch_voxels)
    for rows in _pieces(made):
        places = [
            place.add_(2).clamp_(0, length + 2.5)  # the last cell begins at length + 2
            for place, length in zip(
                affine.coordinates(corner, rows, labels.device), labels.shape, strict=True
            )
        ]
        made[rows] = choose(places)
    return made


def _pieces(patch: Tensor) -> Iterator[slice]:
    voxels = _CPU_PIECE if patch.device.type == "cpu" else _PIECE
    rows = max(1, voxels // (patch.shape[1] * patch.shape[2]))
    return (slice(first, first + rows) for first in range(0, len(patch), rows))


def _agreed(labels: Tensor) -> Tensor:
    """Of all 2 x 2 x 2 neighbours their label, or `_MIXED` where they have several, as int16."""
    low = high = labels
    for axis in range(3):
        length = low.shape[axis] - 1
        low, high = (
            choose(values.narrow(axis, 0, length), values.narrow(axis, 1, length))
            for choose, values in ((torch.minimum, low), (torch.maximum, high))
        )
    return torch.where(low == high, low.short(), _MIXED)


def _look_up(padded: Tensor, agreed: Tensor, places: list[Tensor]) -> Tensor:
    found = torch.take(agreed, _cell_index(agreed, [place.int() for place in places]))
    (undecided,) = (found == _MIXED).view(-1).nonzero(as_tuple=True)
    made = found.to(padded.dtype)
    if len(undecided):
        made.view(-1)[undecided] = _vote(padded, [place.view(-1)[undecided] for place in places])
    return made


def _cell_index(volume: Tensor, cells: list[Tensor]) -> Tensor:
    height, width = volume.shape[1:]
    return cells[0].mul(height).add_(cells[1]).long().mul_(width).add_(cells[2])


def _vote(padded: Tensor, places: list[Tensor]) -> Tensor:
    """The label of greatest weight among the eight voxels around each of the places."""
    cells = [place.int() for place in places]
    fractions = [place - cell for place, cell in zip(places, cells, strict=True)]
    sides = [(1 - fraction, fraction) for fraction in fractions]
    first = _cell_index(padded, cells)
    height, width = padded.shape[1:]
    labels, weights = [], []
    for corner in ((d, h, w) for d in (0, 1) for h in (0, 1) for w in (0, 1)):
        labels.append(
            torch.take(padded, first + (corner[0] * height + corner[1]) * width + corner[2])
        )
        weights.append(sides[0][corner[0]] * sides[1][corner[1]] * sides[2][corner[2]])
    return _heaviest(labels, weights)


def _heaviest(labels: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Of each place's eight labels the one with the greatest sum of weights."""
    sums = [weight * (1 + _PREFERENCE) for weight in weights]
    for one in range(8):
        for other in range(one):
            same = labels[one] == labels[other]
            sums[one].addcmul_(weights[other], same)
            sums[other].addcmul_(weights[one], same)
    best, winner = sums[0], labels[0]
    for label, weight in zip(labels[1:], sums[1:], strict=True):
        winner = torch.where(weight > best, label, winner)
        best = torch.maximum(best, weight)
    return winner
