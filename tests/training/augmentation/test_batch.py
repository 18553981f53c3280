"""The augmentation of a batch, decided by the samples' seeds alone, on any device."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.augmentation.batch import Augmentation, mark_outside
from mednext_cli.training.augmentation.planes import Planes
from mednext_cli.training.batches import ReadSample

PATCH = (10, 14, 12)
PLAIN = AugmentationSettings(
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


def _read(augment: Augmentation, seed: int, dtype: torch.dtype = torch.float32) -> ReadSample:
    generator = np.random.default_rng(seed)
    box = augment.needed(seed, 2)
    shape = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
    image = torch.from_numpy(generator.normal(0, 1, (2, *shape)))
    label = torch.from_numpy(generator.integers(0, 3, shape, dtype=np.uint8))
    return ReadSample(image.to(dtype), label, box.start, seed)


def test_a_batch_is_its_samples_augmented_one_by_one() -> None:
    """Bit for bit: neither its neighbours nor its place in the batch matter to a sample."""
    augment = Augmentation(PATCH, EVERYTHING, masked_channels=(0,))
    seeds = (3, 2**31 - 1, 0)
    images, labels = augment([_read(augment, seed) for seed in seeds])
    assert images.shape == (3, 2, *PATCH)
    assert labels.shape == (3, *PATCH)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.uint8)
    for place in reversed(range(3)):
        image, label = augment([_read(augment, seeds[place])])
        assert torch.equal(image[0], images[place])
        assert torch.equal(label[0], labels[place])


@pytest.mark.parametrize("settings", [PLAIN, EVERYTHING, AugmentationSettings()])
def test_what_was_read_is_never_written_to(settings: AugmentationSettings) -> None:
    """It may be the memory of a case that other samples are cut from."""
    augment = Augmentation(PATCH, settings, masked_channels=(0,))
    for seed in range(8):
        sample = _read(augment, seed)
        before = sample.image.clone(), sample.label.clone()
        augment([sample])
        assert torch.equal(sample.image, before[0])
        assert torch.equal(sample.label, before[1])


def test_another_seed_is_another_sample() -> None:
    augment = Augmentation(PATCH, EVERYTHING)
    sample = _read(augment, 1)
    first, _ = augment([sample])
    other, _ = augment([sample._replace(seed=2)])
    assert not torch.equal(first, other)


def test_images_stay_of_the_type_they_are_cached_in() -> None:
    """Computed in float32 all the same: rounded once, at the end."""
    augment = Augmentation(PATCH, EVERYTHING)
    sample = _read(augment, 4, torch.float16)
    half, _ = augment([sample])
    whole, _ = augment([sample._replace(image=sample.image.float())])
    assert half.dtype == torch.float16
    assert torch.equal(half, whole.half())


def test_patches_that_are_not_turned_need_themselves_alone() -> None:
    augment = Augmentation((128, 128, 128), AugmentationSettings())
    boxes = [augment.needed(seed, 1) for seed in range(400)]
    alone = sum(box.start == (0, 0, 0) and box.stop == (128, 128, 128) for box in boxes)
    assert abs(alone / 400 - 0.64) < 0.1
    voxels = [np.prod(np.subtract(box.stop, box.start)) for box in boxes]
    assert np.mean(voxels) < 205**3 / 3  # v1 reads 205 voxels along each axis, always


def test_only_the_named_axes_are_mirrored() -> None:
    augment = Augmentation((4, 6, 8), PLAIN.model_copy(update={"mirror_axes": ("left_right",)}))
    image = torch.arange(4 * 6 * 8, dtype=torch.float32).view(1, 4, 6, 8)
    label = image[0].to(torch.uint8)
    seen = set()
    for seed in range(40):
        images, labels = augment([ReadSample(image, label, (0, 0, 0), seed)])
        flipped = not torch.equal(images[0], image)
        seen.add(flipped)
        assert torch.equal(images[0], image.flip(3) if flipped else image)
        assert torch.equal(labels[0], label.flip(2) if flipped else label)
    assert seen == {True, False}


def _masked_case() -> tuple[Tensor, Tensor]:
    """Two channels, the first one 0 outside its middle; a label within, and one voxel without."""
    random = torch.Generator().manual_seed(0)
    image = torch.zeros(2, 24, 24, 24)
    image[:, 8:16, 8:16, 8:16] = torch.randn(2, 8, 8, 8, generator=random) + 5
    image[1] += 1
    label = torch.zeros(24, 24, 24, dtype=torch.uint8)
    label[10:14, 10:14, 10:14] = 1
    label[0, 0, 0] = 1
    return image, label


def test_labelled_voxels_count_as_inside() -> None:
    image, label = _masked_case()
    assert int((mark_outside(image, label, (0,)) == -1).sum()) == 24**3 - 8**3 - 1


def test_masked_channels_stay_zero_outside_the_scan() -> None:
    settings = AugmentationSettings(noise=1.0, brightness=1.0, rotation=1.0, scaling=0.0)
    image, label = _masked_case()
    augment = Augmentation((24, 24, 24), settings, masked_channels=(0,))
    images, labels = augment([ReadSample(image, label, (0, 0, 0), 5)])
    middle = (slice(10, 14),) * 3
    assert set(labels.unique().tolist()) == {0, 1}
    assert int((images[0, 0] == 0).sum()) > 24**3 / 2
    assert int((images[0, 0][middle] == 0).sum()) == 0
    assert int((images[0, 1] == 0).sum()) < 24**3 / 10


def test_without_a_mask_labels_are_left_alone() -> None:
    label = torch.tensor([[[0, 1], [2, 0]]], dtype=torch.uint8)
    assert mark_outside(torch.zeros(1, 1, 2, 2), label, ()) is label


def test_what_lies_beyond_the_case_is_zero_and_background() -> None:
    augment = Augmentation((8, 8, 8), PLAIN)
    part = ReadSample(torch.ones(1, 8, 3, 8), torch.ones(8, 3, 8, dtype=torch.uint8), (0, 5, 0), 0)
    images, labels = augment([part])
    assert torch.equal(images[0, 0].to(torch.uint8), labels[0])
    assert labels[0, :, 5:].all()
    assert not labels[0, :, :5].any()


def test_slices_are_turned_zoomed_and_mirrored_within_themselves() -> None:
    """Every row along the first axis stays in its slice, and both other axes are mirrored."""
    augment = Augmentation((1, 20, 16), EVERYTHING, planes=Planes(0, 30.0))
    for seed in range(5):
        box = augment.needed(seed, 1)
        assert box.stop[0] - box.start[0] <= 2  # of which the second weighs nothing
        parameters = augment.parameters(seed, 1)
        assert 0 not in parameters.mirrored
        shape = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
        labels = torch.zeros(shape, dtype=torch.uint8)
        labels[0] = 1
        images, made = augment([ReadSample(torch.rand(1, *shape), labels, box.start, seed)])
        assert images.shape == (1, 1, 1, 20, 16)
        assert made.all()


def test_the_number_of_threads_changes_nothing() -> None:
    """Workers have one, a process that works alone has all."""
    augment = Augmentation((48, 56, 64), EVERYTHING)
    threads = torch.get_num_threads()
    made = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            made.append(augment([_read(augment, 1), _read(augment, 2)]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(made[0][0], made[1][0])
    assert torch.equal(made[0][1], made[1][1])


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # a prototype, it says
def test_a_gpu_gives_the_same_and_is_not_waited_for() -> None:
    """But for the noise, which is its own, and labels that weigh the same."""
    augment = Augmentation(PATCH, EVERYTHING.model_copy(update={"noise": 0.0}), (0,))
    here = [_read(augment, seed) for seed in range(4)]
    there = [
        sample._replace(image=sample.image.cuda(), label=sample.label.cuda()) for sample in here
    ]
    augment(there)  # what is loaded first may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        images, labels = augment(there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, expected_labels = augment(here)
    assert torch.allclose(images.cpu(), expected, atol=1e-3)
    assert (labels.cpu() != expected_labels).float().mean() < 1e-3
