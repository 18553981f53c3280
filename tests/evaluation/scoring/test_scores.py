"""Median distance, boundary IoU, HD95 by definition, lesions and the paper's protocol."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mednext_cli.evaluation.metrics.borders import border, boundary_iou, pooled_hd95_mm
from mednext_cli.evaluation.metrics.lesions import count_lesions
from mednext_cli.evaluation.metrics.overlap import map_classes
from mednext_cli.evaluation.metrics.surface_distances import compute_surface_distances
from mednext_cli.evaluation.scoring.scores import RegionOfCase, ScoreSettings, score_region
from mednext_cli.settings.labels import LabelSet

FEW = settings(max_examples=25, deadline=None)
MASKS = arrays(bool, (5, 6, 7), elements=st.booleans()).filter(np.any)
MAPS = arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 3))


def medpy_hd95(first, second, spacing_mm):
    """The definition of medpy.metric.binary.hd95 in terms of SciPy."""
    structure = ndimage.generate_binary_structure(3, 1)
    borders = [mask ^ ndimage.binary_erosion(mask, structure) for mask in (first, second)]
    maps = [ndimage.distance_transform_edt(~one, sampling=spacing_mm) for one in borders]
    return np.percentile(np.hstack([maps[1][borders[0]], maps[0][borders[1]]]), 95)


@FEW
@given(MASKS, MASKS)
def test_borders_and_pooled_hd95_are_medpys(first, second):
    assert np.array_equal(border(first), first ^ ndimage.binary_erosion(first))
    spacing_mm = (3.0, 0.5, 1.25)
    expected = medpy_hd95(first, second, spacing_mm)
    assert pooled_hd95_mm(first, second, spacing_mm) == pytest.approx(expected, rel=1e-5)


def test_boundary_iou_of_shifted_cubes():
    first, second = np.zeros((2, 7, 8, 7), bool)
    first[1:6, 1:6, 1:6] = True
    second[1:6, 2:7, 1:6] = True
    # Shells of a 5-cube (98 of 125 voxels). Both lie in the slab of 4 x 25 voxels in common: their
    # rings of 16 in four planes, and in the first and the last of these one end face's inner 9 is
    # border in one mask alone.
    assert boundary_iou(first, second) == pytest.approx(64 / (98 + 98 - 64))
    assert boundary_iou(first, first) == 1.0


def test_median_of_shifted_plates():
    first, second = np.zeros((2, 4, 12, 12), bool)
    first[0] = second[2] = True
    distances = compute_surface_distances(first, second, (3.0, 1.0, 1.0))
    # Of each plate's two large faces one lies 3 mm (one face up), the other 6 mm from the other's.
    directed = [one.percentile_mm(50) for one in
                (distances.from_reference, distances.from_prediction)]  # fmt: skip
    assert distances.median_mm == pytest.approx(np.mean(directed))
    assert 3.0 <= distances.median_mm <= 6.0


def three_lesions():
    """Reference lesions of 8, 8 and 1 voxels; the first found whole, one made up, one grazed."""
    reference, prediction = np.zeros((2, 4, 4, 20), bool)
    reference[0:2, 0:2, 0:2] = prediction[0:2, 0:2, 0:2] = True
    reference[0:2, 0:2, 5:7] = True
    prediction[1:4, 1:4, 6:11] = True  # 45 voxels, one of them in the second lesion
    reference[3, 3, 15] = True
    prediction[0, 0, 18] = True
    return reference, prediction


def test_voxels_that_share_a_corner_are_one_lesion():
    reference, prediction = np.zeros((2, 5, 5, 5), bool)
    for place in ((1, 1, 1), (2, 2, 2), (3, 2, 3)):  # over a corner, then over an edge
        reference[place] = prediction[place] = True
    found = count_lesions(reference, prediction, "any")
    assert (found.reference, found.prediction) == (1, 1)


def test_lesions_by_any_overlap():
    found = count_lesions(*three_lesions(), "any")
    assert (found.reference, found.prediction) == (3, 3)
    assert (found.recall, found.precision) == pytest.approx((2 / 3, 2 / 3))
    assert found.f1 == pytest.approx(2 / 3)
    assert found.dice == pytest.approx((1 + 2 / (8 + 45) + 0) / 4)


def test_lesions_by_iou():
    found = count_lesions(*three_lesions(), "iou")
    assert (found.recall, found.precision) == pytest.approx((1 / 3, 1 / 3))
    assert found.dice == pytest.approx(1 / 5)


def test_iou_of_exactly_a_tenth_matches():
    reference, prediction = np.zeros((2, 1, 1, 10), bool)
    reference[..., :1] = prediction[...] = True
    assert count_lesions(reference, prediction, "iou").f1 == 1.0
    wider = np.pad(prediction, ((0, 0), (0, 0), (0, 1)), constant_values=True)
    narrow = np.pad(reference, ((0, 0), (0, 0), (0, 1)))
    assert count_lesions(narrow, wider, "iou").f1 == 0.0


def test_lesion_predicted_in_two_halves():
    reference = np.ones((1, 1, 9), bool)
    prediction = reference.copy()
    prediction[..., 4] = False
    found = count_lesions(reference, prediction, "iou")
    assert (found.recall, found.precision) == (1.0, 1.0)
    assert found.dice == pytest.approx(2 * 8 / (9 + 8))


def score(reference, prediction, values=(1,), spacing_mm=(2.0, 0.5, 1.0), **given):
    place = RegionOfCase("case", "region")
    maps = map_classes(reference, prediction)
    return score_region(place, maps, values, spacing_mm, ScoreSettings(**given)).values


def test_volumes_and_their_difference():
    reference, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    reference[:2, :2, :2] = 1
    prediction[:2, :2, :2], prediction[3, 3, :2] = 1, 1
    values = score(reference, prediction, spacing_mm=(2.0, 0.5, 3.0))  # voxels of 3 mm^3
    assert values["volume_reference_ml"] == pytest.approx(0.024)
    assert values["volume_prediction_ml"] == pytest.approx(0.030)
    assert values["volume_difference_ml"] == pytest.approx(0.006)
    assert values["volume_difference_percent"] == pytest.approx(25.0)


@FEW
@given(MAPS, MAPS, st.permutations((1, 2, 3)))
def test_scores_do_not_depend_on_label_values(reference, prediction, order):
    table = np.array([0, *order], np.uint8)
    here = score(reference, prediction, (1, 3), lesions="any")
    there = score(table[reference], table[prediction], (order[0], order[2]), lesions="any")
    assert here == pytest.approx(there, nan_ok=True)


@FEW
@given(MAPS, MAPS)
def test_swapping_reference_and_prediction(reference, prediction):
    both = [np.pad(array, ((0, 1), (0, 0), (0, 0)), constant_values=1)
            for array in (reference, prediction)]  # fmt: skip
    here, there = (score(*pair, lesions="iou", hd95="medpy") for pair in (both, both[::-1]))
    for one, other in (("sensitivity", "precision"), ("lesion_recall", "lesion_precision"),
                       ("volume_reference_ml", "volume_prediction_ml"),
                       ("lesions_reference", "lesions_prediction")):  # fmt: skip
        assert (here[one], here[other]) == (there[other], there[one])
    for name in ("dice", "iou", "surface_dice", "mean_surface_distance_mm", "hd95_mm", "hd100_mm",
                 "median_surface_distance_mm", "boundary_iou", "lesion_f1"):  # fmt: skip
        assert here[name] == pytest.approx(there[name])
    assert here["volume_difference_ml"] == pytest.approx(-there["volume_difference_ml"])


def test_lesions_are_counted_where_one_mask_is_empty():
    reference, prediction = np.zeros((2, 3, 3, 9), np.uint8)
    reference[1, 1, ::3] = 1
    values = score(reference, prediction, lesions="any")
    assert (values["lesions_reference"], values["lesions_prediction"]) == (3, 0)
    assert (values["lesion_recall"], values["lesion_f1"]) == (0.0, 0.0)


def test_protocol_of_the_paper_ignores_spacing():
    reference, prediction = np.zeros((2, 8, 8, 8), np.uint8)
    reference[2:5, 2:5, 2:5] = prediction[3:6, 2:5, 2:5] = 1
    spacing_mm = (5.0, 1.0, 1.0)
    in_mm = score(reference, prediction, spacing_mm=spacing_mm)
    in_voxels = score(reference, prediction, spacing_mm=spacing_mm, protocol="mednext")
    # surface-distance, run on the same cubes: 0.8297 within 1 mm, 1.0 within one voxel.
    assert in_mm["surface_dice"] == pytest.approx(0.8297, abs=1e-4)
    assert in_voxels["surface_dice"] == 1.0
    assert in_voxels["hd95_mm"] == in_mm["hd95_mm"] == pytest.approx(5.0)
    assert ScoreSettings(LabelSet({}, {}, tolerance_mm={"a": 3.0}),
                         protocol="mednext").tolerance_of("a") == 1.0  # fmt: skip
