"""The augmentation: nnU-Net's list, on a batch, decided by the samples' seeds alone."""

import numpy as np
import torch

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.batch import Augmentation
from mednext_cli.training.augmentation.transforms import (
    build_augmentation,
    enlarged_patch,
    mark_outside,
)
from mednext_cli.training.batches import SeededBatch

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


def test_v1_reads_the_patch_that_v1_reads() -> None:
    assert enlarged_patch((128, 128, 128), AugmentationSettings()) == (205, 205, 205)
    assert enlarged_patch((128, 128, 128), _PLAIN) == (128, 128, 128)


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


PATCH = (10, 14, 12)
EVERYTHING = AugmentationSettings(
    rotation=1.0,
    scaling=1.0,
    noise=1.0,
    blur=1.0,
    brightness=1.0,
    contrast=1.0,
    low_resolution=1.0,
    gamma=1.0,
    gamma_inverted=1.0,
)


def _read(augment: Augmentation, seeds: tuple[int, ...]) -> SeededBatch:
    generator = np.random.default_rng(0)
    shape = (len(seeds), *augment.read_voxels)
    images = generator.normal(0, 1, (len(seeds), 2, *augment.read_voxels)).astype(np.float32)
    labels = generator.integers(0, 3, shape, dtype=np.uint8)
    return SeededBatch(torch.from_numpy(images), torch.from_numpy(labels), seeds)


def test_a_batch_is_its_samples_augmented_one_by_one() -> None:
    """Bit for bit: neither its neighbours nor its place in the batch matter to a sample."""
    augment = Augmentation(PATCH, EVERYTHING, masked_channels=(0,))
    seeds = (3, 2**31 - 1, 0)
    images, labels = augment(_read(augment, seeds))
    assert images.shape == (3, 2, *PATCH)
    assert labels.shape == (3, *PATCH)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.uint8)
    for place in reversed(range(3)):
        read = _read(augment, seeds)
        own = slice(place, place + 1)
        image, label = augment(SeededBatch(read.images[own], read.labels[own], seeds[own]))
        assert torch.equal(image[0], images[place])
        assert torch.equal(label[0], labels[place])


def test_another_seed_is_another_sample() -> None:
    augment = Augmentation(PATCH, EVERYTHING)
    first, _ = augment(_read(augment, (1, 2)))
    other, _ = augment(_read(augment, (1, 3)))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])
