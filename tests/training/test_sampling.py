"""Patches: decided by seed and number, where nnU-Net would take them, whatever the process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.cache.reader import open_cache
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.sampling import PatchDataset, SamplingSpec
from mednext_cli.volumes.turning import Turn
from tests.training.conftest import NAME


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


def _sample(dataset: PatchDataset, number: int) -> tuple[Tensor, Tensor]:
    images, labels = dataset.batch([number])
    return images[0], labels[0]


def test_a_sample_depends_on_seed_and_number_alone(spec: SamplingSpec) -> None:
    one, other = PatchDataset(spec), PatchDataset(replace(spec, in_memory=False))
    for number in (3, 0, 12):
        image, label = _sample(one, number)
        assert image.shape == (1, 16, 32, 16)
        assert image.dtype == torch.float16  # as cached
        assert label.shape == (16, 32, 16)
        again, same = _sample(other, number)
        assert torch.equal(image, again)
        assert torch.equal(label, same)
    reseeded = PatchDataset(replace(spec, seed=8))
    assert not torch.equal(_sample(one, 0)[0], _sample(reseeded, 0)[0])


def test_second_patch_of_two_is_centred_on_foreground(spec: SamplingSpec) -> None:
    """Large scans, small patch: the centre is never moved back into the scan."""
    dataset = PatchDataset(replace(spec, augmentation=None, patch_voxels=(2, 2, 2)))
    for number in range(1, 41, 2):
        _, label = _sample(dataset, number)
        assert label[1, 1, 1] > 0
    anywhere = [bool(_sample(dataset, number)[1][1, 1, 1] > 0) for number in range(0, 200, 2)]
    assert 0 < sum(anywhere) < 60


def test_patches_are_the_cached_voxels(spec: SamplingSpec) -> None:
    cached = open_cache(spec.cache)
    dataset = PatchDataset(replace(spec, augmentation=None))
    whole = [cached.case(case_id).read_image(None) for case_id in spec.case_ids]
    for number in range(6):
        image, _ = _sample(dataset, number)
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
    image, label = _sample(dataset, 0)
    assert image.shape == (1, 96, 96, 96)
    assert torch.all(image[0, :10] == 0)
    assert label.max() > 0


def test_a_batch_is_its_samples(spec: SamplingSpec) -> None:
    dataset = PatchDataset(spec)
    images, labels = dataset.batch(range(4, 7))
    for place, number in enumerate(range(4, 7)):
        image, label = _sample(PatchDataset(spec), number)
        assert torch.equal(images[place], image)
        assert torch.equal(labels[place], label)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("in_memory", [True, False])
def test_slices_are_cut_across_their_axis(spec: SamplingSpec, axis: int, in_memory: bool) -> None:
    """Whole slices with foreground in them, of one case."""
    case = open_cache(spec.cache).case(spec.case_ids[0])
    image, label = case.read_image(None)[0], case.read_label(None)
    turn = Turn(axis)
    dataset = PatchDataset(
        replace(
            spec,
            case_ids=spec.case_ids[:1],
            patch_voxels=(1, *turn.triple(image.shape)[1:]),
            oversample_foreground=1.0,
            augmentation=None,
            in_memory=in_memory,
            turn=turn,
        )
    )
    found = set()
    for number in range(6):
        slice_image, slice_label = (one[0].numpy() for one in dataset.batch([number]))
        places = [
            place
            for place in range(image.shape[axis])
            if np.array_equal(slice_image[0, 0], image.take(place, axis))
        ]
        assert len(places) == 1
        assert np.array_equal(slice_label[0], label.take(places[0], axis))
        assert slice_label.any()
        found.update(places)
    assert len(found) > 1
