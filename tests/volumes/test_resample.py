import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from mednext_cli.volumes.resample import (
    resample_image,
    resample_labels,
    resample_probabilities,
    resampled_shape,
    separate_axis,
)
from tests.places import COMMITTED, reference_files

FOLDER = "nnunet_resampling"
IMAGES = (
    "image_finer",
    "image_coarser",
    "image_thicker_slices",
    "image_separate_slices_finer",
    "image_separate_slices_coarser",
    "image_separate_last_axis",
    "image_separate_afterwards",
    "image_two_coarse_axes",
    "image_every_axis_its_own",
    "ct_2mm_slices_to_1p5mm",
    "ct_3mm_to_1p5mm",
    "ct_3mm_to_4mm",
    "ct_6mm_slices_to_1p5mm_separate_z",
)
WITHOUT_ROUNDING = (
    "labels_twice_as_fine",
    "labels_separate_slices_finer",
    "labels_separate_slices_coarser",
    "seg_3mm_to_2mm",
    "seg_3mm_to_5mm",
    "seg_kits_anisotropic_to_1mm",
)
LABELS = ("labels_finer", "labels_coarser", "labels_every_axis_its_own", *WITHOUT_ROUNDING)
Loaded = tuple[NDArray[Any], NDArray[Any], list[float], list[float]]


def load(path: Path, expected: str = "expected") -> Loaded:
    """Data and what nnU-Net makes of it, (C, D, H, W), with both spacings."""
    with np.load(path) as file:
        data, made = (file[key].reshape(-1, *file[key].shape[-3:]) for key in ("data", expected))
        return data, made, file["spacing"].tolist(), file["new_spacing"].tolist()


@pytest.mark.parametrize("path", reference_files(FOLDER, *IMAGES))
def test_images_agree_with_nnunet(path: Path) -> None:
    data, expected, *spacings = load(path)
    assert resampled_shape(data.shape[1:], *spacings) == expected.shape[1:]
    made = resample_image(data, expected.shape[1:], *spacings)
    for channel, theirs, before in zip(made, expected, data, strict=True):
        assert np.abs(channel - theirs).max() <= 1e-5 * np.ptp(before.astype(float))


@pytest.mark.parametrize("path", reference_files(FOLDER, *WITHOUT_ROUNDING))
def test_labels_are_those_of_nnunet(path: Path) -> None:
    """Draws that binary fractions leave exact go to the nearest voxel's class."""
    (data,), (expected,), *spacings = load(path)
    made = resample_labels(data, expected.shape, *spacings)
    assert np.array_equal(made, expected), np.argwhere(made != expected)[:10]


@pytest.mark.parametrize("path", reference_files(FOLDER, *LABELS))
def test_labels_differ_from_nnunet_in_draws_at_most(path: Path) -> None:
    """Where classes draw, at thirds of a voxel, the last bit decides there."""
    (data,), (expected,), *spacings = load(path)
    made = resample_labels(data, expected.shape, *spacings)
    different = list(zip(*np.nonzero(made != expected), strict=True))
    assert len(different) <= 2e-3 * expected.size
    values = np.unique(data) if different else ()
    scores = {v: resample_probabilities(data == v, expected.shape, *spacings) for v in values}
    for place in different:
        ours, theirs = scores[made[place]][place], scores[expected[place]][place]
        assert ours == pytest.approx(theirs, abs=1e-6), place


@pytest.mark.parametrize("name", [name for name in LABELS if name.startswith("labels")])
def test_probabilities_agree_with_nnunet(name: str) -> None:
    (data,), (expected,), *spacings = load(COMMITTED / FOLDER / f"{name}.npz", "probability")
    mask = (data == 1).astype(np.float32)
    made = resample_probabilities(mask, expected.shape, *spacings)
    assert np.abs(made - expected).max() <= 1e-5


def test_slices_are_taken_where_nnunet_takes_them() -> None:
    """All pairs of 1 to 24 slices before and after, with their draws half-way between two."""
    with np.load(COMMITTED / FOLDER / "nearest_slices.npz") as file:
        lengths, expected = file["lengths"].tolist(), file["slices"].tolist()
    made: list[int] = []
    for old, new in itertools.product(lengths, repeat=2):
        slices = np.broadcast_to(np.arange(old, dtype=np.float32)[:, None, None], (old, 2, 2))
        taken = resample_image(slices, (new, 2, 2), (9, 1, 1), (9, 1, 1))
        made += taken[:, 0, 0].astype(int).tolist()
    assert made == expected


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "axis"),
    [
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
        ((3.1, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 5.0), 2),
        ((5.0, 5.0, 1.0), (1.0, 1.0, 1.0), None),
    ],
)
def test_slices_are_apart_above_a_ratio_of_three(
    spacing: tuple[float, ...], new_spacing: tuple[float, ...], axis: int | None
) -> None:
    assert separate_axis(spacing, new_spacing) == axis


def test_the_same_grid_is_an_exact_copy() -> None:
    image = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype(np.float32)
    made = resample_image(image, (5, 6, 7), (1, 1, 1), (1, 1, 1))
    assert np.array_equal(made, image)
    assert made is not image


def test_cubic_splines_do_not_leave_the_range_of_their_channel() -> None:
    image = np.zeros((2, 8, 8, 8), np.float32)
    image[0, 3:5], image[1, :, 3:5] = 1000, -1000
    made = resample_image(image, (17, 17, 17), (1, 1, 1), (0.47, 0.47, 0.47))
    assert made[0].min() == 0
    assert made[0].max() == 1000
    assert made[1].max() == 0
    assert made[1].min() == -1000


lengths = st.tuples(*[st.integers(1, 14)] * 3)


@settings(max_examples=25, deadline=None)
@given(shape=lengths, new=lengths, seed=st.integers(0, 99))
def test_any_shape_can_be_had_from_any(
    shape: tuple[int, int, int], new: tuple[int, int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    spacing = tuple(n / s for n, s in zip(new, shape, strict=True))
    labels = random.integers(0, 4, shape).astype(np.uint8)
    made = resample_labels(labels, new, spacing, (1, 1, 1))
    assert made.shape == new
    assert set(np.unique(made)) <= set(np.unique(labels))
    scores = np.stack([labels == index for index in range(4)]).astype(np.float32)
    sums = resample_probabilities(scores, new, spacing, (1, 1, 1)).sum(axis=0)
    assert np.allclose(sums, 1, atol=1e-5)
    flat = np.full(shape, 7.0, np.float32)
    assert np.allclose(resample_image(flat, new, spacing, (1, 1, 1)), 7, rtol=1e-5)


@pytest.mark.parametrize("length", [3, 8])
def test_labels_take_the_class_with_the_most_linear_interpolation(length: int) -> None:
    """Against the plain way: interpolate every class, take the largest."""
    labels = np.random.default_rng(1).integers(0, 5, (6, length, 9)).astype(np.uint8)
    new = (11, 13, 4)
    spacing = tuple(n / s for n, s in zip(new, labels.shape, strict=True))
    scores = np.stack([labels == index for index in range(5)]).astype(np.float32)
    expected = resample_probabilities(scores, new, spacing, (1, 1, 1))
    made = resample_labels(labels, new, spacing, (1, 1, 1))
    chosen = np.take_along_axis(expected, made[None].astype(int), axis=0)[0]
    assert np.allclose(chosen, expected.max(axis=0), atol=1e-4)


@pytest.mark.parametrize("old", [2, 4, 6, 12, 26])
def test_slices_half_way_between_two_are_rounded_as_by_nnunet(old: int) -> None:
    """Its ``map_coordinates(order=0)`` across slices, where the last bit of a float decides."""
    slices = np.arange(old, dtype=np.float32)[:, None, None] + np.zeros((1, 2, 2), np.float32)
    halfway = 0
    for new in range(1, 200):
        where = float(old) / new * (np.arange(new) + 0.5) - 0.5
        expected = ndimage.map_coordinates(slices[:, 0, 0], where[None], order=0, mode="nearest")
        halfway += np.count_nonzero((2 * np.arange(new) + 1) * old % (2 * new) == 0)
        spacings = (9.0, 1.0, 1.0), (9.0 * old / new, 1.0, 1.0)
        for made in (
            resample_labels(slices.astype(np.uint8), (new, 2, 2), *spacings),
            resample_probabilities(slices, (new, 2, 2), *spacings),
            resample_image(slices, (new, 2, 2), *spacings),
        ):
            assert np.array_equal(made[:, 0, 0], expected), (old, new)
    assert halfway > 50
