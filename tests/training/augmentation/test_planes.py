"""Anisotropic patches are turned within their planes ("dummy 2D"), as in nnU-Net v2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform,
    _convert_my_grid_to_grid_sample_grid,
    _create_centered_identity_grid2,
    create_affine_matrix_2d,
)

from mednext_cli.cache.reader import open_cache
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.affine import Affine
from mednext_cli.training.augmentation.batch import Augmentation
from mednext_cli.training.augmentation.intensity import lower_resolution
from mednext_cli.training.augmentation.parameters import Parameters, draw_parameters
from mednext_cli.training.augmentation.planes import Planes, choose_planes
from mednext_cli.training.augmentation.resampling import resample_image, resample_labels
from mednext_cli.training.batches import ReadSample
from mednext_cli.training.sampling import describe_sampling
from mednext_cli.training.splits import Split
from tests.training.conftest import NAME

SETTINGS = AugmentationSettings()
MOVED = AugmentationSettings(rotation=1.0, scaling=1.0, low_resolution=1.0)
PATCH = (6, 20, 24)


@pytest.mark.parametrize(
    ("patch", "spacing", "across"),
    [
        ((128, 128, 128), (1.0, 1.0, 1.0), None),
        ((32, 96, 96), (3.0, 1.0, 1.0), None),  # not more than three times
        ((16, 64, 48), (5.0, 1.0, 1.0), 0),
        ((160, 160, 32), (0.7, 0.7, 4.0), 2),
        ((160, 32, 96), (0.7, 4.0, 0.7), 1),
        ((64, 64, 16), (1.0, 1.0, 1.0), 2),  # thin, and not coarse
        ((16, 64, 64), (1.0, 1.0, 2.0), None),  # thin along another axis than the coarsest
    ],
)
def test_the_plan_chooses_as_nnunet_does(
    patch: tuple[int, int, int], spacing: tuple[float, float, float], across: int | None
) -> None:
    """Of the patch along the coarsest axis, which is the first one there."""
    planes = choose_planes(SETTINGS, patch, spacing)
    assert planes == (None if across is None else Planes(across, 180.0))
    asked = AugmentationSettings(dummy_2d=True, dummy_2d_degrees=15.0)
    assert choose_planes(asked, (64, 64, 64), (1.0, 2.0, 1.0)) == Planes(1, 15.0)
    assert choose_planes(AugmentationSettings(dummy_2d=False), patch, spacing) is None


@pytest.mark.parametrize(
    ("settings", "planes"),
    [
        ((), None),
        (("augmentation.dummy_2d=true",), Planes(0, 180.0)),
        (("augmentation.dummy_2d=true", "augmentation.dummy_2d_degrees=20"), Planes(0, 20.0)),
        (("training.patch_voxels=[48, 48, 8]",), Planes(2, 180.0)),
    ],
)
def test_a_recipe_decides_what_is_drawn(
    settings: tuple[str, ...], planes: Planes | None, cache: Path
) -> None:
    recipe = load_recipe("cpu", settings)
    plan = open_cache(cache / NAME).plan
    patch = recipe.training.patch_voxels or (32, 32, 32)
    plan = plan.model_copy(update={"patch_voxels": patch})
    split = Split(("one",), ("other",))
    made = describe_sampling(recipe, plan, cache / NAME, split, training=True, in_memory=False)
    assert made.planes == planes


@pytest.mark.parametrize("across", [0, 1, 2])
def test_all_is_drawn_within_the_planes_and_as_often(across: int) -> None:
    planes = Planes(across, 180.0)
    plane = [axis for axis in range(3) if axis != across]
    drawn = [draw_parameters(seed, SETTINGS, 1, (0, 1, 2), planes) for seed in range(2000)]
    angles = np.array([one.rotation for one in drawn])
    zooms = np.array([one.zoom for one in drawn])
    assert not angles[:, plane].any()
    assert (zooms[:, across] == 1).all()
    assert (zooms[:, plane[0]] == zooms[:, plane[1]]).all()
    turned = np.degrees(angles[:, across][angles[:, across] != 0])
    assert len(turned) / 2000 == pytest.approx(SETTINGS.rotation, abs=0.04)
    # Uniform from -180 to 180: mean 0, deviation 360 / sqrt(12).
    assert abs(turned.mean()) < 20
    assert turned.std() == pytest.approx(360 / np.sqrt(12), abs=8)
    assert {axis for one in drawn for axis in one.mirrored} == {0, 1, 2}
    # All else is what it would be without.
    free = [draw_parameters(seed, SETTINGS, 1, (0, 1, 2)) for seed in range(50)]
    assert [one.gamma for one in free] == [one.gamma for one in drawn[:50]]


def test_images_are_those_of_batchgeneratorsv2() -> None:
    """Which makes channels of the planes for it (``Convert3DTo2DTransform``)."""
    image = torch.randn(2, 6, 30, 34, generator=torch.Generator().manual_seed(1))
    parameters = Parameters(rotation=(2.1, 0, 0), zoom=(1, 1.2, 1.2), across=0)
    matrix = create_affine_matrix_2d(2.1, [1.2, 1.2])
    grid = _create_centered_identity_grid2(PATCH[1:]).float() @ torch.from_numpy(matrix.T).float()
    peer = SpatialTransform(PATCH[1:], 0, False, p_rotation=1)
    expected = peer._apply_to_image(
        image.flatten(0, 1), grid=_convert_my_grid_to_grid_sample_grid(grid, (30, 34))
    )
    made = resample_image(image, Affine(PATCH, parameters), (0, -5, -5))
    assert torch.allclose(made.flatten(0, 1), expected, atol=1e-4)


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("begin", [-2, 0, 2])
def test_nothing_comes_from_another_slice(across: int, begin: int) -> None:
    """A slice among others that are no numbers stays a number; labels are its own."""
    patch = [20, 24, 22]
    patch[across] = 6
    augment = Augmentation(patch, MOVED, planes=Planes(across, 180.0))
    for seed in range(3):
        parameters = augment.parameters(seed, 1)
        affine = Affine(patch, parameters)
        box = affine.box
        shape = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
        corner = list(box.start)
        shape[across], corner[across] = 6, begin  # read from before, or after, the patch's first
        image = torch.full((1, *shape), torch.nan)
        numbers = torch.arange(10, 16, dtype=torch.uint8).view(
            [6 if a == across else 1 for a in range(3)]
        )
        labels = numbers.expand(shape).clone()
        own = 3 - begin  # of what was read the one that is the patch's fourth
        image.select(across + 1, own).fill_(1.0)
        made = resample_image(image, affine, (corner[0], corner[1], corner[2]))
        assert made.select(across + 1, 3).isfinite().all()
        assert made.select(across + 1, 3).max() == pytest.approx(1)
        others = [at for at in range(6) if at != 3 and begin <= at < begin + 6]
        assert all(made.select(across + 1, at).isnan().any() for at in others)
        found = resample_labels(labels, affine, (corner[0], corner[1], corner[2]), 0)
        assert set(found.select(across, 3).unique().tolist()) <= {0, 10 + own}


@pytest.mark.parametrize("across", [0, 1, 2])
def test_low_resolution_leaves_each_slice_to_itself(across: int) -> None:
    channel = torch.randn(8, 12, 10, generator=torch.Generator().manual_seed(2))
    made = lower_resolution(channel, 0.5, across)
    for number, plane in enumerate(channel.unbind(across)):
        alone = lower_resolution(plane.unsqueeze(across), 0.5)
        assert torch.allclose(made.select(across, number), alone.squeeze(across), atol=1e-6)
    assert not torch.allclose(made, lower_resolution(channel, 0.5), atol=1e-2)


def test_a_whole_sample_keeps_its_slices() -> None:
    """Constant slices stay constant through all that moves or coarsens them."""
    augment = Augmentation(
        PATCH, MOVED.model_copy(update={"mirror_axes": ()}), planes=Planes(0, 180.0)
    )
    for seed in range(4):
        channels = 1
        box = augment.needed(seed, channels)
        shape = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
        heights = torch.arange(1.0, shape[0] + 1).view(-1, 1, 1).expand(shape)
        sample = ReadSample(heights[None].clone(), heights.to(torch.uint8), box.start, seed)
        parameters = augment.parameters(seed, channels)
        labels = augment([sample])[1][0]
        assert parameters.across == 0
        for number in range(PATCH[0]):
            assert labels[number].unique().tolist() == [number + 1]
