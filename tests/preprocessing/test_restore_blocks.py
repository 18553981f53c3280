"""Blocks brought back one after the other are the whole image brought back at once."""

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import ProbabilityArray, Restoration, label_map_of
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.volumes.orientation import from_canonical
from mednext_cli.volumes.resample import resample_probabilities, resampled_shape

CLASSES = 4


def make_plan(spacing: tuple[float, float, float], regions: bool) -> Plan:
    names = {f"organ_{value}": value for value in range(1, CLASSES)}
    values = (3, 1, 2)
    labels = LabelSet(
        names,
        {name: (value,) for name, value in names.items()},
        region_training=regions,
        region_values=values if regions else (),
    )
    return Plan(
        dataset="blocks",
        layout="folder",
        spacing_mm=spacing,
        patch_voxels=(16, 16, 32),
        batch_size=1,
        channels=("CT",),
        normalisation=(ChannelNormalisation(scheme="none"),),
        label_set=labels,
    )


def make_geometry(
    cropped: tuple[int, ...], spacing: tuple[float, ...], plan: Plan
) -> SourceGeometry:
    """A scan that is flipped and turned, with a margin that was cropped."""
    depth, height, width = (length + 3 for length in cropped)
    affine = np.zeros((4, 4))
    affine[2, 1], affine[1, 0], affine[0, 2] = spacing[0], -spacing[1], spacing[2]
    affine[3, 3] = 1
    return SourceGeometry(
        file_shape=(height, depth, width),
        file_affine=tuple(tuple(row) for row in affine.tolist()),
        canonical_shape=(depth, height, width),
        spacing_mm=spacing,
        box=tuple((1, 1 + length) for length in cropped),
        resampled_shape=resampled_shape(cropped, spacing, plan.spacing_mm),
    )


def edges(random: np.random.Generator, length: int) -> list[int]:
    inner = random.choice(np.arange(1, length), size=min(length - 1, 3), replace=False)
    return sorted({0, length, *inner.tolist()})


def blocks(
    random: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, int]
) -> list[tuple[slice, slice, slice]]:
    rows, columns = (edges(random, shape[axis]) for axis in axes)
    made = []
    for row, column in product(pairwise(rows), pairwise(columns)):
        box: list[Any] = [slice(0, length) for length in shape]
        box[axes[0]], box[axes[1]] = slice(*row), slice(*column)
        made.append(tuple(box))
    return made


spacings = st.tuples(*[st.sampled_from([0.7, 1.0, 1.3, 2.0, 5.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(
    cropped=st.tuples(*[st.integers(1, 17)] * 3),
    spacing=spacings,
    target=spacings,
    axes=st.sampled_from([(0, 1), (1, 0)]),
    regions=st.booleans(),
    sharp=st.booleans(),
    seed=st.integers(0, 5),
)
def test_blocks_are_restored_as_the_whole(
    cropped: tuple[int, int, int],
    spacing: tuple[float, float, float],
    target: tuple[float, float, float],
    axes: tuple[int, int],
    regions: bool,
    sharp: bool,
    seed: int,
) -> None:
    plan, random = make_plan(target, regions), np.random.default_rng(seed)
    geometry = make_geometry(cropped, spacing, plan)
    logits = random.normal(size=(plan.output_channels, *geometry.resampled_shape)) * (9**sharp)
    scores = np.exp(logits - logits.max(axis=0))
    scores = (scores / (scores.sum(axis=0) + regions)).astype(np.float32)
    grids = (geometry.cropped_shape, plan.spacing_mm, geometry.spacing_mm)
    expected = [resample_probabilities(one, *grids) for one in scores]

    sink = ProbabilityArray(geometry, plan)
    restoration = Restoration(geometry, plan, axes, sink)
    for box in blocks(random, geometry.resampled_shape, axes):
        block = scores[(slice(None), *box)]
        restoration.add(box, block.copy(), {"first": block[0].copy()})

    inside = tuple(slice(*bounds) for bounds in geometry.box)
    labels = np.zeros(geometry.canonical_shape, np.uint8)
    ordered = np.sort(expected, axis=0) if not regions else None
    labels[inside] = label_map_of([one.copy() for one in expected], plan.label_set)
    made = restoration.label_map()
    assert made.shape == geometry.file_shape
    # Interpolation of a part may round otherwise: what draws but for that is not compared.
    clear = np.ones(geometry.canonical_shape, bool)
    if ordered is not None:
        clear[inside] = ordered[-1] - ordered[-2] > 1e-6
    else:
        clear[inside] = (np.abs(np.array(expected) - 0.5) > 1e-6).all(axis=0)
    clear = from_canonical(clear, geometry.file_grid)
    np.testing.assert_array_equal(made[clear], from_canonical(labels, geometry.file_grid)[clear])
    found = restoration.maps()["first"]
    whole = np.zeros(geometry.canonical_shape, np.float32)
    whole[inside] = expected[0]
    np.testing.assert_allclose(found, from_canonical(whole, geometry.file_grid), atol=1e-6)
    for index, (one, written) in enumerate(zip(expected, sink.whole(), strict=True)):
        whole = np.full(geometry.canonical_shape, float(index == 0 and not regions), np.float32)
        whole[inside] = one
        back = from_canonical(whole, geometry.file_grid)
        np.testing.assert_allclose(written, back, atol=1e-3)


def test_scores_that_sum_to_anything_are_compared_all_the_same() -> None:
    plan = make_plan((1.0, 1.0, 1.0), regions=False)
    geometry = make_geometry((6, 5, 4), (1.5, 0.8, 1.0), plan)
    scores = np.random.default_rng(0).random((CLASSES, *geometry.resampled_shape))
    scores = (0.01 * scores**4).astype(np.float32)
    restoration = Restoration(geometry, plan)
    box = tuple(slice(0, length) for length in geometry.resampled_shape)
    restoration.add(box, scores)
    grids = (geometry.cropped_shape, plan.spacing_mm, geometry.spacing_mm)
    expected = np.argmax([resample_probabilities(one, *grids) for one in scores], axis=0)
    whole = np.zeros(geometry.canonical_shape, np.uint8)
    whole[tuple(slice(*bounds) for bounds in geometry.box)] = expected
    np.testing.assert_array_equal(
        restoration.label_map(), from_canonical(whole, geometry.file_grid)
    )


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_draws_go_to_the_first_class(axes: tuple[int, int]) -> None:
    plan = make_plan((1.0, 1.0, 1.0), regions=False)
    geometry = make_geometry((6, 5, 4), (1.0, 1.0, 1.0), plan)
    restoration = Restoration(geometry, plan, axes)
    for box in blocks(np.random.default_rng(0), (6, 5, 4), axes):
        shape = [part.stop - part.start for part in box]
        restoration.add(box, np.full((CLASSES, *shape), 1 / CLASSES, np.float32))
    assert not restoration.label_map().any()
