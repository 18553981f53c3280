"""Patches: decided by seed and number, where nnU-Net would take them, whatever the process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.cache.reader import open_cache
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation import (
    build_augmentation,
    enlarged_patch,
    mark_outside,
)
from mednext_cli.training.loader import iterate_batches
from mednext_cli.training.sampling import PatchDataset, SamplingSpec
from tests.training.conftest import NAME

_PLAIN = AugmentationSettings(
    rotation=0.0,
    scaling=0.0,
    noise=0.0,
    blur=0.0,
    brightness=0.0,
    contrast=0.0,
    low_resolution=0.0,
    gamma=0.0,
    gamma_inverted=0.0,
    mirror_axes=(),
)


@pytest.fixture
def spec(cache: Path) -> SamplingSpec:
    folder = cache / NAME
    return SamplingSpec(
        cache=folder,
        case_ids=open_cache(folder).labelled_ids,
        patch_voxels=(16, 32, 16),
        batch_size=2,
        oversample_foreground=1 / 3,
        augmentation=AugmentationSettings(),
        seed=7,
        in_memory=True,
    )


def test_v1_reads_the_patch_that_v1_reads() -> None:
    assert enlarged_patch((128, 128, 128), AugmentationSettings()) == (205, 205, 205)
    assert enlarged_patch((128, 128, 128), _PLAIN) == (128, 128, 128)


def test_a_sample_depends_on_seed_and_number_alone(spec: SamplingSpec) -> None:
    one, other = PatchDataset(spec), PatchDataset(replace(spec, in_memory=False))
    for number in (3, 0, 12):
        image, label = one[number]
        assert image.shape == (1, 16, 32, 16)
        assert image.dtype == torch.float32
        assert label.shape == (16, 32, 16)
        again, same = other[number]
        assert torch.equal(image, again)
        assert torch.equal(label, same)
    assert not torch.equal(one[0][0], PatchDataset(replace(spec, seed=8))[0][0])


def test_second_patch_of_two_is_centred_on_foreground(spec: SamplingSpec) -> None:
    """Large scans, small patch: the centre is never moved back into the scan."""
    dataset = PatchDataset(replace(spec, augmentation=None, patch_voxels=(2, 2, 2)))
    for number in range(1, 41, 2):
        _, label = dataset[number]
        assert label[1, 1, 1] > 0
    anywhere = [bool(dataset[number][1][1, 1, 1] > 0) for number in range(0, 200, 2)]
    assert 0 < sum(anywhere) < 60


def test_patches_are_the_cached_voxels(spec: SamplingSpec) -> None:
    cached = open_cache(spec.cache)
    dataset = PatchDataset(replace(spec, augmentation=None))
    whole = [cached.case(case_id).read_image(None) for case_id in spec.case_ids]
    for number in range(6):
        image, _ = dataset[number]
        windows = (
            np.lib.stride_tricks.sliding_window_view(case[0], (16, 32, 16)) for case in whole
        )
        corner = image[0].numpy()
        assert any(
            np.array_equal(
                case[0][tuple(slice(s, s + n) for s, n in zip(at, (16, 32, 16), strict=True))],
                corner,
            )
            for case, window in zip(whole, windows, strict=True)
            for at in np.argwhere(window[..., 0, 0, 0] == corner[0, 0, 0])
        )


def test_a_patch_larger_than_the_scan_is_padded_with_zeros(spec: SamplingSpec) -> None:
    dataset = PatchDataset(replace(spec, augmentation=None, patch_voxels=(96, 96, 96)))
    image, label = dataset[0]
    assert image.shape == (1, 96, 96, 96)
    assert torch.all(image[0, :10] == 0)
    assert label.max() > 0


def test_batches_come_in_order_from_any_number_of_processes(spec: SamplingSpec) -> None:
    dataset = PatchDataset(spec)
    here = list(iterate_batches(dataset, 2, 1, 3, workers=0, pin_memory=False))
    there = list(iterate_batches(PatchDataset(spec), 2, 1, 3, workers=1, pin_memory=False))
    assert len(here) == len(there) == 2
    for (image, label), (same_image, same_label) in zip(here, there, strict=True):
        assert image.shape == (2, 1, 16, 32, 16)
        assert torch.equal(image, same_image)
        assert torch.equal(label, same_label)
    assert torch.equal(here[0][0][0], dataset[2][0])


def test_only_the_named_axes_are_mirrored() -> None:
    settings = _PLAIN.model_copy(update={"mirror_axes": ("left_right",)})
    augment = build_augmentation((4, 6, 8), settings)
    image = torch.arange(4 * 6 * 8, dtype=torch.float32).view(1, 4, 6, 8)
    seen = set()
    for _ in range(40):
        made = augment(image=image.clone(), segmentation=torch.zeros(1, 4, 6, 8).short())["image"]
        seen.add("same" if torch.equal(made, image) else "flipped")
        assert torch.equal(made, image) or torch.equal(made, image.flip(3))
    assert seen == {"same", "flipped"}


def test_masked_channels_stay_zero_outside_the_scan() -> None:
    settings = AugmentationSettings(noise=1.0, brightness=1.0, rotation=1.0)
    image = np.zeros((2, 24, 24, 24), dtype=np.float32)
    image[:, 8:16, 8:16, 8:16] = np.random.default_rng(0).normal(5, 1, (2, 8, 8, 8))
    image[1] += 1  # this channel is not masked
    label = np.zeros((24, 24, 24), dtype=np.uint8)
    label[10:14, 10:14, 10:14] = 1
    label[0, 0, 0] = 1  # labelled voxels count as inside
    marked = torch.from_numpy(mark_outside(label, image, (0,))[None])
    assert int((marked == -1).sum()) == 24**3 - 8**3 - 1
    augment = build_augmentation((24, 24, 24), settings, masked_channels=(0,))
    made = augment(image=torch.from_numpy(image), segmentation=marked)
    centre = (slice(10, 14),) * 3
    assert set(made["segmentation"].unique().tolist()) == {0, 1}
    assert int((made["image"][0] == 0).sum()) > 24**3 / 2
    assert int((made["image"][0][centre] == 0).sum()) == 0
    assert int((made["image"][1] == 0).sum()) < 24**3 / 2


def test_without_a_mask_labels_are_left_alone() -> None:
    label = np.array([[[0, 1], [2, 0]]], dtype=np.uint8)
    image = np.zeros((1, 1, 2, 2), dtype=np.float32)
    assert mark_outside(label, image, ()).tolist() == label.tolist()
