import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mednext_cli.evaluation.metrics import overlap
from mednext_cli.evaluation.metrics.overlap import map_classes

VALUES = st.sampled_from([0, 0, 0, 1, 2, 7, 300])
labels = arrays(np.uint16, (3, 4, 5), elements=VALUES)


@settings(max_examples=40, deadline=None)
@given(
    labels,
    labels,
    st.sampled_from([(), (7,), (1, 7)]),
    st.sampled_from([(1,), (1, 2), (7, 300), (9,)]),
)
def test_counts_and_masks_are_those_of_counting_voxels(reference, prediction, ignored, region):
    maps = map_classes(reference, prediction, ignored)
    known = ~np.isin(reference, ignored)
    in_reference = np.isin(reference, region) & known
    in_prediction = np.isin(prediction, region) & known
    counts = maps.count(region)
    assert counts.reference == in_reference.sum()
    assert counts.prediction == in_prediction.sum()
    assert counts.true_positives == (in_reference & in_prediction).sum()
    if (in_reference | in_prediction).any():
        first, second = maps.masks(region)
        assert first.shape == second.shape
        assert first.sum() == counts.reference
        assert second.sum() == counts.prediction
        assert (first & second).sum() == counts.true_positives
        for axis in range(3):
            planes = np.moveaxis(first | second, axis, 0)
            assert planes[0].any()
            assert planes[-1].any()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_empty_maps_have_no_classes(kind):
    maps = map_classes(np.zeros((3, 4, 5), kind), np.zeros((3, 4, 5), kind))
    assert maps.values == (0,)
    assert maps.count([1]).reference == maps.count([1]).prediction == 0


def test_slabs_add_up_to_the_whole(monkeypatch):
    random = np.random.default_rng(0)
    reference, prediction = random.integers(0, 4, (2, 9, 8, 7)).astype(np.uint8)
    whole = map_classes(reference, prediction).histogram
    monkeypatch.setattr(overlap, "_SLAB_VOXELS", 60)
    assert (map_classes(reference, prediction).histogram == whole).all()
