"""Rotation and zoom: what batchgeneratorsv2 makes of the same part of a case."""

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform,
    _convert_my_grid_to_grid_sample_grid,
    _create_centered_identity_grid2,
    create_affine_matrix_3d,
)
from torch import Tensor
from torch.nn.functional import one_hot

from mednext_cli.training.augmentation.affine import Affine, Corner
from mednext_cli.training.augmentation.parameters import Parameters
from mednext_cli.training.augmentation.resampling import resample_image, resample_labels

PATCH = (12, 16, 10)
TURNED = Parameters(rotation=(0.4, -0.3, 0.5), zoom=(1.2, 1.2, 1.2))
SMALL = Parameters(rotation=(-0.5, 0.2, 0.1), zoom=(0.7, 0.7, 0.7))


def _peer(parameters: Parameters, read: tuple[int, ...]) -> Tensor:
    """The grid of a patch in the middle of what was read."""
    affine = create_affine_matrix_3d(parameters.rotation, parameters.zoom)
    grid = _create_centered_identity_grid2(PATCH).float() @ torch.from_numpy(affine.T).float()
    return _convert_my_grid_to_grid_sample_grid(grid, read)


def _transform(outside: int) -> SpatialTransform:
    return SpatialTransform(
        PATCH, 0, False, border_mode_seg="constant", padding_value_seg=outside, p_rotation=1
    )


def _corner(read: tuple[int, ...]) -> Corner:
    """Of a part with the patch in its middle: lengths are even, or odd, in both."""
    depth, height, width = ((p - r) // 2 for p, r in zip(PATCH, read, strict=True))
    return depth, height, width


def _labels(shape: tuple[int, ...], classes: int) -> Tensor:
    """Blobs that many labels meet in."""
    random = np.random.default_rng(0)
    points = random.uniform(0, shape, (3 * classes, 3))
    voxels = np.stack(np.indices(shape), axis=-1)[..., None, :]
    nearest = np.linalg.norm(voxels - points, axis=-1).argmin(-1)
    return torch.from_numpy((nearest % classes).astype(np.uint8))


@pytest.mark.parametrize("parameters", [TURNED, SMALL])
@pytest.mark.parametrize("read", [(30, 30, 30), (10, 12, 6)])
def test_images_are_those_of_batchgeneratorsv2(
    parameters: Parameters, read: tuple[int, int, int]
) -> None:
    image = torch.randn(2, *read, generator=torch.Generator().manual_seed(1))
    expected = _transform(0)._apply_to_image(image, grid=_peer(parameters, read))
    made = resample_image(image, Affine(PATCH, parameters), _corner(read))
    assert torch.allclose(made, expected, atol=1e-4)
    assert made.std() > 0.1


@pytest.mark.parametrize("parameters", [TURNED, SMALL])
@pytest.mark.parametrize(("classes", "outside"), [(2, 0), (3, -1), (15, 0)])
@pytest.mark.parametrize("read", [(30, 30, 30), (10, 12, 6)])
def test_labels_are_those_of_batchgeneratorsv2(
    parameters: Parameters, classes: int, outside: int, read: tuple[int, int, int]
) -> None:
    """They differ at most where the two heaviest labels weigh the same, to a thousandth."""
    labels = _labels(read, classes).short()
    expected = _transform(outside)._apply_to_segmentation(
        labels[None], grid=_peer(parameters, read)
    )[0]
    affine, corner = Affine(PATCH, parameters), _corner(read)
    made = resample_labels(labels, affine, corner, outside)
    assert made.dtype == labels.dtype
    differing = made != expected
    assert differing.float().mean() < 2e-3
    shifted = (labels - outside).long()  # of which 0 is around, as of images
    weights = resample_image(one_hot(shifted).permute(3, 0, 1, 2).float(), affine, corner)
    weights[0] += 1 - weights.sum(0)
    two = weights.topk(2, dim=0).values
    assert torch.all((two[0] - two[1])[differing] < 2e-3)


def test_the_box_holds_every_voxel_that_is_interpolated_and_hardly_more() -> None:
    """From the box alone the patch is the same; from one voxel less on any side it is not."""
    whole = torch.rand(1, 44, 44, 44, generator=torch.Generator().manual_seed(2)) + 1
    affine, corner = Affine(PATCH, TURNED), _corner((44, 44, 44))
    box = affine.box
    start = [at - first for at, first in zip(box.start, corner, strict=True)]
    stop = [at - first for at, first in zip(box.stop, corner, strict=True)]
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    expected = resample_image(whole, affine, corner)
    made = resample_image(whole[(slice(None), *inside)], affine, box.start)
    assert torch.allclose(made, expected, atol=1e-4)
    for axis in range(3):
        for less in (slice(1, None), slice(None, -1)):
            smaller = [slice(None)] * 3
            smaller[axis] = less
            at = list(box.start)
            at[axis] += less == slice(1, None)
            part = whole[(slice(None), *inside)][(slice(None), *smaller)]
            other = resample_image(part, affine, (at[0], at[1], at[2]))
            assert not torch.allclose(other, expected, atol=1e-4)


def test_a_patch_turned_by_nothing_is_the_patch() -> None:
    """So patches that are turned and those that are not are cut in the same place."""
    image = torch.randn(1, 20, 20, 20, generator=torch.Generator().manual_seed(3))
    affine = Affine(PATCH, Parameters(zoom=(1 + 1e-12, 1.0, 1.0)))
    made = resample_image(image, affine, (-3, -2, -5))
    assert torch.allclose(made, image[:, 3:15, 2:18, 5:15], atol=1e-4)
